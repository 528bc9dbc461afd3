//! One worker's part of the broker, as the sessions of that worker use it: plain calls, no mailbox.
//!
//! These calls and the messages of the [`RoomBroker`](super::RoomBroker) change the same state on the same thread, so
//! everything sent to a client keeps the order in which it was decided.

mod calls;
mod dispatch;
mod queries;
pub mod state;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use actix::Recipient;
use tokio::sync::oneshot;

use self::state::{ShardLimits, State};
use super::directory::Directory;
use super::fanout;
use super::joins::Joined;
use super::messages::{Interest, InterestChange, Notice, Presence, RoomsReady, Slowness};
use super::rooms::{RoomChange, SocketKey};
use crate::model::{Namespace, Room, SocketId, WorkerIndex};
use crate::outbox::{LaneId, Lanes, Offered, Packet, Share};

/// The rooms and lanes of one worker.
pub struct Shard {
    worker: WorkerIndex,
    directory: Arc<Directory>,
    pub(super) state: RefCell<State>,
}

impl Shard {
    /// The shard of `worker`, without sockets; `share` is its part of `limits.outbox_memory`.
    pub fn new(
        worker: WorkerIndex,
        directory: Arc<Directory>,
        limits: ShardLimits,
        share: Share,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            directory,
            state: RefCell::new(State::new(limits, share)),
        })
    }

    /// Which worker this is.
    pub fn worker(&self) -> WorkerIndex {
        self.worker
    }

    /// The node's directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Works on the lanes of this worker. `work` must not call the shard.
    pub fn with_lanes<T>(&self, work: impl FnOnce(&mut Lanes) -> T) -> T {
        work(&mut self.state.borrow_mut().lanes)
    }

    /// Opens a lane to a new client, whose `session` is notified of decisions about it.
    pub fn open_lane(&self, session: Recipient<Notice>) -> LaneId {
        self.state.borrow_mut().open_lane(session)
    }

    /// Closes the lane of a client that is gone.
    pub fn release_lane(&self, lane: LaneId) {
        self.state.borrow_mut().release_lane(lane);
    }

    /// Sends one packet to one client. If the queue of that client overflows, its session is notified.
    pub fn send(&self, lane: LaneId, packet: Packet) {
        let mut state = self.state.borrow_mut();
        let bytes = packet.wire().len() as u64;
        match state.lanes.offer(lane, packet) {
            Offered::Accepted => fanout::count_sent(self.directory.metrics(), 1, bytes),
            Offered::Overflowed => state.notify(lane, Notice::SlowConsumer(Slowness::Overflow)),
            Offered::Dropped | Offered::Closed => {}
        }
        state.report_overdue();
    }

    /// Adds a socket, which from now on receives events for its namespace and for its own room.
    pub fn register(&self, namespace: &Namespace, id: SocketId, lane: LaneId) -> SocketKey {
        let key = self.state.borrow_mut().rooms.register(namespace, id, lane);
        self.report_socket(namespace, id, Presence::Came);
        key
    }

    /// Removes a socket from every room.
    pub fn unregister(&self, key: SocketKey) {
        let mut state = self.state.borrow_mut();
        let Some((id, namespace)) = state.rooms.identity(key) else {
            return;
        };
        let State {
            rooms,
            acks,
            changes,
            ..
        } = &mut *state;
        acks.forget(key);
        rooms.unregister(key, changes);
        self.report_changes(&mut state);
        drop(state);
        self.report_socket(&namespace, id, Presence::Went);
    }

    /// Puts a socket into rooms, and removes from `rooms` those beyond its limit.
    ///
    /// `None` if the join is complete; otherwise the receiver fires when the bus delivers to all of the rooms.
    pub fn join(&self, key: SocketKey, rooms: &mut Vec<Room>) -> Option<oneshot::Receiver<Joined>> {
        let mut state = self.state.borrow_mut();
        let (_, namespace) = state.rooms.identity(key)?;
        rooms.retain(|room| state.join(key, room, self.directory.metrics()));
        self.report_changes(&mut state);
        state.joins.wait(&namespace, rooms)
    }

    /// Takes a socket out of rooms.
    pub fn leave(&self, key: SocketKey, rooms: &[Room]) {
        let mut state = self.state.borrow_mut();
        let State {
            rooms: index,
            changes,
            ..
        } = &mut *state;
        for room in rooms {
            index.leave(key, room, changes);
        }
        self.report_changes(&mut state);
    }

    /// Takes a socket out of all rooms but its own.
    pub fn leave_all(&self, key: SocketKey) {
        let joined = self.state.borrow().rooms.joined(key);
        self.leave(key, &joined);
    }

    /// Whether the socket is in the room.
    pub fn is_member(&self, key: SocketKey, room: &str) -> bool {
        self.state.borrow().rooms.is_member(key, room)
    }

    /// Completes the joins that waited for the bus to deliver to these rooms.
    pub(super) fn rooms_ready(&self, ready: RoomsReady) {
        let mut state = self.state.borrow_mut();
        for (namespace, room) in ready.rooms {
            state.joins.release(namespace, room, ready.degraded);
        }
    }

    /// Writes at most `budget` lanes; returns whether more are due.
    pub(super) fn flush(&self, budget: usize, flusher: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        state.lanes.set_flusher(flusher);
        let more = state.lanes.flush(budget);
        state.report_overdue();
        state.enforce_budget();
        more
    }

    /// Records the delivery times of a batch whose lanes are written.
    pub(super) fn finish_batch(&self) {
        let delivery = &self.directory.metrics().delivery_seconds;
        self.state.borrow_mut().batch.finish(delivery);
    }

    /// Notifies the bridge of rooms that appeared or vanished on this worker.
    fn report_changes(&self, state: &mut State) {
        if state.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut state.changes);
        let Some(bus) = self.directory.bus() else {
            return;
        };
        let interest = changes.into_iter().map(|change| match change {
            RoomChange::Appeared(namespace, room) => {
                state.joins.asked(namespace.clone(), room.clone());
                InterestChange::Wanted(namespace, room)
            }
            RoomChange::Vanished(namespace, room) => {
                state.joins.release(namespace.clone(), room.clone(), false);
                InterestChange::Unwanted(namespace, room)
            }
        });
        bus.interest.do_send(Interest {
            worker: self.worker,
            changes: interest.collect(),
        });
    }

    fn report_socket(&self, namespace: &Namespace, id: SocketId, presence: Presence) {
        if let Some(bus) = self.directory.bus().filter(|bus| bus.every_socket) {
            let changes = vec![InterestChange::Socket(namespace.clone(), id, presence)];
            bus.interest.do_send(Interest {
                worker: self.worker,
                changes,
            });
        }
    }
}
