//! The heartbeat of an Engine.IO session, and the reasons for which it closes (docs/protocol.md#15-heartbeat and #3-reasons-and-selection).

use std::time::{Duration, Instant};

/// Why a session ended, named as in the reference server where it has the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed the session, or its connection ended.
    TransportClose,
    /// The connection broke, or the client violated the protocol of its transport.
    TransportError,
    /// No pong within the ping timeout.
    PingTimeout,
    /// The client sent something that is not a packet.
    ParseError,
    /// A packet that is not allowed in this state.
    ForcedClose,
    /// The server ended the connection.
    ServerDisconnect,
    /// The node stops.
    ServerShuttingDown,
    /// The queue of the client exceeded its limits.
    SlowConsumer,
    /// A message larger than `engine.max_payload`.
    MessageTooLarge,
    /// More events wait for the app than `socket.inbox_limit`, and back-pressure cannot reach the client.
    InboxOverflow,
    /// JSON nested deeper than `socket.max_depth`, and the app cannot reject the event alone.
    NestedTooDeeply,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The server behind this one was lost, or cannot be reached.
    UpstreamLost,
    /// The identity of the client ended, and was not refreshed.
    IdentityExpired,
    /// The identity of the client was revoked.
    IdentityRevoked,
    /// A backend requested that the client connects again.
    ReconnectRequested,
    /// The node lost its name to another one, for example because it was paused.
    NodeFenced,
}

impl CloseReason {
    /// The reason as logged, and as apps receive it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ForcedClose => "forced close",
            Self::ServerDisconnect => "server namespace disconnect",
            Self::ServerShuttingDown => "server shutting down",
            Self::SlowConsumer => "slow consumer",
            Self::MessageTooLarge => "message too large",
            Self::InboxOverflow => "inbox overflow",
            Self::NestedTooDeeply => "nested too deeply",
            Self::ConnectTimeout => "connect timeout",
            Self::UpstreamLost => "upstream lost",
            Self::IdentityExpired => "identity expired",
            Self::IdentityRevoked => "identity revoked",
            Self::ReconnectRequested => "reconnect requested",
            Self::NodeFenced => "node fenced",
        }
    }

    /// Code and reason of the close frame. Most sessions close without a status code, as in the reference server; only
    /// reasons that are otherwise hard to find out are named. Not that of a slow consumer, which would have to read
    /// everything queued before it.
    pub fn close_frame(self) -> (Option<u16>, &'static str) {
        match self {
            Self::MessageTooLarge => (
                Some(1009),
                "message too large: see maxPayload of the handshake",
            ),
            Self::InboxOverflow => (
                Some(1008),
                "more events wait than socket.inbox_limit allows",
            ),
            Self::NestedTooDeeply => (
                Some(1008),
                "JSON nested deeper than socket.max_depth allows",
            ),
            // 1013, "try again later", is in IANA's registry of close codes.
            Self::UpstreamLost => (Some(1013), "the server behind this one is away"),
            // 3000, "unauthorized", is in the same registry.
            Self::IdentityExpired => (Some(3000), "the token has expired"),
            Self::IdentityRevoked => (Some(3000), "the token is revoked"),
            Self::ReconnectRequested => (Some(3000), "connect and authenticate again"),
            _ => (None, ""),
        }
    }
}

/// What is due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing is due.
    Quiet,
    /// Send a ping now.
    Ping,
    /// The client did not respond to the last ping.
    Dead,
}

/// A timer that fires late by less than this does not extend the deadline of the client.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// The side that sends pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinger {
    Server,
    /// In revision 3 (docs/protocol.md#110-revision-3).
    Client,
}

/// One side sends pings, and the other responds. A session whose client sends neither pings nor responses ends exactly at
/// interval + timeout.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    deadline: Instant,
    /// When the ping was sent whose pong is pending.
    pinged: Option<Instant>,
}

impl Heartbeat {
    /// The first ping is due one interval from `now`.
    pub fn new(pinger: Pinger, interval: Duration, timeout: Duration, now: Instant) -> Self {
        let deadline = match pinger {
            Pinger::Server => now + interval,
            Pinger::Client => now + interval + timeout,
        };
        Self {
            interval,
            timeout,
            deadline,
            pinged: None,
        }
    }

    /// The time at which to call [`Heartbeat::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// The longest time for which a live client sends nothing.
    pub fn max_silence(&self) -> Duration {
        self.interval + self.timeout
    }

