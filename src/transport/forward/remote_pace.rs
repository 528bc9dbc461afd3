//! Limits how fast a client may send over a websocket that this node holds for a session of another node. Each message
//! costs one message on the bus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::limits::{Limit, Limits, TokenBucket};
use crate::protocol::websocket::Frame;
use crate::session::charge_inflation;

/// The rates of one websocket.
pub(super) struct RemotePace {
    limits: Arc<Limits>,
    /// Limits decompressed bytes at the rate of events of a session.
    inflated: TokenBucket,
    /// Limits control frames and packets that are not messages, to which no limit of events applies.
    control: TokenBucket,
}

impl RemotePace {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let now = clock::now();
        Self {
            limits,
            inflated: TokenBucket::full(now),
            control: TokenBucket::full(now),
        }
    }

    /// How long the websocket must not be read after decompression has added `excess` bytes.
    pub(super) fn pause(&mut self, excess: usize) -> Duration {
        match self.limits.events() {
            Some(rate) if excess > 0 => {
                let pause = charge_inflation(&mut self.inflated, rate, excess, clock::now());
                if !pause.is_zero() {
                    self.limits.record_rejection(Limit::Events, None);
                }
                pause
            }
            _ => Duration::ZERO,
        }
    }

    /// Whether the frame is within `limits.control_packets_per_second`. Otherwise the rejection is counted and logged,
    /// and the websocket must be closed.
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> bool {
        self.admits_at(frame, clock::now)
    }

    fn admits_at(&mut self, frame: &Frame<'_>, now: impl FnOnce() -> Instant) -> bool {
        if !is_control(frame) {
            return true;
        }
        let Some(rate) = self.limits.control_packets() else {
            return true;
        };
        let is_admitted = self.control.take(rate, now());
        if !is_admitted {
            self.limits.record_rejection(Limit::ControlPackets, None);
        }
        is_admitted
    }
}

/// Whether it is a control frame, or an Engine.IO packet that is not a message.
fn is_control(frame: &Frame<'_>) -> bool {
    match frame {
        // `b` begins a message in base64 (Engine.IO 3).
        Frame::Text(text) => !text.starts_with(['4', 'b']),
        Frame::Ping(_) | Frame::Pong(_) => true,
        Frame::Binary(_) | Frame::Close { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::limits::Descriptors;
    use crate::metrics::Metrics;
    use crate::metrics::labels::LimitRejection;

    #[test]
    fn control_packets_are_limited_and_messages_are_not() {
        let mut config = Config::default().limits;
        config.control_packets_per_second = 2;
        let metrics: Arc<Metrics> = Arc::default();
        let limits = Limits::new(&config, Descriptors::of(1_000, 1), Arc::clone(&metrics));
        let mut pace = RemotePace::new(Arc::clone(&limits));
        let start = clock::now();
        let control = [
            Frame::Text("2"),
            Frame::Text("3"),
            Frame::Text("6"),
            Frame::Text(""),
            Frame::Ping(b"x"),
            Frame::Pong(b""),
        ];
        // Five times the rate at once.
        for frame in control.iter().cycle().take(10) {
            assert!(pace.admits_at(frame, || start), "{frame:?}");
        }
        for frame in &control {
            assert!(!pace.admits_at(frame, || start), "{frame:?}");
        }
        let rejected = metrics
            .limit_rejected_total
            .of(LimitRejection::ControlPackets);
        assert_eq!(rejected.get(), 6);
        for frame in [
            Frame::Text("42[\"a\"]"),
            Frame::Text("b4AQ=="),
            Frame::Binary(b"2"),
        ] {
            assert!(pace.admits_at(&frame, || start), "{frame:?}");
        }
        let later = start + Duration::from_millis(500);
        assert!(pace.admits_at(&control[0], || later));
        assert!(!pace.admits_at(&control[0], || later));
        config.control_packets_per_second = 0;
        limits.replace(&config);
        assert!(pace.admits_at(&control[0], || later));
        assert_eq!(rejected.get(), 7);
    }
}
