//! Exponential backoff between connection attempts.

use std::sync::Arc;
use std::time::Duration;

use crate::model::Random;

const FIRST: Duration = Duration::from_millis(50);
/// Maximum pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Doubles from 50 ms to 1 s. Each pause is shortened by a random share of up to one half, so that the nodes of a
/// cluster do not reconnect at the same time.
pub(super) struct Backoff {
    next: Duration,
    random: Arc<dyn Random>,
}

impl Backoff {
    pub(super) fn new(random: Arc<dyn Random>) -> Self {
        Self {
            next: FIRST,
            random,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST_PAUSE);
        let mut byte = [0];
        self.random.fill(&mut byte);
        full - full.mul_f64(f64::from(byte[0]) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u8);

    impl Random for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn pauses_double_up_to_one_second() {
        let mut longest = Backoff::new(Arc::new(Always(0)));
        let pauses: Vec<u128> = (0..7).map(|_| longest.pause().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        longest.reset();
        assert_eq!(longest.pause(), FIRST);
        let mut shortest = Backoff::new(Arc::new(Always(255)));
        assert_eq!(shortest.pause().as_millis(), 25);
    }
}
