//! Logs refused connections: the first of a burst at once, the others as a number.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::AcceptError;

/// A refusal within this time of the last line in the log is only counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The refusals of a listener on one worker.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last_line: Cell<Option<Instant>>,
    unlogged: Cell<u64>,
}

impl Refusals {
    /// A connection was refused.
    pub(super) fn note(&self, peer: SocketAddr, error: &AcceptError) {
        debug!(peer:%, reason:% = error; "connection refused");
        if matches!(error, AcceptError::Gone(_)) {
            return;
        }
        if let Some(others) = self.is_due(Instant::now()) {
            warn!(peer:%, others_since_last:% = others; "connection refused: it {error}");
        }
    }

    /// Whether to log this one; then with how many that were not.
    fn is_due(&self, now: Instant) -> Option<u64> {
        let is_due = |last: Instant| now.duration_since(last) >= LOG_INTERVAL;
        if self.last_line.get().is_none_or(is_due) {
            self.last_line.set(Some(now));
            return Some(self.unlogged.take());
        }
        self.unlogged.set(self.unlogged.get() + 1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_line_and_a_number() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let cases = [
            (0, Some(0)),
            (1, None),
            (9, None),
            (10, Some(2)),
            (11, None),
            (30, Some(1)),
        ];
        for (second, expected) in cases {
            let now = start + Duration::from_secs(second);
            assert_eq!(refusals.is_due(now), expected, "second {second}");
        }
    }
}
