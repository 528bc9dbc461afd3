//! How long a batch takes from the decision to send until it is written: one look at the clock at each end.

use std::time::Instant;

use crate::metrics::Histogram;

/// The emits since the last flush that have somebody to go to.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// When the first was decided, or heard on the bus; it speaks for all.
    since: Option<Instant>,
    emits: u64,
}

impl Batch {
    /// When the batch began; it may begin now.
    pub(super) fn since(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now)
    }

    /// One more emit, decided at `since`; true for the first.
    pub(super) fn add(&mut self, since: Instant) -> bool {
        let first = self.since.is_none();
        self.since = Some(self.since.map_or(since, |earliest| earliest.min(since)));
        self.emits += 1;
        first
    }

    /// The batch is written.
    pub(super) fn finish(&mut self, delivery: &Histogram) {
        let emits = std::mem::take(&mut self.emits);
        if let Some(since) = self.since.take() {
            delivery.observe_many(since.elapsed(), emits);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_of_a_batch_speaks_for_all() {
        let (mut batch, delivery) = (Batch::default(), Histogram::default());
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 0);
        let long_ago = crate::clock::now() - Duration::from_secs(3);
        assert!(batch.add(crate::clock::now()));
        assert!(!batch.add(long_ago));
        assert_eq!(batch.since(), long_ago);
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 2);
        assert!(delivery.sum() >= Duration::from_secs(6));
        batch.finish(&delivery);
        assert_eq!(delivery.count(), 2);
    }
}
