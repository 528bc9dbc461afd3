//! A rate that can be replaced while other threads read it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::bucket::Rate;

/// A rate in one atomic value; none by default.
#[derive(Debug, Default)]
pub(super) struct RateCell(AtomicU64);

impl RateCell {
    pub(super) fn set(&self, rate: Option<Rate>) {
        let packed = rate.map_or(0, |rate| {
            u64::from(rate.per_second.get()) << 32 | u64::from(rate.burst)
        });
        self.0.store(packed, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Rate> {
        let packed = self.0.load(Ordering::Relaxed);
        Rate::new((packed >> 32) as u32, packed as u32)
    }
}
