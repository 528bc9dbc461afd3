//! Latest wins: a packet with a conflation id replaces the unsent packet with the same id in each lane that is behind.
//!
//! The new packet is appended, the old one is removed: the order of all other packets remains, and a client never
//! receives a packet before one that was sent earlier and is still current. A packet that is partly written remains.

use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;

use super::backlog::Backlogs;
use super::chunk::Slice;
use super::lanes::Lanes;
use super::queue::{Entry, Queue};
use super::replaceable::ConflationId;

impl Lanes {
    /// The id of packets with this identity, for lanes of this worker.
    pub fn conflation_id(&self, identity: impl Hash) -> ConflationId {
        let hash = self.hasher.hash_one(identity);
        ConflationId(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }

    /// Removes the unsent packet with this id; returns whether there was one.
    pub(super) fn remove_replaced(&mut self, index: usize, id: ConflationId) -> bool {
        // Earlier packets of this batch precede the new one.
        self.write_lane(index);
        self.backlogs.remove_replaced(index, self.bounds.soft, id)
    }
}

impl Backlogs {
    fn remove_replaced(&mut self, index: usize, soft: usize, id: ConflationId) -> bool {
        let removed = self.change(index, |queue| queue.remove_replaced(id));
        if removed {
            self.end_slowness_within(index, soft);
        }
        removed
    }
}

impl Queue {
    /// Adds a packet that a later one with the same id replaces.
    pub(super) fn push_replaceable(&mut self, packet: Slice, id: ConflationId) {
        self.bytes += packet.bytes().len();
        self.entries.push_back(Entry::Shared(packet));
        let position = self.entries.len() - 1;
        let replaceable = self.replaceable.get_or_insert_default();
        replaceable.add(id, position);
    }

    /// Removes the packet with this id, unless it is partly written; returns whether there was one.
    pub(super) fn remove_replaced(&mut self, id: ConflationId) -> bool {
        let Some(replaceable) = &mut self.replaceable else {
            return false;
        };
        let Some(position) = replaceable.position(id) else {
            return false;
        };
        if position == 0 {
            if self.taken > 0 {
                return false;
            }
            self.drop_first();
            return true;
        }
        let is_last = position + 1 == self.entries.len();
        let Some(entry) = self.entries.get_mut(position) else {
            return false;
        };
        self.bytes -= entry.bytes().len();
        if is_last {
            replaceable.take_last(id);
            self.entries.pop_back();
        } else {
            replaceable.vacate(id);
            *entry = Entry::Vacant;
        }
        self.compact();
        true
    }

    /// Removes vacant entries once most entries are vacant, and the index once it is empty.
    pub(super) fn compact(&mut self) {
        let Some(replaceable) = &mut self.replaceable else {
            return;
        };
        if replaceable.must_compact(self.entries.len()) {
            let mut numbers = replaceable.renumber();
            self.entries.retain(|entry| {
                let is_vacant = matches!(entry, Entry::Vacant);
                numbers.entry(is_vacant);
                !is_vacant
            });
        }
        if replaceable.is_empty() {
            self.replaceable = None;
        }
    }
}

#[cfg(test)]
mod tests;
