//! A read of the events of a namespace from its stream.

use std::collections::HashSet;
use std::time::Duration;

use super::event_logs::EventPage;
use super::node_streams::{NodeStreams, StreamedEvent, entry_id};
use crate::history::{LogPage, Logged, LoggedEvent};
use crate::model::{Emit, Epoch, Namespace, Position};
use crate::store::{SharedEntry, Store, StoreError};

/// Number of entries after which a read ends, so that it does not delay the reads of other sessions, and stays within the
/// time limit of an operation on a slow machine.
const ENTRIES: usize = 1_000;
/// How long before its repetition an entry was added, at most: the time after which a node drops a queued event.
const REPEATED_WITHIN: Duration = Duration::from_secs(30);

/// The number of an entry; 0, which no entry has, if its id does not fit into a position.
fn number_of(entry: &SharedEntry) -> u64 {
    Position::of_entry(entry.id.as_bytes()).map_or(0, |position| position.n)
}

/// A process of a node, and the number that it gave an entry.
type EntryKey = (u64, u64);

/// A read of the events between two numbers.
pub(super) struct StreamRead<'a> {
    store: &'a dyn Store,
    streams: &'a NodeStreams,
    namespace: &'a Namespace,
    stream: String,
    /// The number after which no event is missing in `found`.
    after: u64,
    /// The number at which the read ends.
    until: u64,
    /// The number of the last entry that was read.
    last: u64,
    /// Number of entries that were read.
    entries: usize,
    found: Vec<(u64, Emit)>,
    /// The entries of nodes that were read.
    keys: HashSet<EntryKey>,
    /// Those that may have been added before `after` too, with their numbers in the stream.
    unsure: Vec<(EntryKey, u64)>,
    trimmed: bool,
}

impl<'a> StreamRead<'a> {
    /// A read of the events after one number and up to another one.
    pub(super) fn new(
        store: &'a dyn Store,
        streams: &'a NodeStreams,
        namespace: &'a Namespace,
        (after, until): (u64, u64),
    ) -> Self {
        Self {
            store,
            streams,
            namespace,
            stream: (streams.stream_of)(namespace),
            after,
            until,
            last: after,
            entries: 0,
            found: Vec::new(),
            keys: HashSet::new(),
            unsure: Vec::new(),
            trimmed: false,
        }
    }

    /// Reads at most `limit` events.
    pub(super) async fn page(mut self, limit: usize) -> Result<EventPage, StoreError> {
        let (end, most) = (entry_id(self.until), ENTRIES.min(self.streams.max_entries));
        let begin = self.after;
        while self.last < self.until && self.found.len() < limit && self.entries <= most {
            let (entries, is_end) = self.read(self.last, &end).await?;
            self.add(&entries, limit);
            if is_end && self.found.len() < limit {
                self.last = self.until;
            }
        }
        if !self.unsure.is_empty() {
            self.remove_repeated(begin).await?;
        }
        Ok(self.into_page())
    }

    /// The entries from one number on, and whether these are all up to the end.
    async fn read(&self, from: u64, end: &str) -> Result<(Vec<SharedEntry>, bool), StoreError> {
        let count = self.streams.read_count + 1;
        let read = self
            .store
            .stream_read(&self.stream, &entry_id(from), end, count);
        let entries = read.await?;
        let is_end = entries.len() < count;
        Ok((entries, is_end))
    }

    /// Adds the events of entries that were read from the last known one on. If that one does not exist any more,
    /// entries after it may have been removed too, so the events found before are discarded and the log counts as
    /// trimmed.
    fn add(&mut self, entries: &[SharedEntry], limit: usize) {
        let mut entries = entries.iter();
        let first = entries.as_slice().first().map_or(0, number_of);
        if first == self.last {
            let known = entries.next();
            known.and_then(|known| self.event(known, first));
        } else {
            self.trimmed = true;
            self.found.clear();
            self.after = first.saturating_sub(1);
        }
        for entry in entries {
            let n = number_of(entry);
            self.last = self.last.max(n);
            self.entries += 1;
            if let Some(emit) = self.event(entry, n) {
                self.found.push((n, emit));
                if self.found.len() == limit {
                    return;
                }
            }
        }
    }

    /// The event of an entry, unless the entry was read before.
    fn event(&mut self, entry: &SharedEntry, n: u64) -> Option<Emit> {
        let StreamedEvent {
            emit,
            number,
            may_be_repeated,
        } = (self.streams.decode)(&self.stream, entry, self.namespace)?;
        if let Some(key) = number {
            if !self.keys.insert(key) {
                return None;
            }
            if may_be_repeated {
                self.unsure.push((key, n));
            }
        }
        Some(emit)
    }

    /// Removes the events of entries that were also added before the number at which the read began.
    async fn remove_repeated(&mut self, begin: u64) -> Result<(), StoreError> {
        let mut earlier = HashSet::new();
        let mut from = Position::number_before(begin, REPEATED_WITHIN);
        let mut read = 0;
        while from <= begin && read < self.streams.max_entries {
            let (entries, is_end) = self.read(from, &entry_id(begin)).await?;
            for entry in &entries {
                let event = (self.streams.decode)(&self.stream, entry, self.namespace);
                earlier.extend(event.and_then(|event| event.number));
                from = number_of(entry) + 1;
            }
            read += entries.len();
            if is_end {
                break;
            }
        }
        self.entries += read;
        let repeated = self.unsure.iter().filter(|(key, _)| earlier.contains(key));
        let repeated: HashSet<u64> = repeated.map(|(_, n)| *n).collect();
        self.found.retain(|(n, _)| !repeated.contains(n));
        Ok(())
    }

    fn into_page(self) -> EventPage {
        let mut prev = self.after;
        let events = self.found.into_iter().map(|(n, emit)| {
            let prev = std::mem::replace(&mut prev, n);
            Logged { n, prev, emit }
        });
        let events: Vec<LoggedEvent> = events.collect();
        EventPage {
            page: LogPage {
                epoch: Some(Epoch::STREAM),
                events,
                trimmed: self.trimmed,
                tail: self.until,
            },
            until: self.last.min(self.until),
            entries: self.entries,
        }
    }
}
