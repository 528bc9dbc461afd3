//! Says something once in a burst, whoever says it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A burst lasts until nothing was said for this long.
const PAUSE: Duration = Duration::from_secs(10);

/// When the same thing was last said.
#[derive(Debug, Default)]
pub struct Burst {
    start: OnceLock<Instant>,
    /// Milliseconds from `start` to the last time, and one.
    last: AtomicU64,
}

impl Burst {
    /// Whether it is time to say it again; then it counts as said.
    pub fn is_due(&self, now: Instant) -> bool {
        let start = self.start.get_or_init(|| now);
        let passed = now.saturating_duration_since(*start).as_millis() as u64 + 1;
        let last = self.last.load(Ordering::Relaxed);
        let due = last == 0 || passed.saturating_sub(last) >= PAUSE.as_millis() as u64;
        // Of several threads at once, one says it.
        due && self
            .last
            .compare_exchange(last, passed, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_ten_seconds() {
        let burst = Burst::default();
        let start = Instant::now();
        let cases = [
            (0, true),
            (0, false),
            (9_999, false),
            (10_000, true),
            (10_001, false),
        ];
        for (after, due) in cases {
            let now = start + Duration::from_millis(after);
            assert_eq!(burst.is_due(now), due, "{after}");
        }
    }
}
