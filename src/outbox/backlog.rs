//! What waits for the clients of one worker that cannot be written directly.

use std::task::Waker;

use super::queue::Queue;

/// What is only touched while a client cannot be written directly.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) queue: Queue,
    pub(super) waker: Option<Waker>,
    /// Volatile packets that were not taken.
    pub(super) dropped: u32,
}

/// A backlog for each lane, and the bytes in all of them.
#[derive(Default)]
pub(super) struct Backlogs {
    all: Vec<Backlog>,
    bytes: usize,
}

impl Backlogs {
    /// One more, empty.
    pub(super) fn push(&mut self) {
        self.all.push(Backlog::default());
    }

    /// Empties one.
    pub(super) fn reset(&mut self, index: usize) {
        self.change(index, |queue| *queue = Queue::default());
        self.all[index].waker = None;
        self.all[index].dropped = 0;
    }

    /// Counts a volatile packet that was not taken.
    pub(super) fn count_dropped(&mut self, index: usize) {
        let dropped = &mut self.all[index].dropped;
        *dropped = dropped.saturating_add(1);
    }

    /// Changes a queue and keeps the sum over all of them.
    pub(super) fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Queue) -> T) -> T {
        let queue = &mut self.all[index].queue;
        let before = queue.bytes();
        let outcome = change(queue);
        self.bytes = self.bytes - before + queue.bytes();
        outcome
    }

    /// The waker of one.
    pub(super) fn waker_mut(&mut self, index: usize) -> &mut Option<Waker> {
        &mut self.all[index].waker
    }

    /// Bytes in all queues.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl std::ops::Index<usize> for Backlogs {
    type Output = Backlog;

    fn index(&self, index: usize) -> &Backlog {
        &self.all[index]
    }
}
