//! A token bucket as a value: time is an argument, the decision is returned.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A maximum rate: tokens per second, and tokens at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    /// At least 1.
    pub burst: u32,
}

impl Rate {
    /// `None` for a rate of 0, which means no limit. A burst of 0 means the tokens of one second.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        let burst = if burst == 0 { per_second.get() } else { burst };
        Some(Self { per_second, burst })
    }

    /// Time between two tokens.
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }

    /// Time in which an empty bucket fills.
    fn depth(self) -> Duration {
        self.interval() * self.burst
    }
}

/// A bucket of tokens, stored as the time at which it is full again: 16 bytes, and no refills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a token if one is left.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + rate.interval();
        let allowed = full_at.duration_since(now) <= rate.depth();
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }

    /// Takes `count / divisor` tokens, also more than are left: then the next token comes the later.
    pub fn charge(&mut self, rate: Rate, (count, divisor): (u32, u32), now: Instant) {
        self.full_at = self.full_at.max(now) + rate.interval() * count / divisor;
    }

    /// Time until the next token.
    pub fn wait(&self, rate: Rate, now: Instant) -> Duration {
        let full_at = self.full_at.max(now) + rate.interval();
        full_at.duration_since(now).saturating_sub(rate.depth())
    }

    /// Whether all tokens are there.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_allowed_then_the_rate() {
        let start = crate::clock::now();
        let rate = Rate::new(10, 3).unwrap();
        let mut bucket = TokenBucket::full(start);
        let cases = [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (99, false),
            (100, true),
            (100, false),
            (1_000, true),
            (1_000, true),
            (1_000, true),
            (1_000, false),
        ];
        for (index, (after, taken)) in cases.into_iter().enumerate() {
            let now = start + Duration::from_millis(after);
            assert_eq!(bucket.take(rate, now), taken, "step {index}");
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(bucket.wait(rate, now), Duration::from_millis(100));
        assert!(!bucket.is_full(now) && bucket.is_full(now + Duration::from_millis(300)));
    }

    #[test]
    fn a_rate_of_0_means_no_limit_and_a_burst_of_0_means_one_second() {
        assert_eq!(Rate::new(0, 5), None);
        assert_eq!(Rate::new(7, 0), Rate::new(7, 7));
    }

    #[test]
    fn a_charge_beyond_the_burst_delays_the_next_token() {
        let start = crate::clock::now();
        let rate = Rate::new(10, 3).unwrap();
        let mut bucket = TokenBucket::full(start);
        bucket.charge(rate, (20, 10), start);
        assert_eq!(bucket.wait(rate, start), Duration::ZERO);
        bucket.charge(rate, (45, 10), start);
        assert_eq!(bucket.wait(rate, start), Duration::from_millis(450));
        assert!(!bucket.take(rate, start + Duration::from_millis(449)));
        assert!(bucket.take(rate, start + Duration::from_millis(450)));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(
            per_second in 1_u32..2_000,
            burst in 0_u32..50,
            steps in proptest::collection::vec(0_u64..200, 1..200),
        ) {
            let start = crate::clock::now();
            let rate = Rate::new(per_second, burst).unwrap();
            let mut bucket = TokenBucket::full(start);
            let (mut now, mut taken) = (start, 0_u64);
            for step in steps {
                now += Duration::from_millis(step);
                if bucket.take(rate, now) {
                    taken += 1;
                } else {
                    let wait = bucket.wait(rate, now);
                    prop_assert!(wait > Duration::ZERO);
                    let mut later = bucket;
                    prop_assert!(later.take(rate, now + wait), "the wait is long enough");
                }
            }
            let passed = now.duration_since(start).as_secs_f64();
            let most = f64::from(rate.burst) + passed * f64::from(per_second) * 1.001 + 1.0;
            prop_assert!(taken as f64 <= most, "{taken} of {most}");
        }
    }
}
