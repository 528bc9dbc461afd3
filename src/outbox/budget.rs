//! The memory budget of the queues of all clients of a node.
//!
//! Each worker claims the memory that its lanes hold, once per batch that changed it. Above the limit, workers that
//! hold more than an equal share discard lanes until the node is back within it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Beyond the excess, `limit / SLACK` bytes more are discarded, so that not every packet of a burst costs a session.
const SLACK: usize = 16;

/// The limit of a node, and the bytes that each worker holds.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicUsize,
    held: Box<[Held]>,
}

/// Aligned to a cache line, to avoid false sharing.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Held(AtomicUsize);

impl Budget {
    /// A budget of `limit` bytes for `workers` workers.
    pub fn new(limit: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            held: (0..workers).map(|_| Held::default()).collect(),
        })
    }

    /// Replaces the limit.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    fn total(&self) -> usize {
        let held = self.held.iter();
        held.map(|held| held.0.load(Ordering::Relaxed)).sum()
    }
}

/// One worker's share of a budget.
#[derive(Debug, Default)]
pub struct Share {
    budget: Option<(Arc<Budget>, usize)>,
    claimed: usize,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Granted,
    /// The node holds too much: this worker may keep `keep` bytes.
    Over {
        keep: usize,
    },
}

impl Share {
    /// The share of `worker`.
    pub fn of(budget: &Arc<Budget>, worker: usize) -> Self {
        Self {
            budget: Some((Arc::clone(budget), worker)),
            claimed: 0,
        }
    }

    /// Claims `bytes` as what this worker holds now.
    pub(super) fn claim(&mut self, bytes: usize) -> Claim {
        let Some((budget, worker)) = &self.budget else {
            return Claim::Granted;
        };
        if self.claimed != bytes {
            self.claimed = bytes;
            budget.held[*worker].0.store(bytes, Ordering::Relaxed);
        }
        // There is nothing to discard.
        if bytes == 0 {
            return Claim::Granted;
        }
        let (limit, total) = (budget.limit(), budget.total());
        let share = limit / budget.held.len().max(1);
        if total <= limit || bytes <= share {
            return Claim::Granted;
        }
        let excess = total - limit;
        let keep = bytes.saturating_sub(excess + limit / SLACK);
        Claim::Over {
            keep: keep.max(share - share / SLACK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_above_an_equal_share_discard_the_excess() {
        let budget = Budget::new(1600, 2);
        let (mut one, mut two) = (Share::of(&budget, 0), Share::of(&budget, 1));
        assert_eq!(one.claim(1500), Claim::Granted);
        assert_eq!(two.claim(100), Claim::Granted);
        assert_eq!(two.claim(300), Claim::Granted, "less than its share");
        assert_eq!(one.claim(1500), Claim::Over { keep: 1200 });
        assert_eq!(one.claim(1200), Claim::Granted);
        budget.set_limit(800);
        assert_eq!(one.claim(1200), Claim::Over { keep: 450 });
        assert_eq!(one.claim(0), Claim::Granted);
        assert_eq!(Share::default().claim(usize::MAX), Claim::Granted);
    }
}
