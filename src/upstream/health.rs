//! The health of one upstream as a value: a failing upstream is ejected for a time that doubles with each failure.

use std::time::{Duration, Instant};

/// Duration of the first ejection.
pub(super) const FIRST_EJECTION: Duration = Duration::from_millis(200);
/// Maximum duration of an ejection.
pub(super) const MAX_EJECTION: Duration = Duration::from_secs(10);
/// Minimum interval between two log lines about lost connections of one upstream.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The health of an upstream.
#[derive(Debug, Default)]
pub(super) struct UpstreamHealth {
    /// The last attempt succeeded.
    is_up: bool,
    /// Consecutive failures.
    failures: u32,
    ejected_until: Option<Instant>,
    /// The upstream leads back to this cluster, so a passed health check is not about the endpoint.
    is_loop: bool,
    /// Lost connections since the last log line about them.
    unlogged_losses: usize,
    losses_logged_at: Option<Instant>,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The upstream is ejected already: many connections fail at once, and the ejection doubles only once.
    AlreadyEjected,
    /// The first failure after a success, or after the start.
    First,
    /// The first response that reveals a loop.
    Loop,
    /// Another failure.
    Repeated,
}

impl UpstreamHealth {
    /// When the ejection ends, if the upstream is ejected at `now`.
    pub(super) fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.ejected_until.filter(|until| *until > now)
    }

    /// Whether the last attempt succeeded.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether the upstream leads back to this cluster.
    pub(super) fn is_loop(&self) -> bool {
        self.is_loop
    }

    /// Records a success; returns the number of consecutive failures before it.
    pub(super) fn succeed(&mut self) -> u32 {
        self.is_up = true;
        self.is_loop = false;
        self.ejected_until = None;
        std::mem::take(&mut self.failures)
    }

    /// Records a failure. `jitter`, from 0 to 255, shortens the ejection by up to half, so that nodes do not retry in
    /// step.
    pub(super) fn fail(&mut self, is_loop: bool, jitter: u8, now: Instant) -> Failure {
        if self.ejected_until(now).is_some() {
            return Failure::AlreadyEjected;
        }
        let failure = match self.failures {
            _ if is_loop && !self.is_loop => Failure::Loop,
            0 => Failure::First,
            _ => Failure::Repeated,
        };
        self.is_up = false;
        self.is_loop = is_loop;
        self.failures = self.failures.saturating_add(1);
        self.ejected_until = Some(now + ejection(self.failures, jitter));
        failure
    }

    /// Records a lost connection; returns the number of losses to log, if it is time.
    pub(super) fn lose(&mut self, now: Instant) -> Option<usize> {
        self.unlogged_losses += 1;
        let is_due = |last: Instant| now >= last + LOG_INTERVAL;
        if !self.losses_logged_at.is_none_or(is_due) {
            return None;
        }
        self.losses_logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged_losses))
    }
}

fn ejection(failures: u32, jitter: u8) -> Duration {
    let doubled = FIRST_EJECTION.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(MAX_EJECTION)
        .mul_f64(0.5 + f64::from(jitter) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_double_up_to_a_maximum_and_end_with_a_success() {
        let mut health = UpstreamHealth::default();
        let mut now = Instant::now();
        assert_eq!(health.fail(false, 0, now), Failure::First);
        assert_eq!(health.ejected_until(now), Some(now + FIRST_EJECTION / 2));
        let again = health.fail(false, 0, now);
        assert_eq!(again, Failure::AlreadyEjected);
        let mut previous = FIRST_EJECTION / 2;
        for _ in 0..20 {
            now += MAX_EJECTION;
            assert_eq!(health.fail(false, 0, now), Failure::Repeated);
            let ejection = health.ejected_until(now).unwrap() - now;
            assert_eq!(ejection, (previous * 2).min(MAX_EJECTION / 2));
            previous = ejection;
        }
        now += MAX_EJECTION;
        health.fail(false, 255, now);
        let longest = health.ejected_until(now).unwrap() - now;
        assert!(longest > MAX_EJECTION * 99 / 100 && longest <= MAX_EJECTION);
        assert_eq!(health.succeed(), 22);
        assert_eq!(health.ejected_until(now), None);
        assert!(health.is_up() && !health.has_failed());
        assert_eq!(health.fail(false, 0, now), Failure::First);
    }

    #[test]
    fn a_loop_is_reported_once() {
        let mut health = UpstreamHealth::default();
        let mut now = Instant::now();
        let mut fail = |is_loop| {
            now += MAX_EJECTION;
            health.fail(is_loop, 0, now)
        };
        assert_eq!(fail(false), Failure::First);
        assert_eq!(fail(true), Failure::Loop);
        assert_eq!(fail(true), Failure::Repeated);
        assert!(health.is_loop());
        health.succeed();
        assert!(!health.is_loop());
    }

    #[test]
    fn losses_are_logged_at_most_once_per_interval() {
        let mut health = UpstreamHealth::default();
        let now = Instant::now();
        assert_eq!(health.lose(now), Some(1));
        for _ in 0..4 {
            assert_eq!(health.lose(now), None);
        }
        assert_eq!(health.lose(now + LOG_INTERVAL), Some(5));
    }
}
