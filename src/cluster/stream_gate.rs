//! Holds messages for streams that this node does not read yet: it would not receive them itself.

use std::collections::HashSet;

use tokio::time::Instant;

use super::dialect::Dialect;
use crate::bus::link::{Channel, Outgoing};
use crate::bus::spool::{Spool, SpoolLimits};

/// Holds messages until the bus confirms the subscription to their stream. The limits of an outage apply, because this
/// takes long only if Redis is away when the node starts.
pub(super) struct StreamGate {
    /// The streams whose subscription has not been confirmed yet.
    unread: HashSet<Channel>,
    waiting: Spool<Outgoing>,
    limits: SpoolLimits,
}

impl StreamGate {
    /// A gate for the channels that these dialects always subscribe to, streams among them.
    pub(super) fn new<'a>(
        dialects: impl IntoIterator<Item = &'a dyn Dialect>,
        limits: SpoolLimits,
    ) -> Self {
        let channels = dialects.into_iter();
        Self {
            unread: channels.flat_map(|it| it.subscriptions().always).collect(),
            waiting: Spool::default(),
            limits,
        }
    }

    /// Moves the messages that must wait from `messages` into the gate.
    pub(super) fn hold_back(&mut self, messages: &mut Vec<Outgoing>, now: Instant) {
        if self.unread.is_empty() {
            return;
        }
        let waiting = messages.extract_if(.., |message| self.unread.contains(&message.channel));
        for message in waiting {
            self.waiting.push(message, self.limits.bytes, now);
        }
    }

    /// Records that the bus has confirmed subscriptions. Returns the messages that need not wait any longer, and the
    /// number of messages dropped by the limits.
    pub(super) fn confirmed(&mut self, channels: &[Channel], now: Instant) -> (Vec<Outgoing>, u64) {
        let before = self.unread.len();
        self.unread.retain(|stream| !channels.contains(stream));
        if self.unread.len() == before {
            return (Vec::new(), 0);
        }
        self.waiting.trim(self.limits, now);
        let dropped = self.waiting.take_dropped().map_or(0, |it| it.messages);
        let all = self.waiting.take(usize::MAX);
        let (waiting, due): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, message)| self.unread.contains(&message.channel));
        self.waiting.restore(waiting);
        let due = due.into_iter().map(|(_, message)| message);
        (due.collect(), dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn message(channel: &str, number: u8) -> Outgoing {
        Outgoing::new(Channel::from(channel), Bytes::copy_from_slice(&[number]))
    }

    fn numbers(messages: &[Outgoing]) -> Vec<u8> {
        messages.iter().map(|message| message.payload[0]).collect()
    }

    #[test]
    fn messages_wait_until_their_stream_is_read_or_are_dropped_and_counted() {
        let now = Instant::now();
        let streams = ["a", "b"].map(Channel::from);
        let mut gate = StreamGate {
            unread: streams.iter().cloned().collect(),
            waiting: Spool::default(),
            limits: SpoolLimits::default(),
        };
        let mut messages = vec![message("a", 1), message("b", 2), message("else", 3)];
        gate.hold_back(&mut messages, now);
        assert_eq!(numbers(&messages), [3]);
        let (due, dropped) = gate.confirmed(&[Channel::from("else")], now);
        assert_eq!((numbers(&due), dropped), (vec![], 0));
        let (due, dropped) = gate.confirmed(&streams[..1], now);
        assert_eq!((numbers(&due), dropped), (vec![1], 0));
        let mut messages = vec![message("a", 4), message("b", 5)];
        let later = now + Duration::from_secs(11);
        gate.hold_back(&mut messages, later);
        assert_eq!(numbers(&messages), [4]);
        let (due, dropped) = gate.confirmed(&streams, later);
        assert_eq!((numbers(&due), dropped), (vec![5], 1));
        let mut messages = vec![message("b", 6)];
        gate.hold_back(&mut messages, later);
        assert_eq!(numbers(&messages), [6]);
    }
}
