//! The publish queue of a link: bounded in bytes and, while the link is down, in age.
//!
//! Pure: the current time is passed in. Dropped messages are counted, so that the link can log them once per burst. The
//! oldest messages are dropped first, so the remaining ones are a contiguous suffix of what was published.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::link::Outgoing;
use crate::history::LogName;

/// Number of logs that are remembered because messages of them were dropped.
const REMEMBERED_LOGS: usize = 16 * 1024;

/// Limits of the queue while the link is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Total size of channel names and payloads, in bytes.
    pub bytes: usize,
    /// Messages older than this are dropped.
    pub age: Duration,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            bytes: 1024 * 1024,
            age: Duration::from_secs(10),
        }
    }
}

/// Messages dropped since [`Spool::take_dropped`] was last called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    pub messages: u64,
    pub bytes: u64,
}

/// A queue of items that hold one [`Outgoing`] each, oldest first.
#[derive(Debug)]
pub struct Spool<T> {
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    dropped: Dropped,
    dropped_logs: HashSet<LogName>,
}

#[derive(Debug)]
struct Entry<T> {
    since: Instant,
    cost: usize,
    item: T,
}

impl<T> Default for Spool<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            dropped: Dropped::default(),
            dropped_logs: HashSet::new(),
        }
    }
}

impl<T: AsRef<Outgoing>> Spool<T> {
    /// Appends, then drops the oldest messages until at most `limit` bytes are queued. A single message stays whatever
    /// its size. A message that shares its payload with the one before it does not count the payload again, and the two
    /// are dropped together.
    pub fn push(&mut self, item: T, limit: usize, now: Instant) {
        let cost = cost_behind(self.entries.back().map(|entry| &entry.item), &item);
        self.bytes += cost;
        self.entries.push_back(Entry {
            since: now,
            cost,
            item,
        });
        while self.bytes > limit && self.holds_several() {
            self.drop_oldest();
        }
    }

    /// Whether the queue holds more than one payload.
    fn holds_several(&self) -> bool {
        match (self.entries.front(), self.entries.back()) {
            (Some(first), Some(last)) => {
                self.entries.len() > 1 && !last.item.as_ref().shares_payload(first.item.as_ref())
            }
            _ => false,
        }
    }

    /// Returns a batch that was taken but not delivered to the front of the queue; its messages keep their age.
    pub fn restore(&mut self, batch: Vec<(Instant, T)>) {
        let costs: Vec<usize> = batch
            .iter()
            .enumerate()
            .map(|(index, (_, item))| {
                let before = index.checked_sub(1).map(|before| &batch[before].1);
                cost_behind(before, item)
            })
            .collect();
        for ((since, item), cost) in batch.into_iter().zip(costs).rev() {
            self.bytes += cost;
            self.entries.push_front(Entry { since, cost, item });
        }
    }

    /// Applies the limits of a link that is down: drops expired messages, then the oldest ones above the byte limit.
    pub fn trim(&mut self, limits: SpoolLimits, now: Instant) {
        while let Some(oldest) = self.entries.front() {
            let too_old = now.duration_since(oldest.since) >= limits.age;
            if !too_old && self.bytes <= limits.bytes {
                return;
            }
            self.drop_oldest();
        }
    }

    /// Keeps only the messages for which `keep` returns true; the others are not counted as dropped.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain_mut(|entry| {
            let kept = keep(&mut entry.item);
            if !kept {
                *bytes -= entry.cost;
            }
            kept
        });
    }

    /// Takes the oldest messages with the time they were pushed: at most `bytes`, but at least one message and those
    /// that share its payload.
    pub fn take(&mut self, bytes: usize) -> Vec<(Instant, T)> {
        let mut batch: Vec<(Instant, T)> = Vec::new();
        let mut taken = 0;
        while let Some(entry) = self.entries.pop_front() {
            let shares =
                |(_, last): &(Instant, T)| entry.item.as_ref().shares_payload(last.as_ref());
            let is_apart = !batch.last().is_some_and(shares);
            if taken > 0 && taken + entry.cost > bytes && is_apart {
                self.entries.push_front(entry);
                break;
            }
            taken += entry.cost;
            self.bytes -= entry.cost;
            batch.push((entry.since, entry.item));
        }
        batch
    }

    /// Returns the messages dropped since the last call, `None` if there were none.
    pub fn take_dropped(&mut self) -> Option<Dropped> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped.messages > 0).then_some(dropped)
    }

    /// Returns the logs of which messages were dropped since the last call.
    pub fn take_dropped_logs(&mut self) -> Vec<LogName> {
        self.dropped_logs.drain().collect()
    }

    /// The time at which the oldest message reaches `age`.
    pub fn expiry(&self, age: Duration) -> Option<Instant> {
        self.entries.front().map(|oldest| oldest.since + age)
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Size of the queue in bytes, as counted by [`Outgoing::cost`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest message, with all entries that share its payload.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else {
            return;
        };
        self.dropped.messages += 1;
        self.count_dropped(&oldest);
        while let Some(next) = self.entries.pop_front() {
            if !next.item.as_ref().shares_payload(oldest.item.as_ref()) {
                self.entries.push_front(next);
                return;
            }
            self.count_dropped(&next);
        }
    }

    fn count_dropped(&mut self, entry: &Entry<T>) {
        self.bytes -= entry.cost;
        self.dropped.bytes += entry.cost as u64;
        if let Some(log) = &entry.item.as_ref().log
            && self.dropped_logs.len() < REMEMBERED_LOGS
        {
            let names = log.targets.iter().map(|target| target.name.clone());
            self.dropped_logs.extend(names);
        }
    }
}

