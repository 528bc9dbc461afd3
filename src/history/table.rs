//! Logs in memory, as a value.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use super::{LogName, LogTarget, Logged, Page, Stamp, Tails};
use crate::model::{Epoch, Position};

/// Bytes that an entry occupies besides its event.
const ENTRY_OVERHEAD: usize = 64;
/// Bytes that a log occupies without entries.
const LOG_OVERHEAD: usize = 256;
/// Number of removed logs whose names are kept.
const REMOVED_NAMES: usize = 4096;
/// Number of logs below which expired ones are not looked for.
const FEWEST_TO_PRUNE: usize = 64;

/// The logs of a node or of a bus in memory. The time is passed in, as Unix time in microseconds.
#[derive(Debug)]
pub struct LogTable<T> {
    epoch: Epoch,
    /// The number of the newest entry of all logs.
    last: u64,
    logs: HashMap<LogName, Log<T>>,
    /// The number of the newest entry of each log that was removed.
    removed: HashMap<LogName, u64>,
    /// The same of all those whose names are not kept.
    forgotten: u64,
    bytes: usize,
    limit: usize,
    prune_at: usize,
}

#[derive(Debug)]
struct Log<T> {
    entries: VecDeque<Entry<T>>,
    /// The number of the newest entry, which may be removed.
    tail: u64,
    age: Duration,
}

#[derive(Debug)]
struct Entry<T> {
    logged: Logged<T>,
    bytes: usize,
}

impl<T: Clone> LogTable<T> {
    /// No logs yet; they will occupy at most `limit` bytes, or a single log.
    pub fn new(epoch: Epoch, limit: usize) -> Self {
        Self {
            epoch,
            last: 0,
            logs: HashMap::new(),
            removed: HashMap::new(),
            forgotten: 0,
            bytes: 0,
            limit,
            prune_at: FEWEST_TO_PRUNE,
        }
    }

    /// Appends an event of `size` bytes to each of the logs, and returns its position.
    pub fn append(&mut self, now: u64, targets: &[LogTarget], size: usize, emit: &T) -> Stamp {
        let n = now.max(self.last + 1);
        self.last = n;
        if self.logs.len() >= self.prune_at {
            self.prune(now);
        }
        let bytes = size + ENTRY_OVERHEAD;
        let mut prevs = smallvec::SmallVec::new();
        for target in targets {
            let log = self.logs.entry_ref(&target.name).or_insert_with(|| {
                self.bytes += LOG_OVERHEAD;
                Log {
                    entries: VecDeque::new(),
                    tail: self.removed.remove(&target.name).unwrap_or(0),
                    age: target.age,
                }
            });
            let prev = std::mem::replace(&mut log.tail, n);
            log.age = target.age;
            prevs.push((target.index, prev));
            let emit = emit.clone();
            let logged = Logged { n, prev, emit };
            log.entries.push_back(Entry { logged, bytes });
            self.bytes += bytes;
            self.bytes -= log.trim(target.length, oldest_kept(now, target.age));
        }
        while self.bytes > self.limit && self.logs.len() > 1 {
            self.remove_least_recent();
        }
        let position = Position {
            epoch: self.epoch,
            n,
        };
        Stamp { position, prevs }
    }

    /// See [`LogReader::read`](super::LogReader::read).
    pub fn read(&self, log: &LogName, after: u64, until: Option<u64>, limit: usize) -> Page<T> {
        let until = until.unwrap_or(u64::MAX);
        let Some(found) = self.logs.get(log) else {
            let tail = self.removed_tail(log);
            return self.page(
                Vec::new(),
                tail > after && (after > 0 || tail > self.forgotten),
                tail,
            );
        };
        let entries = found.entries.iter().map(|entry| &entry.logged);
        let first_kept = entries.clone().next();
        let trimmed = match first_kept {
            // A log whose name was forgotten begins anew without an entry before.
            Some(Logged { prev: 0, .. }) => after > 0 && after < self.forgotten,
            Some(first) => first.prev > after && after < until,
            None => found.tail > after,
        };
        let start = found
            .entries
            .partition_point(|entry| entry.logged.n <= after);
        let events = entries.skip(start).take_while(|logged| logged.n <= until);
        self.page(events.take(limit).cloned().collect(), trimmed, found.tail)
    }

