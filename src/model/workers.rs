//! A set of workers of one node.

use super::WorkerIndex;

/// Workers by bit: a node has at most [`WorkerIndex::LIMIT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers(u64);

impl Workers {
    /// The first `count` workers: all those of a node with that many.
    pub fn first(count: usize) -> Self {
        match count {
            0 => Self(0),
            _ => Self(u64::MAX >> (WorkerIndex::LIMIT - count.min(WorkerIndex::LIMIT))),
        }
    }

    /// One worker.
    pub fn only(worker: WorkerIndex) -> Self {
        Self::default().with(worker)
    }

    /// The same set and `worker`.
    #[must_use]
    pub fn with(self, worker: WorkerIndex) -> Self {
        Self(self.0 | 1 << worker.get())
    }

    /// The same set without `worker`.
    #[must_use]
    pub fn without(self, worker: WorkerIndex) -> Self {
        Self(self.0 & !(1 << worker.get()))
    }

    /// Whether the worker is among them.
    pub fn contains(self, worker: usize) -> bool {
        worker < WorkerIndex::LIMIT && self.0 >> worker & 1 == 1
    }

    /// The number of workers.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is no worker.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their indices, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = (rest != 0).then(|| rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            lowest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_exactly_the_added_workers() {
        let worker = |index| WorkerIndex::new(index).unwrap();
        let set = Workers::only(worker(63)).with(worker(0)).with(worker(5));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(set.without(worker(5)).count(), 2);
        assert!(set.contains(63) && !set.contains(62) && !set.contains(64));
        for count in [0, 1, 2, 63, 64] {
            assert_eq!(Workers::first(count).count(), count, "{count}");
            assert!(Workers::first(count).iter().eq(0..count));
        }
        assert!(Workers::default().is_empty());
    }
}
