//! Parts of logs that sessions read recently, as a value.
//!
//! A log only grows at its end, and its entries have increasing numbers. So what it holds between two numbers is known for
//! good once it has been read after the second one was assigned: a part never becomes outdated, it only becomes useless.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::event_logs::EventPage;
use crate::history::{LogName, LogPage, LoggedEvent};
use crate::model::Epoch;

/// Bytes that an event occupies besides its payload and the names of its rooms.
const EVENT_OVERHEAD: usize = 256;
/// Bytes that the part of a log occupies without events.
const SEGMENT_OVERHEAD: usize = 512;
/// How long a part is kept after its last use.
const KEPT: Duration = Duration::from_secs(5);

/// Parts of logs, which occupy a limited number of bytes together.
#[derive(Debug)]
pub(super) struct Segments {
    epoch: Option<Epoch>,
    logs: HashMap<LogName, LogSegment>,
    bytes: usize,
    limit: usize,
}

/// The entries of a log after the number `lower` and up to the number `upper`.
#[derive(Debug)]
struct LogSegment {
    lower: u64,
    upper: u64,
    events: VecDeque<LoggedEvent>,
    /// Whether the entries up to `lower` were removed from the log.
    is_trimmed: bool,
    /// The newest entry of the log, as far as it is known.
    tail: u64,
    bytes: usize,
    used: Instant,
}

/// A range of a log: after the first number, up to the second one.
pub(super) type LogRange = (u64, u64);

impl Segments {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            epoch: None,
            logs: HashMap::new(),
            bytes: 0,
            limit,
        }
    }

    /// The bytes that the parts occupy.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The logs have this epoch: parts of another one have no meaning any more.
    pub(super) fn set_epoch(&mut self, epoch: Option<Epoch>) {
        if self.epoch != epoch {
            self.logs.clear();
            self.bytes = 0;
            self.epoch = epoch;
        }
    }

    /// The page that a read of this range returns; `None` if that is not known.
    pub(super) fn page(
        &mut self,
        log: &LogName,
        (after, until): LogRange,
        limit: usize,
        now: Instant,
    ) -> Option<EventPage> {
        let segment = self.logs.get_mut(log)?;
        let trimmed = segment.is_trimmed && after < segment.lower;
        if after < segment.lower && !trimmed || until < segment.lower {
            return None;
        }
        let start = segment.events.partition_point(|event| event.n <= after);
        let events = segment.events.range(start..);
        let events = events.take_while(|event| event.n <= until).take(limit);
        let events: Vec<LoggedEvent> = events.cloned().collect();
        if events.len() < limit && until > segment.upper {
            return None;
        }
        segment.used = now;
        let page = LogPage {
            epoch: self.epoch,
            events,
            trimmed,
            tail: segment.tail,
        };
        Some(EventPage::new(page, until, limit))
    }

    /// The range to read next, if [`Self::page`] returns nothing for this one.
    pub(super) fn missing(&self, log: &LogName, (after, until): LogRange) -> LogRange {
        match self.logs.get(log) {
            Some(segment) if after < segment.lower && !segment.is_trimmed => {
                (after, until.min(segment.lower))
            }
            Some(segment) if after <= segment.upper => (after.max(segment.upper), until),
            _ => (after, until),
        }
    }

    /// Keeps what a read after a number returned. Every number up to the end of the page was assigned before it.
    pub(super) fn keep(&mut self, log: &LogName, after: u64, read: &EventPage, now: Instant) {
        let EventPage {
            page, until: upper, ..
        } = read;
        let upper = *upper;
        if page.epoch.is_none() || page.epoch != self.epoch {
            return;
        }
        let before_first = page.events.first().map_or(0, |event| event.prev);
        if let Some(segment) = self.logs.get_mut(log) {
            if let Some(added) = segment.extend((after, upper), page, now) {
                self.bytes += added;
                return self.shrink(now);
            }
            if upper <= segment.upper {
                return;
            }
        }
        if page.trimmed && before_first == 0 {
            return;
        }
        let lower = if before_first > 0 {
            before_first
        } else {
            after
        };
        let mut segment = LogSegment {
            lower,
            upper,
            events: VecDeque::new(),
            is_trimmed: page.trimmed,
            tail: page.tail,
            bytes: SEGMENT_OVERHEAD,
            used: now,
        };
        segment.append(&page.events, upper, now);
        self.bytes += segment.bytes;
        if let Some(former) = self.logs.insert(log.clone(), segment) {
            self.bytes -= former.bytes;
        }
        self.shrink(now);
    }

    /// Removes the parts that were not used for a while.
    pub(super) fn expire(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.logs.retain(|_, segment| {
            let is_kept = now.saturating_duration_since(segment.used) < KEPT;
            if !is_kept {
                *bytes -= segment.bytes;
            }
            is_kept
        });
    }

    /// Removes the parts that were not used for the longest time until the limit is kept.
    fn shrink(&mut self, now: Instant) {
        if self.bytes > self.limit {
            self.expire(now);
        }
        while self.bytes > self.limit {
            let oldest = self.logs.iter().min_by_key(|(_, segment)| segment.used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            if let Some(removed) = self.logs.remove(&name) {
                self.bytes -= removed.bytes;
            }
        }
    }
}

