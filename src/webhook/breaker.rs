//! The circuit breaker of one URL: after consecutive failures no requests are sent for a pause, then a single one as a
//! probe.
//!
//! Shared by the workers of a node without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::health::BackendState;

/// The longest pause between two probes.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Counts failures, and decides whether a request may be sent.
#[derive(Debug)]
pub(super) struct Breaker {
    start: Instant,
    threshold: u32,
    first_pause: Duration,
    /// Consecutive failures while the breaker is closed.
    failures: AtomicU32,
    /// Milliseconds from `start` until the next probe; 0 = the breaker is closed.
    retry_at: AtomicU64,
    /// The current pause in milliseconds.
    pause: AtomicU64,
}

/// The role of a request that the breaker admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Normal,
    /// It decides whether the breaker closes.
    Probe,
}

/// What the result of a request changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Opened,
    Closed,
}

impl Breaker {
    /// A closed breaker that opens after `threshold` consecutive failures, at first for `first_pause`.
    pub(super) fn new(threshold: u32, first_pause: Duration, now: Instant) -> Self {
        Self {
            start: now,
            threshold,
            first_pause,
            failures: AtomicU32::new(0),
            retry_at: AtomicU64::new(0),
            pause: AtomicU64::new(0),
        }
    }

    /// Whether a request may wait for its turn.
    ///
    /// # Errors
    /// The time until the next probe.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        let retry_at = self.retry_at.load(Ordering::Relaxed);
        let wait = retry_at.saturating_sub(self.milliseconds(now));
        match wait {
            0 => Ok(()),
            wait => Err(Duration::from_millis(wait)),
        }
    }

    /// Whether requests are sent.
    pub(super) fn state(&self, now: Instant) -> BackendState {
        match (self.retry_at.load(Ordering::Relaxed), self.check(now)) {
            (0, _) => BackendState::Up,
            (_, Err(_)) => BackendState::Down,
            (_, Ok(())) => BackendState::Probing,
        }
    }

    /// Whether a request may be sent now. The first one after the pause is the probe, for which the others wait.
    ///
    /// # Errors
    /// As [`Breaker::check`].
    pub(super) fn admit(&self, now: Instant) -> Result<Attempt, Duration> {
        let retry_at = self.retry_at.load(Ordering::Relaxed);
        if retry_at == 0 {
            return Ok(Attempt::Normal);
        }
        self.check(now)?;
        let pause = self.pause.load(Ordering::Relaxed);
        let next = self.milliseconds(now) + pause;
        // If the probe is abandoned, because its client left, the next one follows after another pause.
        let taken =
            self.retry_at
                .compare_exchange(retry_at, next, Ordering::Relaxed, Ordering::Relaxed);
        match taken {
            Ok(_) => Ok(Attempt::Probe),
            Err(0) => Ok(Attempt::Normal),
            Err(_) => Err(Duration::from_millis(pause)),
        }
    }

    /// Records the result of a request.
    pub(super) fn record(
        &self,
        attempt: Attempt,
        responded: bool,
        now: Instant,
    ) -> Option<BreakerChange> {
        if responded {
            if self.failures.load(Ordering::Relaxed) > 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
            let was_open = self.retry_at.load(Ordering::Relaxed) > 0
                && self.retry_at.swap(0, Ordering::Relaxed) > 0;
            return was_open.then_some(BreakerChange::Closed);
        }
        if attempt == Attempt::Probe {
            let pause = 2 * self.pause.load(Ordering::Relaxed);
            self.open_for(pause.min(MAX_PAUSE.as_millis() as u64), now);
            return None;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let opens = failures >= self.threshold && self.retry_at.load(Ordering::Relaxed) == 0;
        opens.then(|| {
            self.open_for(self.first_pause.as_millis() as u64, now);
            BreakerChange::Opened
        })
    }

    fn open_for(&self, pause: u64, now: Instant) {
        self.pause.store(pause.max(1), Ordering::Relaxed);
        let retry_at = self.milliseconds(now) + pause.max(1);
        self.retry_at.store(retry_at, Ordering::Relaxed);
    }

    /// Rounded up, so that it is never the 0 of a closed breaker.
    fn milliseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened() -> (Breaker, Instant) {
        let start = crate::clock::now();
        let breaker = Breaker::new(3, SECOND, start);
        for _ in 0..2 {
            assert_eq!(breaker.record(Attempt::Normal, false, start), None);
        }
        let opened = breaker.record(Attempt::Normal, false, start);
        assert_eq!(opened, Some(BreakerChange::Opened));
        (breaker, start)
    }

    #[test]
    fn consecutive_failures_open_it_and_a_response_starts_the_count_again() {
        let now = crate::clock::now();
        let breaker = Breaker::new(3, SECOND, now);
        for responded in [false, false, true, false, false] {
            assert_eq!(breaker.record(Attempt::Normal, responded, now), None);
        }
        assert_eq!(breaker.admit(now), Ok(Attempt::Normal));
        breaker.record(Attempt::Normal, false, now);
        assert_eq!(breaker.admit(now), Err(SECOND));
        // Requests that were sent before do not extend the pause.
        assert_eq!(breaker.record(Attempt::Normal, false, now), None);
        assert_eq!(breaker.check(now), Err(SECOND));
    }

    #[test]
    fn one_probe_is_sent_after_the_pause_and_closes_it() {
        let (breaker, start) = opened();
        let now = start + SECOND;
        assert_eq!(breaker.state(start), BackendState::Down);
        assert_eq!(breaker.state(now), BackendState::Probing);
        assert_eq!(breaker.admit(now), Ok(Attempt::Probe));
        assert_eq!(breaker.admit(now), Err(SECOND));
        assert_eq!(breaker.state(now), BackendState::Down);
        let closed = breaker.record(Attempt::Probe, true, now);
        assert_eq!(closed, Some(BreakerChange::Closed));
        assert_eq!(breaker.state(now), BackendState::Up);
        assert_eq!(breaker.admit(now), Ok(Attempt::Normal));
        assert_eq!(breaker.record(Attempt::Normal, false, now), None);
    }

    #[test]
    fn failed_probes_double_the_pause_to_30_s() {
        let (breaker, mut now) = opened();
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let pause = SECOND * pause;
            assert_eq!(breaker.check(now), Err(pause));
            now += pause;
            assert_eq!(breaker.admit(now), Ok(Attempt::Probe));
            assert_eq!(breaker.record(Attempt::Probe, false, now), None);
        }
    }

    #[test]
    fn an_abandoned_probe_is_followed_by_another() {
        let (breaker, start) = opened();
        let now = start + SECOND;
        assert_eq!(breaker.admit(now), Ok(Attempt::Probe));
        assert_eq!(breaker.admit(now + SECOND), Ok(Attempt::Probe));
    }
}
