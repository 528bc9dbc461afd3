//! Judges by pings to oneself whether the bus still reaches this link.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bus::link::{Channel, LinkDown, Outgoing};

/// Whether the link hears itself through the bus.
pub(super) struct Hearing {
    channel: Channel,
    begun: Instant,
    /// Something came since the last ping.
    heard: bool,
    misses: usize,
    /// Pings in a row that get lost until the link counts as deaf.
    misses_to_deaf: usize,
    deaf: bool,
    /// Tells whether the last ping reached the bus at all.
    published: Option<oneshot::Receiver<Result<u64, LinkDown>>>,
}

/// What the pings so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Deaf, and nobody knows yet.
    Deaf,
    /// A new connection did not help.
    StillDeaf,
}

impl Hearing {
    pub(super) fn new(channel: Channel, misses_to_deaf: usize) -> Self {
        Self {
            channel,
            begun: Instant::now(),
            heard: false,
            misses: 0,
            misses_to_deaf,
            deaf: false,
            published: None,
        }
    }

    pub(super) fn is_own(&self, channel: &Channel) -> bool {
        *channel == self.channel
    }

    /// A ping that carries when it was made.
    pub(super) fn ping(&self) -> Outgoing {
        let age = self.begun.elapsed().as_nanos() as u64;
        Outgoing {
            channel: self.channel.clone(),
            payload: Bytes::copy_from_slice(&age.to_be_bytes()),
            volatile: true,
            translation: None,
        }
    }

    /// How long a ping took to come back.
    pub(super) fn echo(&self, payload: &[u8]) -> Option<Duration> {
        let made = u64::from_be_bytes(payload.try_into().ok()?);
        self.begun.elapsed().checked_sub(Duration::from_nanos(made))
    }

    /// A ping is on its way; `published` tells whether it reached the bus.
    pub(super) fn sent(&mut self, published: oneshot::Receiver<Result<u64, LinkDown>>) {
        self.published = Some(published);
    }

    /// A new connection: the pings of the old one count no more.
    pub(super) fn begin(&mut self) {
        self.heard = false;
        self.misses = 0;
        self.published = None;
    }

    /// Any message proves that the bus reaches us; says whether it did not before.
    pub(super) fn hear(&mut self) -> bool {
        self.heard = true;
        std::mem::take(&mut self.deaf)
    }

    /// Judges the last ping. One that did not reach the bus says nothing about our ears.
    pub(super) fn judge(&mut self) -> Verdict {
        let published = self.published.take();
        let was_published =
            published.is_some_and(|mut count| matches!(count.try_recv(), Ok(Ok(_))));
        if std::mem::take(&mut self.heard) {
            self.misses = 0;
        } else if was_published {
            self.misses += 1;
        }
        if self.misses < self.misses_to_deaf {
            return Verdict::Fine;
        }
        match std::mem::replace(&mut self.deaf, true) {
            false => Verdict::Deaf,
            true => Verdict::StillDeaf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(hearing: &mut Hearing, published: Result<u64, LinkDown>) -> Verdict {
        let (count, receiver) = oneshot::channel();
        count.send(published).unwrap();
        hearing.sent(receiver);
        hearing.judge()
    }

    #[test]
    fn three_lost_pings_make_a_deaf_link() {
        let mut hearing = Hearing::new(Channel::from("own"), 3);
        assert_eq!(hearing.judge(), Verdict::Fine, "nothing was sent");
        for published in [Ok(1), Ok(0), Err(LinkDown), Err(LinkDown)] {
            assert_eq!(ping(&mut hearing, published), Verdict::Fine);
        }
        assert_eq!(ping(&mut hearing, Ok(1)), Verdict::Deaf);
        hearing.begin();
        for _ in 0..2 {
            assert_eq!(ping(&mut hearing, Ok(1)), Verdict::Fine);
        }
        assert_eq!(ping(&mut hearing, Ok(1)), Verdict::StillDeaf);
        assert!(hearing.hear());
        assert!(!hearing.hear());
        assert_eq!(ping(&mut hearing, Ok(1)), Verdict::Fine);
    }
}
