//! Says something once in a burst, whoever says it, and how often it happened since.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After a line, more of the same is only counted for this long.
const PAUSE: Duration = Duration::from_secs(10);

/// When something was last said, and what happened since. Meant as a `static` beside the line it is for.
#[derive(Debug, Default)]
pub struct Burst {
    start: OnceLock<Instant>,
    /// Milliseconds from `start` to the last line, and one.
    last: AtomicU64,
    unsaid: AtomicU64,
}

impl Burst {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self {
            start: OnceLock::new(),
            last: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// Notes that it happened. `Some` if it is time to say so: with how many others there were since the last line.
    pub fn note(&self) -> Option<u64> {
        self.note_at(crate::clock::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let start = self.start.get_or_init(|| now);
        let passed = now.saturating_duration_since(*start).as_millis() as u64 + 1;
        let last = self.last.load(Ordering::Relaxed);
        let is_due = last == 0 || passed.saturating_sub(last) >= PAUSE.as_millis() as u64;
        // Of several threads at once, one says it.
        let says = is_due
            && self
                .last
                .compare_exchange(last, passed, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if says {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_line_and_a_number() {
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
        for (after, said) in cases {
            let now = start + Duration::from_millis(after);
            assert_eq!(burst.note_at(now), said, "{after}");
        }
    }
}
