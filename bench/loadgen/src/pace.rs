//! Sends at a fixed rate, evenly spaced, whatever the server does.

use std::time::{Duration, Instant};

pub(crate) struct Pace {
    interval: Duration,
    due: Instant,
}

impl Pace {
    /// `rate` per second, from now on.
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            interval: Duration::from_secs_f64(1.0 / rate),
            due: Instant::now(),
        }
    }

    /// How many are due at `now` and were not returned before.
    pub(crate) fn take(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while self.due <= now {
            self.due += self.interval;
            count += 1;
        }
        count
    }

    /// The time until the next one is due.
    pub(crate) fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_the_rate_requires() {
        let mut pace = Pace::new(1000.0);
        let start = pace.due;
        assert_eq!(pace.take(start), 1);
        assert_eq!(pace.take(start + Duration::from_micros(500)), 0);
        assert_eq!(pace.take(start + Duration::from_millis(100)), 100);
    }
}
