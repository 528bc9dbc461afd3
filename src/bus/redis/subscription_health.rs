//! Detects by pings of a link to itself whether it still receives messages from the bus.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bus::link::{Channel, LinkDown, Outgoing};

/// Tracks whether pings of the link come back through the bus.
pub(super) struct SubscriptionHealth {
    channel: Channel,
    epoch: Instant,
    /// A message was received since the last ping.
    receiving: bool,
    misses: usize,
    /// Number of consecutive lost pings after which the link counts as deaf.
    max_misses: usize,
    deaf: bool,
    /// Resolves to whether the last ping was published.
    published: Option<oneshot::Receiver<Result<u64, LinkDown>>>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EchoStatus {
    Healthy,
    /// The link has become deaf.
    Deaf,
    /// The link is still deaf after reconnecting.
    StillDeaf,
}

impl SubscriptionHealth {
    pub(super) fn new(channel: Channel, max_misses: usize) -> Self {
        Self {
            channel,
            epoch: Instant::now(),
            receiving: false,
            misses: 0,
            max_misses,
            deaf: false,
            published: None,
        }
    }

    pub(super) fn is_ping_channel(&self, channel: &Channel) -> bool {
        *channel == self.channel
    }

    /// A ping that carries the time it was created.
    pub(super) fn ping(&self) -> Outgoing {
        let age = self.epoch.elapsed().as_nanos() as u64;
        Outgoing {
            channel: self.channel.clone(),
            payload: Bytes::copy_from_slice(&age.to_be_bytes()),
            volatile: true,
            translation: None,
            log: None,
        }
    }

    /// The round-trip time of a ping.
    pub(super) fn round_trip(&self, payload: &[u8]) -> Option<Duration> {
        let made = u64::from_be_bytes(payload.try_into().ok()?);
        self.epoch.elapsed().checked_sub(Duration::from_nanos(made))
    }

    /// Records that a ping was queued; `published` resolves to whether it reached the bus.
    pub(super) fn ping_sent(&mut self, published: oneshot::Receiver<Result<u64, LinkDown>>) {
        self.published = Some(published);
    }

    /// Discards the pings of the previous connection.
    pub(super) fn reset(&mut self) {
        self.receiving = false;
        self.misses = 0;
        self.published = None;
    }

    /// Records a received message; returns whether the link was deaf until now.
    pub(super) fn received(&mut self) -> bool {
        self.receiving = true;
        std::mem::take(&mut self.deaf)
    }

    /// Evaluates the last ping. A ping that was not published does not count.
    pub(super) fn check(&mut self) -> EchoStatus {
        let published = self.published.take();
        let was_published =
            published.is_some_and(|mut count| matches!(count.try_recv(), Ok(Ok(_))));
        if std::mem::take(&mut self.receiving) {
            self.misses = 0;
        } else if was_published {
            self.misses += 1;
        }
        if self.misses < self.max_misses {
            return EchoStatus::Healthy;
        }
        match std::mem::replace(&mut self.deaf, true) {
            false => EchoStatus::Deaf,
            true => EchoStatus::StillDeaf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(
        subscription_health: &mut SubscriptionHealth,
        published: Result<u64, LinkDown>,
    ) -> EchoStatus {
        let (count, receiver) = oneshot::channel();
        count.send(published).unwrap();
        subscription_health.ping_sent(receiver);
        subscription_health.check()
    }

    #[test]
    fn consecutive_lost_pings_make_the_link_deaf() {
        let mut subscription_health = SubscriptionHealth::new(Channel::from("own"), 3);
        assert_eq!(
            subscription_health.check(),
            EchoStatus::Healthy,
            "nothing was sent"
        );
        for published in [Ok(1), Ok(0), Err(LinkDown), Err(LinkDown)] {
            assert_eq!(
                ping(&mut subscription_health, published),
                EchoStatus::Healthy
            );
        }
        assert_eq!(ping(&mut subscription_health, Ok(1)), EchoStatus::Deaf);
        subscription_health.reset();
        for _ in 0..2 {
            assert_eq!(ping(&mut subscription_health, Ok(1)), EchoStatus::Healthy);
        }
        assert_eq!(ping(&mut subscription_health, Ok(1)), EchoStatus::StillDeaf);
        assert!(subscription_health.received());
        assert!(!subscription_health.received());
        assert_eq!(ping(&mut subscription_health, Ok(1)), EchoStatus::Healthy);
    }
}
