//! The state of an upstream connection, shared by its owner's handle and its task.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::events::AckRequest;
use super::pool::Pool;
use crate::clock::now;
use crate::model::{AckId, Payload};
use crate::protocol::client::Client;

thread_local! {
    static NEXT_ACK_REQUEST: Cell<u64> = const { Cell::new(0) };
}

/// Shared by the handle and the task.
pub(super) struct Shared {
    pub(super) state: RefCell<State>,
    pub(super) pool: Arc<Pool>,
}

/// What changes.
pub(super) struct State {
    pub(super) client: Client,
    /// Bytes the task has taken from `client` and not written yet.
    pub(super) unwritten: usize,
    /// Pending acks of the upstream, by the id of the packet, with the ids given to `emit`.
    pending_acks: VecDeque<(u64, AckId)>,
    /// Acks the upstream requested, with the ids of its packets.
    ack_requests: VecDeque<(AckRequest, AckId)>,
    pub(super) last_used: Instant,
    /// Set once the connection is to be closed, to whether the namespace is left first.
    pub(super) close_requested: Option<bool>,
    ended: bool,
    task: Option<Waker>,
    waiting_for_room: Vec<Waker>,
}

impl Shared {
    pub(super) fn new(client: Client, pool: Arc<Pool>) -> Self {
        Self {
            state: RefCell::new(State {
                client,
                unwritten: 0,
                pending_acks: VecDeque::new(),
                ack_requests: VecDeque::new(),
                last_used: now(),
                close_requested: None,
                ended: false,
                task: None,
                waiting_for_room: Vec::new(),
            }),
            pool,
        }
    }

    /// Emits an event, unless the connection has ended or is closing; with an `ack` its ack is awaited. Returns whether
    /// it was emitted.
    pub(super) fn emit(&self, payload: &Payload, ack: Option<AckId>) -> bool {
        let mut state = self.state.borrow_mut();
        if state.has_ended() {
            return false;
        }
        let id = state.client.emit(payload, ack.is_some());
        state.pending_acks.extend(id.zip(ack));
        self.drop_oldest(&mut state.pending_acks);
        state.touch();
        true
    }

    /// Records that the upstream requested an ack by packet id `id`.
    pub(super) fn add_ack_request(&self, state: &mut State, id: AckId) -> AckRequest {
        let request = AckRequest(NEXT_ACK_REQUEST.replace(NEXT_ACK_REQUEST.get() + 1));
        state.ack_requests.push_back((request, id));
        self.drop_oldest(&mut state.ack_requests);
        request
    }

    fn drop_oldest<T>(&self, acks: &mut VecDeque<T>) {
        if acks.len() > self.pool.settings().max_pending_acks {
            acks.pop_front();
            self.pool.metrics().acks_dropped_total.increment();
        }
    }

    /// Whether more bytes are queued than `app.upstream.queue_limit`.
    pub(super) fn is_full(&self, state: &State) -> bool {
        !state.ended && state.queued() > self.pool.settings().queue_limit
    }

    /// Ready when the connection is not full.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if !self.is_full(&state) {
            return Poll::Ready(());
        }
        state.waiting_for_room.push(cx.waker().clone());
        Poll::Pending
    }

    /// Wakes the tasks that wait for the connection to be writable, if it is.
    pub(super) fn wake_if_writable(&self, state: &mut State) {
        if !self.is_full(state) {
            state.waiting_for_room.drain(..).for_each(Waker::wake);
        }
    }
}

impl State {
    /// Acknowledges an event of the upstream. Only the first ack for a request is sent.
    pub(super) fn ack(&mut self, request: AckRequest, payload: &Payload) {
        let requests = &mut self.ack_requests;
        let position = requests.iter().position(|(known, _)| *known == request);
        if let Some((_, id)) = position.and_then(|position| requests.remove(position)) {
            self.client.ack(&id, payload);
            self.touch();
        }
    }

    /// Removes a pending ack by the id of the packet; returns the id given to `emit`. Upstreams may acknowledge ids
    /// that are not pending.
    pub(super) fn take_pending_ack(&mut self, id: u64) -> Option<AckId> {
        let acks = &mut self.pending_acks;
        let position = acks.iter().position(|(pending, _)| *pending == id);
        position
            .and_then(|position| acks.remove(position))
            .map(|(_, ack)| ack)
    }

    /// Bytes queued for the upstream.
    pub(super) fn queued(&self) -> usize {
        self.client.outgoing_bytes() + self.unwritten
    }

    /// Whether no ack is pending in either direction.
    pub(super) fn has_no_acks(&self) -> bool {
        self.pending_acks.is_empty() && self.ack_requests.is_empty()
    }

    /// Whether nothing is in progress.
    pub(super) fn is_quiet(&self) -> bool {
        self.queued() == 0 && self.has_no_acks()
    }

    /// Whether the connection has ended or is closing, so that emitted events are dropped.
    pub(super) fn has_ended(&self) -> bool {
        self.ended || self.close_requested.is_some()
    }

    /// Requests the task to close the connection.
    pub(super) fn request_close(&mut self, leave_namespace: bool) {
        self.close_requested.get_or_insert(leave_namespace);
        self.wake_task();
    }

    /// Whether the connection is to be closed now, that is if no event waits for the upstream to accept the connection;
    /// the value is whether to leave the namespace first.
    pub(super) fn close_now(&self) -> Option<bool> {
        self.close_requested.filter(|_| !self.client.has_held())
    }

    /// Records the connection as used and wakes its task, which has something to write.
    fn touch(&mut self) {
        self.last_used = now();
        self.wake_task();
    }

    /// Sets the waker of the task.
    pub(super) fn set_task(&mut self, waker: &Waker) {
        self.task = Some(waker.clone());
    }

    fn wake_task(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// Marks the connection as ended.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.pending_acks.clear();
        self.ack_requests.clear();
        self.waiting_for_room.drain(..).for_each(Waker::wake);
    }
}
