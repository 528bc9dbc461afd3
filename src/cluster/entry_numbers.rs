//! Recognizes entries that a node has added to a stream twice.

use std::collections::HashMap;

use super::dialect::EntryNumber;
use crate::bus::link::Channel;

/// Number of pairs of process and stream at which all of them are forgotten.
const LIMIT: usize = 4096;

/// The newest entry of each process in each stream, whose entries arrive in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct EntryNumbers {
    newest: HashMap<(u64, Channel), u64>,
}

impl EntryNumbers {
    /// Records that an entry has arrived. Returns whether it had arrived before.
    pub(super) fn has_arrived(&mut self, stream: &Channel, entry: EntryNumber) -> bool {
        if self.newest.len() >= LIMIT {
            self.newest.clear();
        }
        let newest = self.newest.entry((entry.sender, stream.clone()));
        let newest = newest.or_default();
        let has_arrived = entry.number <= *newest;
        *newest = entry.number.max(*newest);
        has_arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
