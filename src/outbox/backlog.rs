//! Packets of one worker's clients that could not be written directly, and the state of slow clients.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::chunk::Meter;
use super::queue::Queue;

/// Bytes per second of the slowest client that counts as reading, where its progress cannot be observed byte by byte.
const SLOWEST_RATE: u32 = 16 * 1024;
/// The longest time for which packets handed over as a batch count as being transferred.
const LONGEST_TRANSFER: Duration = Duration::from_secs(60);

/// The part of a lane that is used only while its client cannot be written directly.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) queue: Queue,
    pub(super) waker: Option<Waker>,
    /// Volatile packets that were dropped.
    pub(super) dropped: u32,
    /// Set once the queue of the client has exceeded the soft limit.
    pub(super) slow: Option<Box<Slow>>,
}

/// State of a client whose queue exceeds the soft limit.
#[derive(Default)]
pub(super) struct Slow {
    /// When the client last made progress; `None`: its queue is back within the limit.
    pub(super) since: Option<Instant>,
    /// When the last batch has been transferred, even to a client that reads at [`SLOWEST_RATE`].
    transferred: Option<Instant>,
    /// Its session was notified and checks for progress.
    is_watched: bool,
    /// Tasks to wake when the queue is back within the limit.
    pub(super) waiting: Vec<Waker>,
}

impl Slow {
    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// A backlog for each lane, and the bytes in all of them.
#[derive(Default)]
pub(super) struct Backlogs {
    all: Vec<Backlog>,
    bytes: usize,
    /// Memory that queues do not share.
    own: usize,
    /// Memory that queues share.
    pub(super) shared: Meter,
}

impl Backlogs {
    /// Appends an empty backlog.
    pub(super) fn push(&mut self) {
        self.all.push(Backlog::default());
    }

    /// Resets a backlog for its next owner.
    pub(super) fn reset(&mut self, index: usize) {
        self.empty(index);
        self.all[index].waker = None;
        self.all[index].dropped = 0;
        self.all[index].slow = None;
    }

    /// Drops the queue of a client that will receive nothing more.
    pub(super) fn empty(&mut self, index: usize) {
        self.change(index, |queue| *queue = Queue::default());
        if let Some(slow) = &mut self.all[index].slow {
            slow.since = None;
            slow.wake_waiting();
        }
    }

    /// Counts a volatile packet that was dropped.
    pub(super) fn count_dropped(&mut self, index: usize) {
        let dropped = &mut self.all[index].dropped;
        *dropped = dropped.saturating_add(1);
    }

    /// Changes a queue and updates the sums over all queues.
    pub(super) fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Queue) -> T) -> T {
        let queue = &mut self.all[index].queue;
        let (bytes, own) = (queue.bytes(), queue.own_memory());
        let outcome = change(queue);
        self.bytes = self.bytes - bytes + queue.bytes();
        self.own = self.own - own + queue.own_memory();
        outcome
    }

    /// Takes from the queue of a client; if anything was taken, the client made progress.
    pub(super) fn take<T>(
        &mut self,
        index: usize,
        soft: usize,
        take: impl FnOnce(&mut Queue) -> T,
    ) -> T {
        let before = self.all[index].queue.bytes();
        let outcome = self.change(index, take);
        let Backlog { queue, slow, .. } = &mut self.all[index];
        if let Some(slow) = slow
            && slow.since.is_some()
            && queue.bytes() < before
        {
            slow.since = (queue.weight() > soft).then(Instant::now);
            if slow.since.is_none() {
                slow.wake_waiting();
            }
        }
        outcome
    }

    /// A client whose queue is within the soft limit again need not make progress.
    pub(super) fn end_slowness_within(&mut self, index: usize, soft: usize) {
        let Backlog { queue, slow, .. } = &mut self.all[index];
        if let Some(slow) = slow
            && slow.since.is_some()
            && queue.weight() <= soft
        {
            slow.since = None;
            slow.wake_waiting();
        }
    }

    /// Allows for the time in which packets that were handed over as a batch reach their client: a poll shows no
    /// progress before its whole response has arrived.
    pub(super) fn allow_transfer(&mut self, index: usize, bytes: usize) {
        let Some(slow) = &mut self.all[index].slow else {
            return;
        };
        let now = crate::clock::now();
        let start = slow.transferred.map_or(now, |end| end.max(now));
        let time = Duration::from_secs(bytes as u64) / SLOWEST_RATE;
        let end = (start + time).min(now + LONGEST_TRANSFER);
        slow.transferred = Some(end);
        if let Some(since) = &mut slow.since {
            *since = end;
        }
    }

    /// Records that a queue exceeds the soft limit: from now on the client must make progress. Returns whether its
    /// session must be notified.
    pub(super) fn overdue(&mut self, index: usize) -> bool {
        let slow = self.all[index].slow.get_or_insert_default();
        if slow.since.is_none() {
            let now = crate::clock::now();
            slow.since = Some(slow.transferred.map_or(now, |end| end.max(now)));
        }
        !std::mem::replace(&mut slow.is_watched, true)
    }

    /// When a client above the soft limit last made progress; `None` if it is within the limit, and its session may
    /// stop checking.
    pub(super) fn stalled_since(&mut self, index: usize) -> Option<Instant> {
        let slow = &mut self.all[index].slow;
        let state = slow.as_mut()?;
        if state.since.is_none() {
            state.is_watched = false;
            if state
                .transferred
                .is_none_or(|end| end <= crate::clock::now())
            {
                *slow = None;
            }
            return None;
        }
        state.since
    }

    /// The waker of a backlog.
    pub(super) fn waker_mut(&mut self, index: usize) -> &mut Option<Waker> {
        &mut self.all[index].waker
    }

    /// The state of a slow client; `None` if the client is not slow.
    pub(super) fn slow_mut(&mut self, index: usize) -> &mut Option<Box<Slow>> {
        &mut self.all[index].slow
    }

    /// Bytes in all queues.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of all queues; shared memory is counted once.
    pub(super) fn memory(&self) -> usize {
        self.own + self.shared.get()
    }
}

impl std::ops::Index<usize> for Backlogs {
    type Output = Backlog;

    fn index(&self, index: usize) -> &Backlog {
        &self.all[index]
    }
}
