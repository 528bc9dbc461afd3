//! The bodies of POSTs that this node holds until they are complete, in bytes.
//!
//! A session has at most one, but without a common limit many slow senders together could exhaust the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kind::Limit;
use crate::metrics::Metrics;

/// The first bytes of each body do not count, so that large bodies of few clients cannot keep all others from posting. A
/// session has at most one body, so these bytes are bounded like sessions.
const FREE: usize = 16 * 1024;

/// All bodies that the node holds.
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

    /// Replaces the limit; bodies already held stay, even above it.
    pub(super) fn replace(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Starts a body, of which nothing has arrived yet.
    pub(super) fn begin(self: &Arc<Self>) -> HeldBody {
        HeldBody {
            bodies: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// A body that is held; its bytes are counted until it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl HeldBody {
    /// Counts more bytes of this body. A small body, or the only one of the node, always fits.
    ///
    /// # Errors
    /// The node has reached the limit.
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
        if self.bytes <= FREE || alone || before + bytes <= limit.load(Ordering::Relaxed) {
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
    fn bodies_share_a_limit_but_a_single_one_always_fits() {
        let bodies = Bodies::new(Arc::default());
        bodies.replace(10 * FREE);
        let mut large = bodies.begin();
        assert_eq!(large.grow(15 * FREE), Ok(()));
        let mut second = bodies.begin();
        assert_eq!(second.grow(FREE + 1), Err(Limit::PostBodies));
        drop(large);
        assert_eq!(second.grow(4 * FREE), Ok(()));
        let mut third = bodies.begin();
        assert_eq!(third.grow(4 * FREE), Ok(()));
        assert_eq!(third.grow(FREE), Err(Limit::PostBodies));
        drop((second, third));
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
        assert_eq!(bodies.metrics.post_body_bytes.get(), 0);
    }

    #[test]
    fn small_bodies_fit_beside_large_ones_that_fill_the_limit() {
        let bodies = Bodies::new(Arc::default());
        bodies.replace(10 * FREE);
        let mut large = bodies.begin();
        assert_eq!(large.grow(15 * FREE), Ok(()));
        let mut small = bodies.begin();
        assert_eq!(small.grow(FREE / 2), Ok(()));
        assert_eq!(small.grow(FREE / 2), Ok(()));
        assert_eq!(small.grow(1), Err(Limit::PostBodies));
    }
}
