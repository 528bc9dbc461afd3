//! The queue of messages to publish: filled by the link's handle, drained by the publisher.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::bus::link::{Channel, LinkDown, Outgoing};
use crate::bus::spool::{Dropped, Spool, SpoolLimits};
use crate::history::LogName;

/// A message and, where requested, the sender for its number of receivers.
#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub(super) message: Outgoing,
    pub(super) count: Option<oneshot::Sender<Result<u64, LinkDown>>>,
    /// Only the subscribers of the channel are counted; nothing is published.
    pub(super) only_counts: bool,
    /// Redis may have executed an earlier attempt to publish it, whose response was lost.
    pub(super) was_attempted: bool,
}

impl AsRef<Outgoing> for QueuedMessage {
    fn as_ref(&self) -> &Outgoing {
        &self.message
    }
}

/// Yields the number of receivers of a message.
pub(super) type CountReceiver = oneshot::Receiver<Result<u64, LinkDown>>;

/// Messages taken for one pipeline, with the times they were queued.
pub(super) type Batch = Vec<(Instant, QueuedMessage)>;

#[derive(Debug)]
pub(super) struct PublishQueue {
    state: Mutex<State>,
    changed: Notify,
    spool_limits: SpoolLimits,
    queue_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queued: Spool<QueuedMessage>,
    connected: bool,
    closed: bool,
}

impl PublishQueue {
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
            let queued = QueuedMessage {
                message,
                count: None,
                only_counts: false,
                was_attempted: false,
            };
            self.append(&mut state, queued, now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Queues a message; the returned channel receives its number of receivers.
    pub(super) fn push_counted(&self, message: Outgoing) -> CountReceiver {
        self.push_with_count(message, false)
    }

    /// Queues a request for the number of subscribers of a channel at this server.
    pub(super) fn push_count(&self, channel: Channel) -> CountReceiver {
        let message = Outgoing {
            channel,
            payload: Bytes::new(),
            volatile: true,
            translation: None,
            log: None,
        };
        self.push_with_count(message, true)
    }

    fn push_with_count(&self, message: Outgoing, only_counts: bool) -> CountReceiver {
        let (count, receivers) = oneshot::channel();
        let mut state = self.state();
        if state.connected {
            let count = Some(count);
            let queued = QueuedMessage {
                message,
                count,
                only_counts,
                was_attempted: false,
            };
            self.append(&mut state, queued, Instant::now());
            self.changed.notify_one();
        } else {
            let _receiver_dropped = count.send(Err(LinkDown));
        }
        receivers
    }

    fn append(&self, state: &mut State, queued: QueuedMessage, now: Instant) {
        let limit = if state.connected {
            self.queue_bytes
        } else {
            self.spool_limits.bytes
        };
        state.queued.push(queued, limit, now);
    }

    /// Ends spooling: the limits of a connected link apply.
    pub(super) fn connected(&self) {
        let mut state = self.state();
        state.queued.trim(self.spool_limits, Instant::now());
        state.connected = true;
    }

    /// Starts spooling: drops volatile messages and counted ones, and applies the limits of the spool.
    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        state.connected = false;
        state.queued.retain(|queued| {
            if let Some(count) = queued.count.take() {
                let _receiver_dropped = count.send(Err(LinkDown));
                return false;
            }
            !queued.message.volatile
        });
        state.queued.trim(self.spool_limits, Instant::now());
    }

    /// Drops messages that have expired.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.state().queued.trim(self.spool_limits, now);
    }

    /// Returns messages that could not be published to the front of the queue.
    pub(super) fn restore(&self, batch: Batch) {
        self.state().queued.restore(batch);
        self.changed.notify_one();
    }

    /// Removes the messages for which `leaves` returns true and returns them in order. Requests for a number of
    /// subscribers stay: they are for this server.
    pub(super) fn extract(&self, leaves: impl Fn(&Outgoing) -> bool) -> Batch {
        let mut state = self.state();
        let all = state.queued.take(usize::MAX);
        let (leaving, staying) = all
            .into_iter()
            .partition(|(_, queued)| !queued.only_counts && leaves(&queued.message));
        state.queued.restore(staying);
        leaving
    }

    pub(super) fn take_dropped(&self) -> Option<Dropped> {
        self.state().queued.take_dropped()
    }

    /// The logs of dropped messages, once nothing is queued: what reports them would displace more.
    pub(super) fn take_dropped_logs(&self) -> Vec<LogName> {
        let mut state = self.state();
        match state.queued.is_empty() {
            true => state.queued.take_dropped_logs(),
            false => Vec::new(),
        }
    }

    /// Waits until there are messages; returns false once the queue is empty and closed.
    pub(super) async fn ready(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            let (is_empty, is_closed) = {
                let state = self.state();
                (state.queued.is_empty(), state.closed)
            };
            match (is_empty, is_closed) {
                (false, _) => return true,
                (true, true) => return false,
                (true, false) => changed.await,
            }
        }
    }

    /// Takes the oldest messages, up to `bytes`.
    pub(super) fn take_batch(&self, bytes: usize) -> Batch {
        self.state().queued.take(bytes)
    }

    /// Closes the queue: the link was dropped, and no messages follow.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().queued.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
