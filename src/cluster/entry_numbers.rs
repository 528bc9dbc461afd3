//! Recognizes entries that a node has added to a stream twice.
//!
//! The numbers of a process mostly arrive in order, but not always: if Redis rejects the first command of a pipeline and
//! executes the others, as a Redis Cluster that was down does, the rejected entry follows later with its lower number.
//! So an entry is a repetition only if its own number has arrived.

use std::collections::HashMap;

use super::dialect::EntryNumber;
use crate::bus::link::Channel;

/// Number of pairs of process and stream at which all of them are forgotten.
const LIMIT: usize = 4096;
/// How far below the newest number of a process it is known which ones have arrived. A pipeline, which is what a node
/// repeats, has fewer entries.
const WINDOW: u64 = 16 * 1024;

/// The entries of each process that have arrived in each stream.
#[derive(Debug, Default)]
pub(super) struct EntryNumbers {
    arrived: HashMap<(u64, Channel), ArrivedNumbers>,
}

impl EntryNumbers {
    /// Records that an entry has arrived. Returns whether it had arrived before.
    pub(super) fn has_arrived(&mut self, stream: &Channel, entry: EntryNumber) -> bool {
        if self.arrived.len() >= LIMIT {
            self.arrived.clear();
        }
        let arrived = self.arrived.entry((entry.sender, stream.clone()));
        arrived.or_default().note(entry.number)
    }
}

/// The numbers of a process that have arrived in a stream.
#[derive(Debug)]
struct ArrivedNumbers {
    newest: u64,
    /// A bit for each number up to the newest one; that of a number is at its remainder by [`WINDOW`].
    bits: Box<[u64]>,
}

impl Default for ArrivedNumbers {
    fn default() -> Self {
        let words = usize::try_from(WINDOW / u64::from(u64::BITS)).unwrap_or_default();
        Self {
            newest: 0,
            bits: vec![0; words].into(),
        }
    }
}

impl ArrivedNumbers {
    /// Records a number. Returns whether it had arrived before; numbers too old to be remembered count as arrived.
    fn note(&mut self, number: u64) -> bool {
        if self.newest.saturating_sub(number) >= WINDOW {
            return true;
        }
        let passed = number.saturating_sub(self.newest).min(WINDOW);
        for before in number - passed..number {
            let (word, bit) = Self::place(before + 1);
            self.bits[word] &= !bit;
        }
        self.newest = self.newest.max(number);
        let (word, bit) = Self::place(number);
        let had_arrived = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        had_arrived
    }

    /// The word and the bit of a number.
    fn place(number: u64) -> (usize, u64) {
        let index = number % WINDOW;
        let word = usize::try_from(index / u64::from(u64::BITS)).unwrap_or_default();
        (word, 1 << (index % u64::from(u64::BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: &[u64]) -> Vec<u64> {
        let mut known = EntryNumbers::default();
        let stream = Channel::from("a");
        let mut is_new =
            |number: u64| !known.has_arrived(&stream, EntryNumber { sender: 7, number });
        let new = numbers.iter().copied().filter(|number| is_new(*number));
        new.collect()
    }

    #[test]
    fn an_entry_arrives_once_for_each_process_and_stream() {
        let mut numbers = EntryNumbers::default();
        let streams = ["a", "b"].map(Channel::from);
        let mut arrives = |stream: usize, sender, number| {
            !numbers.has_arrived(&streams[stream], EntryNumber { sender, number })
        };
        // After its connection broke, the process adds some entries again.
        let arrived = [1, 2, 4, 1, 2, 4, 5].map(|number| arrives(0, 7, number));
        assert_eq!(arrived, [true, true, true, false, false, false, true]);
        assert!(arrives(0, 8, 1) && arrives(1, 7, 3));
    }

    #[test]
    fn an_entry_that_redis_rejected_at_first_arrives_late_and_once() {
        assert_eq!(arrivals(&[2, 3, 1, 4, 1, 2]), [2, 3, 1, 4]);
        // The node has read the stream only since a later entry.
        assert_eq!(arrivals(&[90_001, 90_000, 90_000]), [90_001, 90_000]);
        let last = 5 * WINDOW + 3;
        let edge = last - WINDOW + 1;
        let numbers = [1, last, edge, edge, edge - 1, 1, last - 1, last];
        assert_eq!(arrivals(&numbers), [1, last, edge, last - 1]);
        let all: Vec<u64> = (1..=3 * WINDOW).collect();
        assert_eq!(arrivals(&[&all[..], &all[..]].concat()), all);
        assert_eq!(arrivals(&[u64::MAX, u64::MAX, 7]), [u64::MAX]);
    }
}
