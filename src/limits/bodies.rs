//! The bodies of POSTs that this node holds until they are complete, in bytes.
//!
//! A session has one at most, but sessions are many: clients that send slowly would fill the memory together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kind::Limit;
use crate::metrics::Metrics;

/// All of them.
#[derive(Debug)]
pub(super) struct Bodies {
    limit: AtomicUsize,
    held: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Bodies {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(usize::MAX),
            held: AtomicUsize::new(0),
            metrics,
        })
    }

    /// Sets the limit anew; bodies that are held stay, also above it.
    pub(super) fn replace(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A body of which nothing has come yet.
    pub(super) fn begin(self: &Arc<Self>) -> HeldBody {
        HeldBody {
            bodies: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// A body that is held; counted until it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl HeldBody {
    /// Counts more of it. A body that is the only one always fits.
    ///
    /// # Errors
    /// The node holds as much as it may.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Limit> {
        let Bodies {
            limit,
            held,
            metrics,
        } = &*self.bodies;
        let before = held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        metrics.post_body_bytes.add(bytes as i64);
        let alone = before + bytes == self.bytes;
        if alone || before + bytes <= limit.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Limit::PostBodies)
        }
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bodies
            .metrics
            .post_body_bytes
            .add(-(self.bytes as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_a_limit_and_one_alone_always_fits() {
        let bodies = Bodies::new(Arc::default());
        bodies.replace(100);
        let mut large = bodies.begin();
        assert_eq!(large.grow(150), Ok(()));
        let mut second = bodies.begin();
        assert_eq!(second.grow(1), Err(Limit::PostBodies));
        drop(large);
        assert_eq!(second.grow(50), Ok(()));
        let mut third = bodies.begin();
        assert_eq!(third.grow(49), Ok(()));
        assert_eq!(third.grow(1), Err(Limit::PostBodies));
        drop((second, third));
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
        assert_eq!(bodies.metrics.post_body_bytes.get(), 0);
    }
}