impl LogSegment {
    /// Adds a page that was read from the range between two numbers, if it joins this part; returns the bytes that it
    /// occupies.
    fn extend(&mut self, (after, upper): LogRange, page: &LogPage, now: Instant) -> Option<usize> {
        let first = page.events.first();
        let before_first = first.map_or(0, |event| event.prev);
        let joins_start = upper == self.lower && after < self.lower;
        if joins_start && page.trimmed && first.is_none() {
            // Everything older than the part was removed, if its first entry shows which one was before.
            let starts_with_entry = self.events.front().map(|event| event.prev);
            self.is_trimmed = starts_with_entry == Some(self.lower);
            return Some(0);
        }
        if joins_start && (!page.trimmed || before_first > 0) {
            self.is_trimmed = page.trimmed;
            return Some(self.prepend(&page.events, after.max(before_first), now));
        }
        if after == self.upper && !page.trimmed {
            self.tail = self.tail.max(page.tail);
            return Some(self.append(&page.events, upper, now));
        }
        None
    }

    /// Adds the entries that follow; returns the bytes that they occupy.
    fn append(&mut self, events: &[LoggedEvent], upper: u64, now: Instant) -> usize {
        self.events.extend(events.iter().cloned());
        self.upper = upper;
        self.grow(events, now)
    }

    /// Adds the entries before it; returns the bytes that they occupy.
    fn prepend(&mut self, events: &[LoggedEvent], lower: u64, now: Instant) -> usize {
        for event in events.iter().rev() {
            self.events.push_front(event.clone());
        }
        self.lower = lower;
        self.grow(events, now)
    }

    fn grow(&mut self, events: &[LoggedEvent], now: Instant) -> usize {
        let added = events.iter().map(size).sum();
        self.bytes += added;
        self.used = now;
        added
    }
}

