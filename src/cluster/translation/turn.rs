//! Which node translates, as a value.
//!
//! All nodes receive the messages of the bus in the same order. A node that holds the lease publishes a marker: it
//! translates the messages that it receives after its own marker, and the node before it those that it receives before
//! that marker. So no message is translated twice, however late either of them processes it, and none is skipped while
//! both are connected. The lease alone is not sufficient: a node that was paused still holds messages from before its
//! lease expired.

use std::time::Instant;

/// The turn of a node.
#[derive(Debug)]
pub(super) struct TranslationTurn {
    is_translating: bool,
    /// When this node last lost its place in the order of messages. Leases requested before prove nothing.
    lost_place: Instant,
    /// Number of the next marker.
    next: u64,
    /// Markers from this number on are of the present connection.
    first: u64,
}

impl TranslationTurn {
    /// The turn of a node that has not connected yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_translating: false,
            lost_place: now,
            next: 0,
            first: 0,
        }
    }

    /// Whether the messages received now are translated by this node.
    pub(super) fn is_translating(&self) -> bool {
        self.is_translating
    }

    /// The node holds the lease, which it requested at `requested`. Returns the number of the marker to publish, if any.
    pub(super) fn holds_lease(&mut self, requested: Instant) -> Option<u64> {
        if self.is_translating || requested < self.lost_place {
            return None;
        }
        let number = self.next;
        self.next += 1;
        Some(number)
    }

    /// Received a marker of this node. Returns whether it begins to translate, unless it already does.
    pub(super) fn own_marker(&mut self, number: u64) -> bool {
        let begins = number >= self.first && !self.is_translating;
        self.is_translating |= begins;
        begins
    }

    /// Received a marker of another node, which translates from here on. Returns whether this node did.
    pub(super) fn other_marker(&mut self) -> bool {
        // Markers of this node that are still on their way come later, and take the turn back.
        std::mem::take(&mut self.is_translating)
    }

    /// Messages may have been missed, among them the marker of another node. Returns whether this node translated.
    pub(super) fn lose_place(&mut self, now: Instant) -> bool {
        self.lost_place = now;
        self.first = self.next;
        std::mem::take(&mut self.is_translating)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Delivers the same sequence of published messages to two nodes; each message must be translated at most once.
    #[derive(Debug, Clone, Copy)]
    enum Sent {
        Marker(usize, u64),
        Message,
    }

    fn translations(turn: &mut TranslationTurn, node: usize, sent: &[Sent]) -> Vec<bool> {
        let mut translated = Vec::new();
        for sent in sent {
            match *sent {
                Sent::Marker(from, number) if from == node => _ = turn.own_marker(number),
                Sent::Marker(..) => _ = turn.other_marker(),
                Sent::Message => translated.push(turn.is_translating()),
            }
        }
        translated
    }

    #[test]
    fn every_message_after_the_first_marker_is_translated_by_one_node() {
        use Sent::{Marker, Message};
        let start = Instant::now();
        let sent = [
            Message,
            Marker(0, 0),
            Message,
            Marker(1, 0),
            Message,
            Marker(0, 1),
            Marker(1, 1),
            Message,
            Marker(0, 2),
            Message,
        ];
        let [first, second] = [0, 1].map(|node| {
            let mut turn = TranslationTurn::new(start);
            translations(&mut turn, node, &sent)
        });
        assert_eq!(first, [false, true, false, false, true]);
        assert_eq!(second, [false, false, true, true, false]);
    }

    #[test]
    fn a_marker_is_published_until_it_arrives() {
        let start = Instant::now();
        let mut turn = TranslationTurn::new(start);
        assert_eq!(turn.holds_lease(start), Some(0));
        assert_eq!(turn.holds_lease(start), Some(1), "the first may be lost");
        assert!(turn.own_marker(0));
        assert_eq!(turn.holds_lease(start), None);
        assert!(!turn.own_marker(1), "it translates already");
        assert!(turn.is_translating());
    }

    #[test]
    fn after_a_lost_connection_neither_old_leases_nor_old_markers_count() {
        let start = Instant::now();
        let mut turn = TranslationTurn::new(start);
        turn.holds_lease(start);
        assert!(turn.own_marker(0));
        turn.holds_lease(start);
        let later = start + Duration::from_secs(1);
        assert!(turn.lose_place(later));
        assert!(!turn.lose_place(later) && !turn.is_translating());
        assert!(!turn.own_marker(0), "published on the lost connection");
        assert_eq!(turn.holds_lease(start), None);
        assert_eq!(turn.holds_lease(later), Some(1));
        assert!(turn.own_marker(1));
        assert!(turn.other_marker() && !turn.other_marker());
    }
}