/// The cost of an item queued directly behind `before`.
fn cost_behind<T: AsRef<Outgoing>>(before: Option<&T>, item: &T) -> usize {
    let item = item.as_ref();
    if before.is_some_and(|before| item.shares_payload(before.as_ref())) {
        item.own_cost()
    } else {
        item.cost()
    }
}

impl AsRef<Self> for Outgoing {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use std::sync::Arc;

    use smallvec::smallvec;

    use super::*;
    use crate::bus::link::{Channel, LogAppend};
    use crate::history::LogTarget;
    use crate::model::{Namespace, Room};

    fn message(number: u8) -> Outgoing {
        Outgoing {
            channel: Channel::from("c"),
            payload: Bytes::from(vec![number; 35]),
            volatile: number >= 200,
            translation: None,
            log: None,
        }
    }

    fn numbers(batch: Vec<(Instant, Outgoing)>) -> Vec<u8> {
        batch.iter().map(|(_, item)| item.payload[0]).collect()
    }

    #[test]
    fn push_drops_the_oldest_messages_above_the_byte_limit() {
        let now = Instant::now();
        let mut spool = Spool::default();
        for number in 0..5 {
            spool.push(message(number), 300, now);
        }
        assert_eq!(spool.bytes(), 300, "each message costs 100 bytes");
        let dropped = Dropped {
            messages: 2,
            bytes: 200,
        };
        assert_eq!(spool.take_dropped(), Some(dropped));
        assert_eq!(spool.take_dropped(), None);
        assert_eq!(numbers(spool.take(usize::MAX)), [2, 3, 4]);
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn logs_of_dropped_messages_are_remembered_once() {
        let now = Instant::now();
        let log = |room: &str| LogName::of_room(Namespace::main(), Room::from(room));
        let logged = |number: u8, room: &str| Outgoing {
            log: Some(Arc::new(LogAppend {
                targets: smallvec![LogTarget {
                    index: 0,
                    name: log(room),
                    length: 10,
                    age: Duration::from_secs(1),
                }],
                channels: Vec::new(),
                sender: 1,
                sequence: number.into(),
            })),
            ..message(number)
        };
        let mut spool = Spool::default();
        for (number, room) in (0..).zip(["a", "b", "a", "kept", "b"]) {
            spool.push(logged(number, room), 200, now);
        }
        let mut logs = spool.take_dropped_logs();
        logs.sort_by_key(LogName::key);
        assert_eq!(logs, [log("a"), log("b")]);
        assert_eq!(spool.take_dropped_logs(), []);
    }

    #[test]
    fn a_payload_shared_by_two_channels_counts_once_and_is_dropped_once() {
        let now = Instant::now();
        let mut spool = Spool::default();
        for number in 0..3 {
            let first = message(number);
            let second = Outgoing {
                channel: Channel::from("d"),
                ..first.clone()
            };
            spool.push(first, 330, now);
            spool.push(second, 330, now);
        }
        assert_eq!(spool.bytes(), 330, "35 bytes of payload, 65 per entry");
        let dropped = Dropped {
            messages: 1,
            bytes: 165,
        };
        assert_eq!(spool.take_dropped(), Some(dropped));
        let batch = spool.take(1);
        assert_eq!((batch.len(), spool.bytes()), (2, 165), "never split");
        spool.restore(batch);
        assert_eq!(spool.bytes(), 330);
        assert_eq!(numbers(spool.take(usize::MAX)), [1, 1, 2, 2]);
        assert_eq!(spool.bytes(), 0);
        let alone = message(9);
        spool.push(alone.clone(), 10, now);
        spool.push(alone, 10, now);
        assert_eq!(spool.take_dropped(), None, "a single message stays");
    }

    #[test]
    fn restored_messages_keep_their_age() {
        let start = Instant::now();
        let mut spool = Spool::default();
        spool.push(message(1), 1000, start);
        spool.push(message(2), 1000, start + Duration::from_secs(3));
        let batch = spool.take(1);
        assert_eq!(batch.len(), 1, "one message even above the limit");
        spool.restore(batch);
        let limits = SpoolLimits {
            bytes: 1000,
            age: Duration::from_secs(10),
        };
        assert_eq!(spool.expiry(limits.age), Some(start + limits.age));
        spool.trim(limits, start + Duration::from_secs(10));
        assert_eq!(numbers(spool.take(1000)), [2]);
        assert_eq!(
            spool.take_dropped().map(|dropped| dropped.messages),
            Some(1)
        );
    }

    #[test]
    fn retain_does_not_count_dropped_messages() {
        let now = Instant::now();
        let mut spool = Spool::default();
        for number in [1, 200, 3] {
            spool.push(message(number), 1000, now);
        }
        spool.retain(|item| !item.volatile);
        assert_eq!((spool.bytes(), spool.take_dropped()), (200, None));
        assert_eq!(numbers(spool.take(1000)), [1, 3]);
    }
}
