//! When a request that failed is sent again. Pure.

use std::time::{Duration, Instant};

use crate::config::NoticesConfig;
use crate::webhook::HookFailure;

/// The failures of one request.
#[derive(Debug)]
pub(super) struct Retry {
    first: Instant,
    failures: u32,
    rejections: u32,
}

impl Retry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            first: now,
            failures: 0,
            rejections: 0,
        }
    }

    /// The time until the next attempt; `None` if there is none. `share`, 0 to 1, spreads the attempts of several nodes.
    pub(super) fn after(
        &mut self,
        failure: &HookFailure,
        config: &NoticesConfig,
        now: Instant,
        share: f64,
    ) -> Option<Duration> {
        self.rejections += u32::from(!failure.temporary);
        let lasts = now.saturating_duration_since(self.first);
        if self.rejections >= config.max_rejections || lasts >= config.retry_timeout {
            return None;
        }
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures += 1;
        let mean = config.pause.saturating_mul(factor).min(config.max_pause);
        let requested = failure.retry_after.unwrap_or_default();
        Some(
            mean.mul_f64(0.5 + share)
                .max(requested)
                .min(config.max_pause),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn failure(temporary: bool, retry_after: Option<Duration>) -> HookFailure {
        HookFailure {
            temporary,
            retry_after,
            ..HookFailure::bad_answer("")
        }
    }

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest() {
        let config = Config::default().webhook.notices;
        let now = crate::clock::now();
        let mut retry = Retry::new(now);
        let down = failure(true, None);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = retry.after(&down, &config, now, 0.5);
            assert_eq!(pause, Some(Duration::from_secs(seconds)));
        }
        for (share, expected) in [(0.0, 0.5), (1.0, 1.5)] {
            let pause = Retry::new(now).after(&down, &config, now, share);
            assert_eq!(pause, Some(Duration::from_secs_f64(expected)));
        }
        let busy = failure(true, Some(Duration::from_secs(7)));
        let pause = Retry::new(now).after(&busy, &config, now, 0.5);
        assert_eq!(pause, Some(Duration::from_secs(7)));
    }

    #[test]
    fn it_ends_by_time_and_by_rejections() {
        let config = Config::default().webhook.notices;
        let now = crate::clock::now();
        let mut retry = Retry::new(now);
        let almost = now + config.retry_timeout - Duration::from_millis(1);
        assert!(
            retry
                .after(&failure(true, None), &config, almost, 0.5)
                .is_some()
        );
        let over = now + config.retry_timeout;
        assert_eq!(retry.after(&failure(true, None), &config, over, 0.5), None);
        let mut retry = Retry::new(now);
        for _ in 1..config.max_rejections {
            assert!(
                retry
                    .after(&failure(false, None), &config, now, 0.5)
                    .is_some()
            );
        }
        assert_eq!(retry.after(&failure(false, None), &config, now, 0.5), None);
    }
}
