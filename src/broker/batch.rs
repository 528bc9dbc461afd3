//! The time that a batch of emits takes from its first dispatch until it is written, with one clock reading at each
//! end.

use std::time::Instant;

use crate::clock;
use crate::metrics::Histogram;

/// The emits since the last flush that were accepted for at least one client.
#[derive(Debug, Default)]
pub struct Batch {
    /// When the first emit was dispatched, or received from the bus. The latency of all is measured from then.
    since: Option<Instant>,
    emits: u64,
}

impl Batch {
    /// When the batch began, or now if it has not.
    pub fn since(&self) -> Instant {
        self.since.unwrap_or_else(clock::now)
    }

    /// Adds an emit dispatched at `since`. Returns whether it is the first.
    pub fn add(&mut self, since: Instant) -> bool {
        let first = self.since.is_none();
        self.since = Some(self.since.map_or(since, |earliest| earliest.min(since)));
        self.emits += 1;
        first
    }

    /// Records the latency of the batch, which has been written, and starts the next batch.
    pub fn finish(&mut self, delivery: &Histogram) {
        let emits = std::mem::take(&mut self.emits);
        if let Some(since) = self.since.take() {
            delivery.observe_many(clock::now().saturating_duration_since(since), emits);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_emits_of_a_batch_are_measured_from_its_first() {
        let (mut batch, delivery) = (Batch::default(), Histogram::default());
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 0);
        let long_ago = clock::now() - Duration::from_secs(3);
        assert!(batch.add(clock::now()));
        assert!(!batch.add(long_ago));
        assert_eq!(batch.since(), long_ago);
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 2);
        assert!(delivery.sum() >= Duration::from_secs(6));
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 2);
    }
}
