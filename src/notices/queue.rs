//! Notices that wait for their receiver, in order and within a limit of bytes. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;

use crate::config::NoticesConfig;

/// Bytes that a notice occupies besides its JSON.
const OVERHEAD: usize = 64;

/// An encoded notice.
#[derive(Debug)]
pub(super) struct QueuedNotice {
    pub(super) json: Box<RawValue>,
    pub(super) happened: SystemTime,
    pub(super) queued: Instant,
}

impl QueuedNotice {
    fn cost(&self) -> usize {
        self.json.get().len() + OVERHEAD
    }
}

/// When a batch is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    count: usize,
    size: usize,
    age: Duration,
}

impl BatchLimits {
    pub(super) fn of(config: &NoticesConfig) -> Self {
        Self {
            count: config.batch,
            size: config.batch_size,
            age: config.batch_age,
        }
    }
}

/// A first-in, first-out queue. It counts the notices taken for delivery until they are [`released`](Self::release).
#[derive(Debug)]
pub(super) struct NoticeQueue {
    limit: usize,
    batch: BatchLimits,
    notices: VecDeque<QueuedNotice>,
    /// Bytes of `notices`.
    waiting: usize,
    /// Bytes and number of notices that are being delivered.
    taken: (usize, usize),
}

impl NoticeQueue {
    pub(super) fn new(limit: usize, batch: BatchLimits) -> Self {
        Self {
            limit,
            batch,
            notices: VecDeque::new(),
            waiting: 0,
            taken: (0, 0),
        }
    }

    pub(super) fn push(&mut self, notice: QueuedNotice) {
        self.waiting += notice.cost();
        self.notices.push_back(notice);
    }

    /// Bytes of all notices.
    pub(super) fn bytes(&self) -> usize {
        self.waiting + self.taken.0
    }

    /// Number of all notices.
    pub(super) fn len(&self) -> usize {
        self.notices.len() + self.taken.1
    }

    /// Whether more than the limit waits, so that the oldest must go. What is being delivered stays.
    pub(super) fn exceeds_limit(&self) -> bool {
        self.bytes() > self.limit && !self.notices.is_empty()
    }

    /// When the next batch should be sent; at once if it is full.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.notices.front()?;
        let full = self.notices.len() >= self.batch.count || self.waiting >= self.batch.size;
        Some(if full {
            first.queued
        } else {
            first.queued + self.batch.age
        })
    }

    /// Takes the oldest notices, as many as fit into one request, at least one.
    pub(super) fn take(&mut self) -> Vec<QueuedNotice> {
        let mut batch = Vec::new();
        let mut size = 0;
        while let Some(notice) = self.notices.front() {
            size += notice.json.get().len() + 1;
            let fits =
                batch.is_empty() || (batch.len() < self.batch.count && size <= self.batch.size);
            if !fits {
                break;
            }
            self.waiting -= notice.cost();
            self.taken.0 += notice.cost();
            self.taken.1 += 1;
            batch.extend(self.notices.pop_front());
        }
        batch
    }

    /// A batch is delivered or given up.
    pub(super) fn release(&mut self, batch: &[QueuedNotice]) {
        self.taken.0 -= batch.iter().map(QueuedNotice::cost).sum::<usize>();
        self.taken.1 -= batch.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize, count: usize, size: usize) -> NoticeQueue {
        let age = Duration::from_millis(100);
        NoticeQueue::new(limit, BatchLimits { count, size, age })
    }

    fn notice(text: &str, queued: Instant) -> QueuedNotice {
        QueuedNotice {
            json: RawValue::from_string(format!("{text:?}")).unwrap(),
            happened: SystemTime::UNIX_EPOCH,
            queued,
        }
    }

    fn texts(batch: &[QueuedNotice]) -> Vec<&str> {
        batch.iter().map(|notice| notice.json.get()).collect()
    }

    #[test]
    fn a_batch_is_due_by_age_by_count_and_by_size() {
        let now = crate::clock::now();
        let mut queue = queue(10_000, 3, 1000);
        assert_eq!(queue.due(), None);
        queue.push(notice("a", now));
        assert_eq!(queue.due(), Some(now + Duration::from_millis(100)));
        queue.push(notice("b", now));
        queue.push(notice("c", now));
        assert_eq!(queue.due(), Some(now));
        queue.push(notice("d", now));
        assert_eq!(texts(&queue.take()), [r#""a""#, r#""b""#, r#""c""#]);
        queue.push(notice(&"x".repeat(2000), now));
        assert_eq!(queue.due(), Some(now));
        assert_eq!(texts(&queue.take()), [r#""d""#]);
        assert_eq!(queue.take().len(), 1, "a large notice is sent alone");
    }

    #[test]
    fn bytes_count_until_they_are_released_and_the_limit_spares_what_is_on_its_way() {
        let now = crate::clock::now();
        let mut queue = queue(3 * (3 + OVERHEAD), 2, 1000);
        for text in ["a", "b", "c"] {
            queue.push(notice(text, now));
        }
        assert!(!queue.exceeds_limit());
        let sending = queue.take();
        assert_eq!((queue.len(), queue.bytes()), (3, 3 * (3 + OVERHEAD)));
        queue.push(notice("d", now));
        assert!(queue.exceeds_limit());
        let oldest = queue.take();
        assert_eq!(texts(&oldest), [r#""c""#, r#""d""#]);
        assert!(!queue.exceeds_limit(), "nothing is left to give up");
        queue.release(&oldest);
        queue.release(&sending);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
