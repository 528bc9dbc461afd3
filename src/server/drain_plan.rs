//! The plan of a drain as a value: which session is closed when.
//!
//! Time and randomness are arguments. `drain` makes the plan and follows it.

use std::time::{Duration, Instant};

use crate::config::{DrainConfig, DrainRate};
use crate::model::Random;

/// Minimum of the rate `auto`, in sessions per second, so that few sessions are closed at once.
const MIN_AUTO_RATE: f64 = 50.0;

/// In how much time the rate `auto` closes all sessions of a node that is alone.
const ALONE: Duration = Duration::from_secs(1);

/// The rate at which `count` targets are closed, per second: as configured, unless that would take too long. The last
/// close begins at half (`auto`) or three quarters of the time; the rest is for pending acks. A node that `is_alone` is
/// not slow by itself: no other node serves the clients until it has started again.
pub(super) fn rate(config: &DrainConfig, count: usize, is_alone: bool) -> f64 {
    let time = config.timeout.saturating_sub(config.grace);
    let spread_over = |time: Duration| count as f64 / time.as_secs_f64().max(0.001);
    match config.rate {
        DrainRate::Auto if is_alone => spread_over(ALONE.min(time / 2)).max(MIN_AUTO_RATE),
        DrainRate::Auto => spread_over(time / 2).max(MIN_AUTO_RATE),
        DrainRate::PerSecond(rate) => spread_over(time * 3 / 4).max(f64::from(rate.get())),
    }
}

/// Targets in random order, each with the time of its close.
#[derive(Debug)]
pub(super) struct Plan<T> {
    /// Latest first.
    waiting: Vec<(Instant, T)>,
}

impl<T> Plan<T> {
    /// Spreads the targets over the time after `start`, at `rate` per second, each at a random time within its slot.
    pub(super) fn new(targets: Vec<T>, rate: f64, start: Instant, random: &dyn Random) -> Self {
        let mut shuffled: Vec<(u32, T)> = targets
            .into_iter()
            .map(|target| (number(random), target))
            .collect();
        shuffled.sort_by_key(|(order, _)| *order);
        let mut waiting: Vec<(Instant, T)> = shuffled
            .into_iter()
            .enumerate()
            .map(|(slot, (_, target))| {
                let jitter = f64::from(number(random)) / f64::from(u32::MAX);
                let after = Duration::from_secs_f64((slot as f64 + jitter) / rate);
                (start + after, target)
            })
            .collect();
        waiting.reverse();
        Self { waiting }
    }

    /// Removes and returns the targets that are due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<T> {
        let first_due = self.waiting.partition_point(|(due, _)| *due > now);
        let due = self.waiting.drain(first_due..).rev();
        due.map(|(_, target)| target).collect()
    }

    /// The time of the next close; `None` if no target is left.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.last().map(|(due, _)| *due)
    }

    /// The number of targets that are not due yet.
    pub(super) fn left(&self) -> usize {
        self.waiting.len()
    }
}

fn number(random: &dyn Random) -> u32 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::sync::Mutex;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    struct Seeded(Mutex<StdRng>);

    impl Random for Seeded {
        fn fill(&self, buffer: &mut [u8]) {
            self.0.lock().unwrap().fill(buffer);
        }
    }

    fn seeded(seed: u64) -> Seeded {
        Seeded(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    fn config(timeout: u64, grace: u64, rate: Option<u32>) -> DrainConfig {
        DrainConfig {
            timeout: Duration::from_secs(timeout),
            grace: Duration::from_secs(grace),
            rate: rate
                .and_then(NonZeroU32::new)
                .map_or(DrainRate::Auto, DrainRate::PerSecond),
            ack_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_rate_spreads_targets_over_the_timeout() {
        let cases = [
            // Half of the time without the grace period.
            (config(21, 1, None), 3000, 300.0),
            (config(20, 0, None), 10, MIN_AUTO_RATE),
            (config(20, 0, None), 0, MIN_AUTO_RATE),
            (config(20, 0, Some(250)), 1000, 250.0),
            // Too slow for the time: the slowest possible rate.
            (config(20, 0, Some(10)), 3000, 200.0),
        ];
        for (config, count, expected) in cases {
            assert_eq!(rate(&config, count, false), expected, "{config:?} {count}");
        }
    }

    #[test]
    fn a_node_that_is_alone_closes_all_sessions_within_a_second_unless_a_rate_is_configured() {
        let cases = [
            (config(20, 1, None), 3000, 3000.0),
            (config(20, 1, None), 10, MIN_AUTO_RATE),
            // Half of the time is shorter.
            (config(2, 1, None), 3000, 6000.0),
            (config(20, 0, Some(250)), 1000, 250.0),
        ];
        for (config, count, expected) in cases {
            assert_eq!(rate(&config, count, true), expected, "{config:?} {count}");
        }
    }

    #[test]
    fn each_target_is_due_once_and_the_rate_is_kept() {
        let start = Instant::now();
        for seed in 0..20 {
            let mut plan = Plan::new((0..1000).collect(), 100.0, start, &seeded(seed));
            let mut closed = Vec::new();
            for tick in 0..=100 {
                let due = plan.due(start + Duration::from_millis(100) * tick);
                // Ten slots begin in a tick; one that began before may end in it.
                assert!(due.len() <= 11, "{} in a tick", due.len());
                closed.extend(due);
                assert_eq!(plan.left() + closed.len(), 1000);
            }
            assert_eq!(plan.next(), None);
            assert!(!closed.is_sorted(), "the order is random");
            closed.sort_unstable();
            assert_eq!(closed, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_target_is_due_before_the_start_or_before_the_next_time() {
        let start = Instant::now() + Duration::from_secs(5);
        let mut plan = Plan::new(vec!["a"], 2.0, start, &seeded(1));
        let next = plan.next().unwrap();
        assert!(next >= start && next <= start + Duration::from_millis(500));
        assert!(plan.due(next - Duration::from_nanos(1)).is_empty());
        assert_eq!(plan.due(next), ["a"]);
    }

    #[test]
    fn the_seed_determines_the_order() {
        let start = Instant::now();
        let order = |seed| {
            let mut plan = Plan::new((0..50).collect(), 1000.0, start, &seeded(seed));
            plan.due(start + Duration::from_secs(1))
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }
}
