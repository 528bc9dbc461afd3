//! Which entries of a queue later packets replace.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;

/// Memory besides the entries, in bytes.
const BASE_COST: usize = 128;
/// Memory of an entry in both collections, which grow by doubling, in bytes.
const KEY_COST: usize = 96;
/// Replaced entries that keep their place before a queue is compacted.
const MAX_VACANT: usize = 32;

/// Identifies the packets of which a lane keeps only the latest unsent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConflationId(pub(super) NonZeroU64);

/// The replaceable entries of a queue. An entry has a number: its position plus the number of entries that have been
/// taken out before it.
#[derive(Debug, Default)]
pub(super) struct Replaceable {
    latest: HashMap<ConflationId, u64>,
    /// In the order of the queue; with entries that have been replaced and still have a place in the queue.
    order: VecDeque<(u64, ConflationId)>,
    /// Entries taken out of the front of the queue.
    taken_out: u64,
    /// Replaced entries that have a place in the queue.
    vacant: usize,
}

impl Replaceable {
    /// The position of the latest entry of `id`.
    pub(super) fn position(&self, id: ConflationId) -> Option<usize> {
        let number = self.latest.get(&id)?;
        usize::try_from(number - self.taken_out).ok()
    }

    /// Adds the entry at `position`, which is the last of the queue.
    pub(super) fn add(&mut self, id: ConflationId, position: usize) {
        let number = self.taken_out + position as u64;
        self.latest.insert(id, number);
        self.order.push_back((number, id));
    }

    /// The entry of `id` is replaced and leaves a vacant place.
    pub(super) fn vacate(&mut self, id: ConflationId) {
        self.latest.remove(&id);
        self.vacant += 1;
    }

    /// The last entry of the queue, which is that of `id`, is taken out.
    pub(super) fn take_last(&mut self, id: ConflationId) {
        self.latest.remove(&id);
        self.order.pop_back();
    }

    /// The first entry of the queue is taken out.
    pub(super) fn take_first(&mut self, was_vacant: bool) {
        let number = self.taken_out;
        self.taken_out += 1;
        self.vacant -= usize::from(was_vacant);
        if let Some((_, id)) = self.order.pop_front_if(|(first, _)| *first == number)
            && self.latest.get(&id) == Some(&number)
        {
            self.latest.remove(&id);
        }
    }

    /// Whether so many places of `entries` entries are vacant that they must be removed.
    pub(super) fn must_compact(&self, entries: usize) -> bool {
        self.vacant > MAX_VACANT.max(entries / 2)
    }

    /// Starts to number the entries anew, without vacant ones.
    pub(super) fn renumber(&mut self) -> Renumbering<'_> {
        let old = std::mem::take(&mut self.order);
        self.vacant = 0;
        Renumbering {
            old,
            next_old: self.taken_out,
            next_new: self.taken_out,
            entries: self,
        }
    }

    /// Whether the queue has no replaceable entry and no vacant place.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> usize {
        BASE_COST + self.order.len() * KEY_COST
    }
}

/// Numbers the entries of a queue anew while its vacant places are removed.
pub(super) struct Renumbering<'a> {
    entries: &'a mut Replaceable,
    old: VecDeque<(u64, ConflationId)>,
    next_old: u64,
    next_new: u64,
}

impl Renumbering<'_> {
    /// The next entry of the queue in its order.
    pub(super) fn entry(&mut self, is_vacant: bool) {
        let (old, new) = (self.next_old, self.next_new);
        self.next_old += 1;
        let key = self.old.pop_front_if(|(number, _)| *number == old);
        if is_vacant {
            return;
        }
        self.next_new += 1;
        let Some((_, id)) = key else { return };
        self.entries.order.push_back((new, id));
        if let Some(latest) = self.entries.latest.get_mut(&id)
            && *latest == old
        {
            *latest = new;
        }
    }
}
