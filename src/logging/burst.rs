//! Rate limit for log lines: the first event of a burst is logged, the others are counted for the next line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time after a line in which further events are only counted.
const PAUSE: Duration = Duration::from_secs(10);

/// The time of the last line, and the number of events since then. Shared by all threads, usually as a `static` beside
/// its log line.
#[derive(Debug, Default)]
pub struct Burst {
    start: OnceLock<Instant>,
    /// Milliseconds from `start` to the last line, plus one; 0 = no line yet.
    last: AtomicU64,
    unreported: AtomicU64,
}

impl Burst {
    /// No event yet.
    pub const fn new() -> Self {
        Self {
            start: OnceLock::new(),
            last: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
        }
    }

    /// Records an event. `Some` if a line is due, with the number of events since the last line that were not logged.
    pub fn note(&self) -> Option<u64> {
        self.note_at(crate::clock::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let start = self.start.get_or_init(|| now);
        let passed = now.saturating_duration_since(*start).as_millis() as u64 + 1;
        let last = self.last.load(Ordering::Relaxed);
        let is_due = last == 0 || passed.saturating_sub(last) >= PAUSE.as_millis() as u64;
        // Of several threads at the same time, one logs.
        let logs = is_due
            && self
                .last
                .compare_exchange(last, passed, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if logs {
            return Some(self.unreported.swap(0, Ordering::Relaxed));
        }
        self.unreported.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_logs_once_and_counts_the_rest() {
        let burst = Burst::new();
        let start = crate::clock::now();
        let cases = [
            (0, Some(0)),
            (0, None),
            (9_999, None),
            (10_000, Some(2)),
            (10_001, None),
            (30_000, Some(1)),
            (60_000, Some(0)),
        ];
        for (after, expected) in cases {
            let now = start + Duration::from_millis(after);
            assert_eq!(burst.note_at(now), expected, "{after}");
        }
    }
}