    /// Returns what is due at `now`. `pinger` is that of the session.
    pub fn handle_timeout(&mut self, pinger: Pinger, now: Instant) -> Beat {
        if now < self.deadline {
            return Beat::Quiet;
        }
        if self.pinged.is_some() || pinger == Pinger::Client {
            return Beat::Dead;
        }
        self.pinged = Some(now);
        // Small delays of timers must not add up: the session ends exactly at interval + timeout.
        let due = self.deadline;
        let sent = if now - due < TIMER_SLACK { due } else { now };
        self.deadline = sent + self.timeout;
        Beat::Ping
    }

    /// Handles a pong, which restarts the interval. Returns the round-trip time; `None` for a pong without a ping,
    /// which has no effect.
    pub fn pong(&mut self, now: Instant) -> Option<Duration> {
        let pinged = self.pinged.take()?;
        self.deadline = now + self.interval;
        Some(now.saturating_duration_since(pinged))
    }

    /// Handles a ping of the client, which is to be responded to.
    pub fn ping(&mut self, now: Instant) {
        self.deadline = now + self.max_silence();
    }

    /// Reading from the client was suspended until `now`, so its ping or pong may wait in the socket buffer.
    pub fn extend_ping_deadline(&mut self, pinger: Pinger, now: Instant) {
        match pinger {
            Pinger::Server if self.pinged.is_none() => {}
            Pinger::Server => self.deadline = now + self.timeout,
            Pinger::Client => self.deadline = self.deadline.max(now + self.timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(200);

    #[test]
    fn a_client_that_sends_nothing_times_out_at_interval_plus_timeout() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(Pinger::Server, INTERVAL, TIMEOUT, start);
        assert_eq!(
            beat.handle_timeout(Pinger::Server, start + INTERVAL - Duration::from_millis(1)),
            Beat::Quiet
        );
        let late = start + INTERVAL + Duration::from_millis(2);
        assert_eq!(beat.handle_timeout(Pinger::Server, late), Beat::Ping);
        assert_eq!(beat.poll_timeout(), start + INTERVAL + TIMEOUT);
        assert_eq!(
            beat.handle_timeout(Pinger::Server, start + INTERVAL + TIMEOUT),
            Beat::Dead
        );
    }

    #[test]
    fn a_client_that_must_ping_times_out_at_interval_plus_timeout_after_its_last_ping() {
        let start = Instant::now();
        let end = |beat: &Heartbeat| beat.poll_timeout() - start;
        let mut beat = Heartbeat::new(Pinger::Client, INTERVAL, TIMEOUT, start);
        assert_eq!(end(&beat), INTERVAL + TIMEOUT);
        beat.ping(start + INTERVAL);
        assert_eq!(end(&beat), INTERVAL * 2 + TIMEOUT);
        beat.extend_ping_deadline(Pinger::Client, start + INTERVAL);
        assert_eq!(end(&beat), INTERVAL * 2 + TIMEOUT);
        beat.extend_ping_deadline(Pinger::Client, start + INTERVAL * 3);
        assert_eq!(end(&beat), INTERVAL * 3 + TIMEOUT);
        let due = beat.poll_timeout();
        let early = due - Duration::from_millis(1);
        assert_eq!(beat.handle_timeout(Pinger::Client, early), Beat::Quiet);
        assert_eq!(beat.handle_timeout(Pinger::Client, due), Beat::Dead);
    }

    #[test]
    fn a_late_ping_extends_the_deadline_of_the_client() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(Pinger::Server, INTERVAL, TIMEOUT, start);
        let late = start + INTERVAL * 2;
        assert_eq!(beat.handle_timeout(Pinger::Server, late), Beat::Ping);
        assert_eq!(beat.poll_timeout(), late + TIMEOUT);
    }

    #[test]
    fn a_pong_restarts_the_interval_unless_no_ping_is_pending() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(Pinger::Server, INTERVAL, TIMEOUT, start);
        assert_eq!(beat.pong(start + TIMEOUT), None);
        assert_eq!(beat.poll_timeout(), start + INTERVAL);
        assert_eq!(
            beat.handle_timeout(Pinger::Server, start + INTERVAL),
            Beat::Ping
        );
        let pong_time = start + INTERVAL + TIMEOUT / 2;
        assert_eq!(beat.pong(pong_time), Some(TIMEOUT / 2));
        assert_eq!(beat.poll_timeout(), pong_time + INTERVAL);
        assert_eq!(
            beat.handle_timeout(Pinger::Server, pong_time + INTERVAL),
            Beat::Ping
        );
    }
}
