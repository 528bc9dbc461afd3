//! Events that wait for earlier ones, in the order of their numbers.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::history::LogName;
use crate::model::{Emit, Position, Selector};

/// The logs of an event, and the number of the entry before it in each.
pub(super) type Logs = SmallVec<[(LogName, u64); 1]>;

/// An event that waits.
#[derive(Debug)]
pub(super) struct HeldEvent {
    pub(super) emit: Emit,
    pub(super) position: Position,
    pub(super) is_own: bool,
    /// Its logs as it arrived; `None` if it was only read from logs.
    pub(super) arrived: Option<Logs>,
    /// The logs from which it was read: nothing before it is missing there.
    pub(super) read_from: SmallVec<[LogName; 1]>,
}

/// A range of a log that cannot be delivered.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) log: LogName,
    pub(super) after: Position,
    pub(super) before: Position,
    /// The number of the last missing event.
    pub(super) last: u64,
}

/// An event, or the gaps before it.
#[derive(Debug)]
pub(super) enum HeldItem {
    Gaps(Vec<Gap>),
    Event(Box<HeldEvent>),
}

/// Gaps come before the event of the same number.
type Key = (u64, bool);

/// What waits. All numbers are of one epoch.
#[derive(Debug, Default)]
pub(super) struct HeldEvents {
    items: BTreeMap<Key, HeldItem>,
    events: usize,
    bytes: usize,
}

impl HeldEvent {
    /// The logs by which it is for the members of this node.
    pub(super) fn logs(&self) -> impl Iterator<Item = &LogName> {
        let arrived = self.arrived.iter().flatten().map(|(name, _)| name);
        arrived.chain(&self.read_from)
    }

    /// The logs of its rooms from which it was not read, if it did not arrive.
    pub(super) fn unread_logs(&self) -> Vec<LogName> {
        if self.arrived.is_some() {
            return Vec::new();
        }
        let Selector {
            namespace, rooms, ..
        } = &self.emit.to;
        let logs = rooms.iter();
        let logs = logs.map(|room| LogName::of_room(namespace.clone(), room.clone()));
        logs.filter(|log| !self.read_from.contains(log)).collect()
    }

    fn size(&self) -> usize {
        self.emit.payload.size()
    }

    /// Adds what is known of the same event by another way.
    fn merge(&mut self, other: Self) {
        if other.arrived.is_some() {
            self.is_own = other.is_own;
            self.arrived = other.arrived;
        }
        self.read_from.extend(other.read_from);
    }
}

impl HeldEvents {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the payloads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the first item.
    pub(super) fn first(&self) -> Option<u64> {
        self.items.keys().next().map(|(n, _)| *n)
    }

    /// The number up to which everything must have arrived before the first item is delivered; 0 if it has arrived itself.
    pub(super) fn first_read(&self) -> u64 {
        match self.items.first_key_value() {
            Some(((n, _), HeldItem::Gaps(_))) => n - 1,
            Some(((n, _), HeldItem::Event(event))) if event.arrived.is_none() => *n,
            _ => 0,
        }
    }

    pub(super) fn push(&mut self, event: HeldEvent) {
        let key = (event.position.n, true);
        if let Some(HeldItem::Event(held)) = self.items.get_mut(&key) {
            return held.merge(event);
        }
        self.bytes += event.size();
        self.events += 1;
        self.items.insert(key, HeldItem::Event(Box::new(event)));
    }

    pub(super) fn push_gap(&mut self, gap: Gap) {
        let gaps = self.items.entry((gap.before.n, false));
        if let HeldItem::Gaps(gaps) = gaps.or_insert_with(|| HeldItem::Gaps(Vec::new())) {
            gaps.push(gap);
        }
    }

    /// Takes the first item.
    pub(super) fn pop(&mut self) -> Option<HeldItem> {
        let (_, item) = self.items.pop_first()?;
        self.forget_size(&item);
        Some(item)
    }

    /// Takes the last event, if it is not the only one.
    pub(super) fn pop_last_event(&mut self) -> Option<HeldEvent> {
        if self.events < 2 {
            return None;
        }
        let mut newest = self.items.iter().rev();
        let key = newest.find_map(|(key, item)| {
            let is_event = matches!(item, HeldItem::Event(_));
            is_event.then_some(*key)
        })?;
        let item = self.items.remove(&key)?;
        self.forget_size(&item);
        match item {
            HeldItem::Event(event) => Some(*event),
            HeldItem::Gaps(_) => None,
        }
    }

    /// The events, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = &HeldEvent> {
        self.items.values().filter_map(|item| match item {
            HeldItem::Event(event) => Some(&**event),
            HeldItem::Gaps(_) => None,
        })
    }

    /// The same, to change them.
    pub(super) fn events_mut(&mut self) -> impl Iterator<Item = &mut HeldEvent> {
        self.items.values_mut().filter_map(|item| match item {
            HeldItem::Event(event) => Some(&mut **event),
            HeldItem::Gaps(_) => None,
        })
    }

    /// The number of the entry before the first event of a log that arrived, of those after a number.
    pub(super) fn before_first(&self, name: &LogName, after: u64) -> Option<u64> {
        let newer = self.events().filter(|event| event.position.n > after);
        let mut arrived = newer.filter_map(|event| event.arrived.as_ref());
        arrived.find_map(|logs| {
            let (_, prev) = logs.iter().find(|(held, _)| held == name)?;
            Some(*prev)
        })
    }

    fn forget_size(&mut self, item: &HeldItem) {
        if let HeldItem::Event(event) = item {
            self.bytes -= event.size();
            self.events -= 1;
        }
    }
}
