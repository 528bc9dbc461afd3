//! Where the acks of translated emits go, as a value.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::AckToken;

/// Ids from here on are those of translated emits. Every dialect can carry them: they stay below 2^53.
const FIRST_ID: u64 = 1 << 52;
/// How long acks of a translated emit are passed on.
const LIFETIME: Duration = Duration::from_secs(60);
/// Number of emits whose acks are awaited. Beyond it, the oldest is forgotten.
const LIMIT: usize = 16_384;

/// Whether an id belongs to a translated emit, not to a call of a worker.
pub(in crate::cluster) fn is_translated(id: u64) -> bool {
    id >= FIRST_ID
}

/// An emit whose acks are awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingReply {
    pub(super) token: AckToken,
    /// Whether the requester waits for as many acks as members count ([`super::held`]); otherwise each ack is passed on.
    pub(super) is_counted: bool,
}

/// The emits that this node translated, with the tokens of those that requested acks.
#[derive(Debug)]
pub(super) struct PendingReplies {
    /// In the order of their ids, which are consecutive.
    emits: VecDeque<(Instant, PendingReply)>,
    /// The id of the first.
    first: u64,
}

impl PendingReplies {
    /// No emits. `start` distinguishes their ids from the ids of an earlier process of this node.
    pub(super) fn new(start: u32) -> Self {
        Self {
            emits: VecDeque::new(),
            first: FIRST_ID + (u64::from(start) << 16),
        }
    }

    /// The id under which the emit is translated.
    pub(super) fn expect(&mut self, emit: PendingReply, now: Instant) -> u64 {
        while let Some((since, _)) = self.emits.front()
            && (self.emits.len() >= LIMIT || now.saturating_duration_since(*since) > LIFETIME)
        {
            self.emits.pop_front();
            self.first += 1;
        }
        let id = self.first + self.emits.len() as u64;
        self.emits.push_back((now, emit));
        id
    }

    /// A translated emit; `None` if its acks are no longer awaited.
    pub(super) fn get(&self, id: u64, now: Instant) -> Option<&PendingReply> {
        let position = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let (since, emit) = self.emits.get(position)?;
        (now.saturating_duration_since(*since) <= LIFETIME).then_some(emit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, ReplyTo};

    fn emit(id: u64) -> PendingReply {
        let reply_to = ReplyTo::Node(NodeId::parse("nod1").unwrap());
        PendingReply {
            token: AckToken { reply_to, id },
            is_counted: false,
        }
    }

    #[test]
    fn each_ack_of_a_translated_emit_is_passed_on_for_a_minute() {
        let start = Instant::now();
        let mut pending = PendingReplies::new(7);
        let first = pending.expect(emit(1), start);
        let second = pending.expect(emit(2), start + LIFETIME);
        assert!(is_translated(first) && second == first + 1);
        for _ in 0..2 {
            assert_eq!(pending.get(first, start + LIFETIME), Some(&emit(1)));
        }
        let later = start + LIFETIME + Duration::from_millis(1);
        assert_eq!(pending.get(first, later), None);
        assert_eq!(pending.get(first - 1, later), None);
        assert_eq!(pending.get(second + 1, later), None);
        let third = pending.expect(emit(3), later);
        assert_eq!(pending.emits.len(), 2, "the first has expired");
        assert_eq!(pending.get(second, later), Some(&emit(2)));
        assert_eq!(pending.get(third, later), Some(&emit(3)));
    }

    #[test]
    fn beyond_the_limit_the_oldest_is_forgotten() {
        let start = Instant::now();
        let mut pending = PendingReplies::new(u32::MAX);
        let first = pending.expect(emit(0), start);
        for id in 1..=LIMIT as u64 {
            pending.expect(emit(id), start);
        }
        assert_eq!(pending.get(first, start), None);
        assert_eq!(pending.get(first + 1, start), Some(&emit(1)));
        assert!(first + (LIMIT as u64) < 1 << 53);
    }
}
