//! Estimates up to which entry of a stream all workers of a node have applied the events.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time after which the workers have certainly applied what the bridge has sent to them.
const APPLIED: Duration = Duration::from_secs(2);

/// The entries that a node has read.
#[derive(Debug, Default)]
pub(super) struct StreamProgress(Mutex<StreamReads>);

#[derive(Debug, Default)]
struct StreamReads {
    /// Number of the newest entry.
    read: u64,
    /// Number of the newest entry that was read before `noted`.
    before: u64,
    /// Number of the newest entry that was read at least `APPLIED` before `noted`.
    applied: u64,
    noted: Option<Instant>,
}

impl StreamProgress {
    /// Records that the entry with this number was read. A lower one than before begins a new stream: Redis has lost the
    /// other.
    pub(super) fn note(&self, n: u64, now: Instant) {
        let mut progress = self.progress();
        if n < progress.read {
            *progress = StreamReads::default();
        }
        if progress.noted.is_none_or(|noted| noted + APPLIED <= now) {
            progress.applied = progress.before;
            progress.before = progress.read;
            progress.noted = Some(now);
        }
        progress.read = progress.read.max(n);
    }

    /// The number up to which entries have certainly been applied; 0 if it is unknown.
    pub(super) fn applied(&self, now: Instant) -> u64 {
        let progress = self.progress();
        match progress.noted {
            // Every entry was read less than `APPLIED` after `noted`.
            Some(noted) if noted + 2 * APPLIED <= now => progress.read,
            Some(noted) if noted + APPLIED <= now => progress.before,
            _ => progress.applied,
        }
    }

    fn progress(&self) -> MutexGuard<'_, StreamReads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_as_applied_some_seconds_after_it_was_read() {
        let progress = StreamProgress::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(progress.applied(at(0)), 0);
        for (n, time) in [(1, 0), (2, 10), (3, 1_990)] {
            progress.note(n, at(time));
        }
        assert_eq!(progress.applied(at(3_900)), 0);
        assert_eq!(progress.applied(at(4_000)), 3);
        progress.note(4, at(2_500));
        // The third was read half a second before the fourth.
        assert_eq!(progress.applied(at(3_900)), 0);
        assert_eq!(progress.applied(at(4_500)), 3);
        assert_eq!(progress.applied(at(6_500)), 4);
        progress.note(5, at(10_000));
        assert_eq!(progress.applied(at(10_000)), 3);
        assert_eq!(progress.applied(at(12_000)), 4);
        assert_eq!(progress.applied(at(14_000)), 5);
        progress.note(3, at(20_000));
        assert_eq!(progress.applied(at(20_000)), 0, "a new stream");
        assert_eq!(progress.applied(at(24_000)), 3);
    }
}
