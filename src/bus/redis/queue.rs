//! What waits to be published: filled by the link's handle, emptied by the publisher.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::bus::link::{LinkDown, Outgoing};
use crate::bus::spool::{Dropped, Spool, SpoolLimits};

/// A message, and who wants to know how many it reached.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Outgoing,
    pub(super) count: Option<oneshot::Sender<Result<u64, LinkDown>>>,
}

impl AsRef<Outgoing> for Waiting {
    fn as_ref(&self) -> &Outgoing {
        &self.message
    }
}

/// Messages taken for one pipeline, with the time they were queued.
pub(super) type Batch = Vec<(Instant, Waiting)>;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    spool_limits: SpoolLimits,
    queue_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Spool<Waiting>,
    connected: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(spool_limits: SpoolLimits, queue_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            spool_limits,
            queue_bytes,
        }
    }

    pub(super) fn push(&self, batch: Vec<Outgoing>) {
        let now = Instant::now();
        let mut state = self.state();
        for message in batch {
            if message.volatile && !state.connected {
                continue;
            }
            let waiting = Waiting {
                message,
                count: None,
            };
            self.append(&mut state, waiting, now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Where the number of receivers will arrive.
    pub(super) fn push_counted(
        &self,
        message: Outgoing,
    ) -> oneshot::Receiver<Result<u64, LinkDown>> {
        let (count, receivers) = oneshot::channel();
        let mut state = self.state();
        if state.connected {
            let count = Some(count);
            self.append(&mut state, Waiting { message, count }, Instant::now());
            self.changed.notify_one();
        } else {
            let _nobody_waits = count.send(Err(LinkDown));
        }
        receivers
    }

    fn append(&self, state: &mut State, waiting: Waiting, now: Instant) {
        let limit = if state.connected {
            self.queue_bytes
        } else {
            self.spool_limits.bytes
        };
        state.waiting.push(waiting, limit, now);
    }

    /// From now on nothing has to be spooled.
    pub(super) fn connected(&self) {
        let mut state = self.state();
        state.waiting.trim(self.spool_limits, Instant::now());
        state.connected = true;
    }

    /// From now on only what may be spooled waits, within its limits.
    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        state.connected = false;
        state.waiting.retain(|waiting| {
            if let Some(count) = waiting.count.take() {
                let _nobody_waits = count.send(Err(LinkDown));
                return false;
            }
            !waiting.message.volatile
        });
        state.waiting.trim(self.spool_limits, Instant::now());
    }

    /// Gives up what is too old by now.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.state().waiting.trim(self.spool_limits, now);
    }

    /// Puts back what could not be published.
    pub(super) fn restore(&self, batch: Batch) {
        self.state().waiting.restore(batch);
        self.changed.notify_one();
    }

    /// Takes the messages that `leaves` says, in their order.
    pub(super) fn extract(&self, leaves: impl Fn(&Outgoing) -> bool) -> Batch {
        let mut state = self.state();
        let all = state.waiting.take(usize::MAX);
        let (leaving, staying) = all
            .into_iter()
            .partition(|(_, waiting)| leaves(&waiting.message));
        state.waiting.restore(staying);
        leaving
    }

    pub(super) fn take_dropped(&self) -> Option<Dropped> {
        self.state().waiting.take_dropped()
    }

    /// Waits until there are messages; false when there are none and the link's handle is gone.
    pub(super) async fn next_turn(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            let (is_empty, is_closed) = {
                let state = self.state();
                (state.waiting.is_empty(), state.closed)
            };
            match (is_empty, is_closed) {
                (false, _) => return true,
                (true, true) => return false,
                (true, false) => changed.await,
            }
        }
    }

    /// The oldest messages, up to `bytes`.
    pub(super) fn take_batch(&self, bytes: usize) -> Batch {
        self.state().waiting.take(bytes)
    }

    /// The link's handle is gone: nothing will be added.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