fn size(event: &LoggedEvent) -> usize {
    let to = &event.emit.to;
    let names = to.rooms.iter().chain(&to.except);
    EVENT_OVERHEAD + event.emit.payload.size() + names.map(|room| room.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::{LogTable, LogTarget};
    use crate::model::random::OsRandom;
    use crate::model::{Emit, Namespace, Payload, Room, Selector};

    const PAGE: usize = 3;

    fn log() -> LogName {
        LogName::of_room(Namespace::main(), Room::from("a"))
    }

    fn emit(n: u64) -> Emit {
        Emit {
            to: Selector::room(Namespace::main(), Room::from("a")),
            payload: Payload::event("n", [n.to_string().as_str()]),
            volatile: false,
            ack: None,
            conflate: None,
        }
    }

    /// A log of a few entries at most, and one more log that takes numbers between.
    struct Logs {
        table: LogTable<Emit>,
        last: u64,
        segments: Segments,
        reads: usize,
    }

    impl Logs {
        fn new(limit: usize) -> Self {
            Self {
                table: LogTable::new(Epoch::random(&OsRandom), 1 << 20),
                last: 0,
                segments: Segments::new(limit),
                reads: 0,
            }
        }

        fn append(&mut self, room: &str) {
            let target = LogTarget {
                index: 0,
                name: LogName::of_room(Namespace::main(), Room::from(room)),
                length: 8,
                age: Duration::from_secs(100),
            };
            let stamp = self.table.append(0, &[target], 1, &emit(self.last));
            self.last = stamp.position.n;
        }

        fn read_table(&self, range: LogRange) -> EventPage {
            let page = self.table.read(&log(), range.0, Some(range.1), PAGE);
            EventPage::new(page, range.1, PAGE)
        }

        /// A page as [`super::super::shared_logs`] reads it.
        fn read(&mut self, range: LogRange) -> LogPage {
            let now = crate::clock::now();
            let tails = self.table.tails(&[log()]);
            self.segments.set_epoch(tails.epoch);
            for _ in 0..3 {
                if let Some(read) = self.segments.page(&log(), range, PAGE, now) {
                    return read.page;
                }
                let missing = self.segments.missing(&log(), range);
                self.reads += 1;
                let read = self.read_table(missing);
                self.segments.keep(&log(), missing.0, &read, now);
            }
            self.read_table(range).page
        }
    }

    #[test]
    fn readers_with_several_positions_read_a_log_once() {
        let mut logs = Logs::new(1 << 20);
        for room in ["a", "b", "a", "b", "b", "a", "b"] {
            logs.append(room);
        }
        let numbers = |page: LogPage| page.events.iter().map(|it| it.n).collect::<Vec<_>>();
        assert_eq!(numbers(logs.read((2, 7))), [3, 6]);
        assert_eq!(logs.reads, 1);
        for (after, expected) in [
            (1, &[3, 6][..]),
            (2, &[3, 6]),
            (3, &[6]),
            (5, &[6]),
            (6, &[]),
        ] {
            assert_eq!(numbers(logs.read((after, 7))), expected);
        }
        assert_eq!(logs.reads, 1, "nothing is between 1 and 3");
        assert_eq!(numbers(logs.read((0, 7))), [1, 3, 6]);
        logs.append("a");
        assert_eq!(numbers(logs.read((3, 8))), [6, 8]);
        assert_eq!(logs.reads, 3, "what is before and after was read too");
        assert!(logs.segments.bytes() > SEGMENT_OVERHEAD + 4 * EVENT_OVERHEAD);
    }

    #[test]
    fn parts_are_removed_when_they_are_not_used_or_exceed_the_limit_or_belong_to_a_lost_log() {
        let mut logs = Logs::new(SEGMENT_OVERHEAD + 3 * (EVENT_OVERHEAD + 20));
        for _ in 0..3 {
            logs.append("a");
        }
        logs.read((0, 3));
        assert!(logs.segments.bytes() > 0);
        logs.segments.expire(crate::clock::now());
        assert!(logs.segments.bytes() > 0);
        logs.segments.expire(crate::clock::now() + KEPT);
        assert_eq!((logs.segments.bytes(), logs.segments.logs.len()), (0, 0));
        logs.read((0, 3));
        logs.append("a");
        logs.read((3, 4));
        let one = SEGMENT_OVERHEAD + size(&logs.read((3, 4)).events[0]);
        assert_eq!(logs.segments.bytes(), one, "four do not fit");
        logs.segments.set_epoch(Some(Epoch::random(&OsRandom)));
        assert_eq!(logs.segments.bytes(), 0);
    }

    proptest! {
        /// What was removed from the log meanwhile may still be returned; nothing that it holds is missing.
        #[test]
        fn nothing_is_missing_that_a_read_of_the_log_returns(
            steps in proptest::collection::vec((0_u64..30, 0_u8..4), 1..60),
        ) {
            let (mut logs, mut appended) = (Logs::new(1 << 20), Vec::new());
            for (back, step) in steps {
                match step {
                    0 => {
                        logs.append("a");
                        appended.push(logs.last);
                    }
                    1 => logs.append("b"),
                    _ => {
                        let range = (logs.last.saturating_sub(back), logs.last);
                        let fresh = logs.table.read(&log(), range.0, Some(range.1), PAGE);
                        let page = logs.read(range);
                        let first = page.events.first();
                        let complete_after = match (page.trimmed, first) {
                            (false, _) => range.0,
                            (true, Some(first)) => first.prev,
                            (true, None) => range.1,
                        };
                        prop_assert!(!page.trimmed || fresh.trimmed);
                        let removed_up_to = fresh.events.first().map_or(range.1, |first| first.prev);
                        prop_assert!(complete_after <= removed_up_to.max(range.0));
                        let expected = appended.iter().copied();
                        let expected = expected.filter(|n| *n > complete_after && *n <= range.1);
                        let expected: Vec<u64> = expected.take(PAGE).collect();
                        let found: Vec<u64> = page.events.iter().map(|event| event.n).collect();
                        prop_assert_eq!(found, expected);
                    }
                }
            }
            let events: usize = logs.segments.logs.values().flat_map(|it| it.events.iter()).map(size).sum();
            let parts = logs.segments.logs.len() * SEGMENT_OVERHEAD;
            prop_assert_eq!(logs.segments.bytes(), events + parts);
        }
    }
}