    /// See [`LogReader::read_back`](super::LogReader::read_back).
    pub fn read_back(&self, log: &LogName, before: Option<u64>, limit: usize) -> Page<T> {
        let Some(found) = self.logs.get(log) else {
            return self.page(Vec::new(), false, 0);
        };
        let before = before.unwrap_or(u64::MAX);
        let end = found
            .entries
            .partition_point(|entry| entry.logged.n < before);
        let entries = found.entries.range(..end).rev().take(limit);
        let events: Vec<_> = entries.map(|entry| entry.logged.clone()).collect();
        let trimmed = match events.last() {
            Some(oldest) => events.len() < limit && oldest.prev > 0,
            // Nothing is kept that is older.
            None => found
                .entries
                .front()
                .is_none_or(|first| first.logged.prev > 0),
        };
        self.page(events, trimmed, found.tail)
    }

    /// See [`LogReader::tails`](super::LogReader::tails).
    pub fn tails(&self, logs: &[LogName]) -> Tails {
        let tails = logs.iter().map(|name| match self.logs.get(name) {
            Some(log) => log.tail,
            None => self.removed_tail(name),
        });
        Tails {
            epoch: self.known_epoch(),
            tails: tails.collect(),
        }
    }

    /// See [`LogReader::size`](super::LogReader::size).
    pub fn size(&self, logs: &[LogName]) -> u64 {
        let found = logs.iter().filter_map(|log| self.logs.get(log));
        let sizes = found.map(|log| {
            let entries: usize = log.entries.iter().map(|entry| entry.bytes).sum();
            (LOG_OVERHEAD + entries) as u64
        });
        sizes.sum()
    }

    /// Bytes that all logs occupy.
    pub fn total_size(&self) -> usize {
        self.bytes
    }

    fn page(&self, events: Vec<Logged<T>>, trimmed: bool, tail: u64) -> Page<T> {
        Page {
            epoch: self.known_epoch(),
            events,
            trimmed,
            tail,
        }
    }

    /// The number of the newest entry that a log without entries may have had.
    fn removed_tail(&self, log: &LogName) -> u64 {
        self.removed.get(log).copied().unwrap_or(self.forgotten)
    }

    fn known_epoch(&self) -> Option<Epoch> {
        (self.last > 0).then_some(self.epoch)
    }

    /// Removes the entries above the number `last`, as if they had never been appended.
    pub fn remove_after(&mut self, last: u64) {
        self.last = self.last.min(last);
        self.removed.retain(|_, tail| *tail <= last);
        let mut freed = 0;
        self.logs.retain(|_, log| {
            freed += log.remove_after(last);
            let remains = log.tail > 0;
            freed += if remains { 0 } else { LOG_OVERHEAD };
            remains
        });
        self.bytes -= freed;
    }

    /// Removes the logs of which every entry has expired.
    fn prune(&mut self, now: u64) {
        let expired = |log: &Log<T>| log.tail < oldest_kept(now, log.age);
        let names: Vec<LogName> = self
            .logs
            .iter()
            .filter(|(_, log)| expired(log))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.remove(&name);
        }
        self.prune_at = (2 * self.logs.len()).max(FEWEST_TO_PRUNE);
    }

    fn remove_least_recent(&mut self) {
        let least = self.logs.iter().min_by_key(|(_, log)| log.tail);
        if let Some(name) = least.map(|(name, _)| name.clone()) {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &LogName) {
        if let Some(log) = self.logs.remove(name) {
            let entries: usize = log.entries.iter().map(|entry| entry.bytes).sum();
            self.bytes -= LOG_OVERHEAD + entries;
            self.removed.insert(name.clone(), log.tail);
            if self.removed.len() > REMOVED_NAMES {
                self.forget_oldest();
            }
        }
    }

    /// Forgets the names of the half of the removed logs whose entries are the oldest.
    fn forget_oldest(&mut self) {
        let mut tails: Vec<u64> = self.removed.values().copied().collect();
        let (_, middle, _) = tails.select_nth_unstable(REMOVED_NAMES / 2);
        let middle = *middle;
        self.removed.retain(|_, tail| *tail > middle);
        self.forgotten = self.forgotten.max(middle);
    }
}

impl<T> Log<T> {
    /// Removes the oldest entries above `length` and those before the number `oldest`; returns the bytes they occupied.
    fn trim(&mut self, length: u32, oldest: u64) -> usize {
        let mut freed = 0;
        while let Some(first) = self.entries.front() {
            if self.entries.len() <= length as usize && first.logged.n >= oldest {
                break;
            }
            freed += first.bytes;
            self.entries.pop_front();
        }
        freed
    }

    /// Removes the entries above the number `last`; returns the bytes they occupied.
    fn remove_after(&mut self, last: u64) -> usize {
        let mut freed = 0;
        while let Some(newest) = self.entries.pop_back_if(|entry| entry.logged.n > last) {
            freed += newest.bytes;
            self.tail = newest.logged.prev;
        }
        freed
    }
}

/// The number of the oldest entry that has not expired.
fn oldest_kept(now: u64, age: Duration) -> u64 {
    now.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, Room};

    fn target(room: &str, length: u32, age: u64) -> LogTarget {
        LogTarget {
            index: 0,
            name: name(room),
            length,
            age: Duration::from_micros(age),
        }
    }

    fn name(room: &str) -> LogName {
        LogName::of_room(Namespace::main(), Room::from(room))
    }

    fn table(limit: usize) -> LogTable<u32> {
        LogTable::new(Epoch::random(&OsRandom), limit)
    }

    fn numbers(page: &Page<u32>) -> Vec<(u64, u64, u32)> {
        page.events
            .iter()
            .map(|it| (it.n, it.prev, it.emit))
            .collect()
    }

    #[test]
    fn numbers_are_the_time_and_increase_over_all_logs() {
        let mut table = table(10_000);
        let both = [target("a", 10, 1000), target("b", 10, 1000)];
        assert_eq!(table.append(100, &both[..1], 0, &1).position.n, 100);
        assert_eq!(table.append(100, &both[1..], 0, &2).position.n, 101);
        // The clock went back.
        let stamp = table.append(50, &both, 0, &3);
        assert_eq!(stamp.position.n, 102);
        let prevs: Vec<u64> = stamp.prevs.iter().map(|(_, prev)| *prev).collect();
        assert_eq!(prevs, [100, 101]);
        let page = table.read(&name("a"), 0, None, 10);
        assert_eq!(numbers(&page), [(100, 0, 1), (102, 100, 3)]);
        assert_eq!((page.trimmed, page.tail), (false, 102));
        let tails = table.tails(&[name("a"), name("b"), name("c")]);
        assert_eq!(tails.tails, [102, 102, 0]);
    }

    #[test]
    fn a_page_ends_at_its_limit_and_at_until() {
        let mut table = table(10_000);
        for n in 1..=9 {
            table.append(n * 10, &[target("a", 100, 1000)], 0, &0);
        }
        let n = |page: Page<u32>| page.events.iter().map(|it| it.n).collect::<Vec<_>>();
        assert_eq!(n(table.read(&name("a"), 30, None, 2)), [40, 50]);
        assert_eq!(n(table.read(&name("a"), 35, Some(60), 10)), [40, 50, 60]);
        assert_eq!(n(table.read_back(&name("a"), None, 2)), [90, 80]);
        assert_eq!(n(table.read_back(&name("a"), Some(30), 5)), [20, 10]);
        let end = table.read_back(&name("a"), Some(30), 5);
        assert!(!end.trimmed, "nothing was removed");
        assert!(!table.read_back(&name("a"), Some(10), 5).trimmed);
    }

    #[test]
    fn a_page_names_what_was_trimmed_by_length_or_age() {
        let mut table = table(10_000);
        for n in 1..=5 {
            table.append(n * 10, &[target("a", 3, 1000)], 0, &0);
        }
        assert!(table.read(&name("a"), 0, None, 10).trimmed);
        assert!(table.read(&name("a"), 10, None, 10).trimmed);
        assert!(!table.read(&name("a"), 20, None, 10).trimmed);
        assert!(table.read_back(&name("a"), None, 10).trimmed);
        assert!(!table.read_back(&name("a"), None, 3).trimmed);
        assert!(table.read_back(&name("a"), Some(30), 3).trimmed);
        table.append(1045, &[target("a", 3, 1000)], 0, &0);
        let page = table.read(&name("a"), 30, None, 10);
        assert_eq!((numbers(&page).len(), page.trimmed), (2, true));
    }

    #[test]
    fn entries_that_a_replica_lacks_are_as_if_they_had_never_been() {
        let mut table = table(10_000);
        let [a, b] = ["a", "b"].map(|room| [target(room, 10, 1000)]);
        for (n, log) in [(10, &a), (20, &a), (30, &b), (40, &a)] {
            table.append(n, log, 7, &0);
        }
        table.remove_after(20);
        let tails = table.tails(&[name("a"), name("b")]);
        assert_eq!(tails.tails, [20, 0]);
        assert_eq!(table.bytes, LOG_OVERHEAD + 2 * (7 + ENTRY_OVERHEAD));
        let stamp = table.append(40, &a, 0, &1);
        assert_eq!((stamp.position.n, stamp.prevs[0].1), (40, 20));
        let page = table.read(&name("a"), 20, None, 10);
        assert_eq!((numbers(&page), page.trimmed), (vec![(40, 20, 1)], false));
        table.remove_after(0);
        assert_eq!((table.bytes, table.tails(&[]).epoch), (0, None));
    }

    #[test]
    fn logs_that_expired_and_the_least_recent_above_the_limit_are_removed() {
        let mut table = table(64 * 1024);
        for n in 1..=1000 {
            table.append(n, &[target(&n.to_string(), 3, 100_000)], 0, &0);
        }
        assert!(table.bytes <= 64 * 1024 && table.logs.len() < 210);
        let lost = table.read(&name("1"), 0, None, 10);
        assert!(lost.trimmed, "its log was removed");
        let received = table.read(&name("1"), 1, None, 10);
        assert!(!received.trimmed, "it had no other entry");
        let never = table.read(&name("never"), 0, None, 10);
        assert!(!never.trimmed);
        let never = table.read(&name("never"), 1, None, 10);
        assert!(!never.trimmed, "its name shows that it was not removed");
        assert_eq!(table.tails(&[name("1"), name("never")]).tails, [1, 0]);
        let next = table.append(2000, &[target("1", 3, 100_000)], 0, &0);
        assert_eq!(next.prevs[0].1, 1, "the entry before was removed");
        assert!(table.read(&name("1"), 0, None, 10).trimmed);
        assert!(!table.read(&name("1"), 1, None, 10).trimmed);
        let mut many = LogTable::new(Epoch::random(&OsRandom), 0);
        for n in 1..=6000 {
            many.append(n, &[target(&n.to_string(), 3, 100_000)], 0, &0);
        }
        assert!(many.removed.len() <= REMOVED_NAMES && many.forgotten > 1000);
        assert!(many.read(&name("1"), 1, None, 10).trimmed);
        assert!(many.read(&name("5999"), 5998, None, 10).trimmed);
        assert_eq!(many.tails(&[name("1")]).tails, [many.forgotten]);
        let mut expiring = LogTable::new(Epoch::random(&OsRandom), 1 << 20);
        for n in 1..=1000 {
            expiring.append(n * 10, &[target("a", 3, 10)], 0, &0);
            expiring.append(n * 10, &[target(&n.to_string(), 3, 10)], 0, &0);
        }
        let entries = expiring.logs.values().flat_map(|log| &log.entries);
        let bytes: usize = entries.map(|entry| entry.bytes).sum();
        assert_eq!(expiring.bytes, bytes + LOG_OVERHEAD * expiring.logs.len());
        assert!(expiring.logs.len() <= 128, "{}", expiring.logs.len());
    }
}
