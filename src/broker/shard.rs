//! One worker's part of the broker, as the sessions of that worker use it: plain calls, no mailbox.
//!
//! Calls and the [`RoomBroker`](super::RoomBroker)'s messages meet here, so everything sent to a client from
//! its own thread keeps the order in which it was decided. The lanes are this worker's too.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use actix::Recipient;
use hashbrown::HashMap;
use log::warn;
use tokio::sync::oneshot;

use super::acks::Acks;
use super::batch::Batch;
use super::directory::Directory;
use super::fanout;
use super::joins::{Joined, Joins};
use super::messages::{
    Dispatch, DispatchAll, Interest, InterestChange, Notice, Presence, Publish, RoomsReady,
    Slowness,
};
use super::questions::{Asking, own_socket};
use super::rooms::{RoomChange, Rooms, SocketKey};
use crate::limits::Limit;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::Origin;
use crate::model::{Command, Emit, Namespace, Room, Selector, SocketId, WorkerIndex};
use crate::outbox::{Bounds, LaneId, Lanes, Offered, Packet, Share};

/// What a command weighs besides its payload, when work piles up.
const COMMAND_OVERHEAD: usize = 256;

/// Limits that the broker enforces.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that may wait for one client.
    pub outbox: Bounds,
    /// Unanswered questions to one socket.
    pub pending_acks: usize,
    /// Rooms of one socket, its own not counted.
    pub rooms: usize,
}

/// The rooms and lanes of one worker.
pub struct Shard {
    pub(super) worker: WorkerIndex,
    pub(super) directory: Arc<Directory>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) rooms: Rooms,
    pub(super) lanes: Lanes,
    pub(super) acks: Acks,
    joins: Joins,
    /// The session behind each lane, by lane.
    notices: HashMap<LaneId, Recipient<Notice>>,
    pub(super) questions: HashMap<u64, Asking>,
    pub(super) next_question: u64,
    /// Dispatches of this turn for other workers, by worker.
    outgoing: Vec<Vec<Dispatch>>,
    /// When the first of those was decided.
    outgoing_since: Option<Instant>,
    pub(super) batch: Batch,
    changes: Vec<RoomChange>,
    most_rooms: usize,
}

impl Shard {
    /// The shard of `worker`, without sockets; `share` is its part of `limits.outbox_memory`.
    pub fn new(
        worker: WorkerIndex,
        directory: Arc<Directory>,
        limits: Limits,
        share: Share,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            directory,
            state: RefCell::new(State {
                rooms: Rooms::default(),
                lanes: Lanes::new(limits.outbox, share),
                acks: Acks::new(limits.pending_acks),
                joins: Joins::default(),
                notices: HashMap::new(),
                questions: HashMap::new(),
                next_question: 0,
                outgoing: Vec::new(),
                outgoing_since: None,
                batch: Batch::default(),
                changes: Vec::new(),
                most_rooms: limits.rooms,
            }),
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

    /// Opens a lane to a new client; `session` hears what the broker decides about it.
    pub fn open_lane(&self, session: Recipient<Notice>) -> LaneId {
        let mut state = self.state.borrow_mut();
        let lane = state.lanes.open();
        state.notices.insert(lane, session);
        lane
    }

    /// The client is gone.
    pub fn release_lane(&self, lane: LaneId) {
        let mut state = self.state.borrow_mut();
        state.lanes.release(lane);
        state.notices.remove(&lane);
    }

    /// Sends one packet to one client; a client that does not read is reported to its session.
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

    /// Adds a socket: from now on it hears its namespace and the room of its id.
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

    /// Puts a socket into rooms; those beyond its limit are taken out of `rooms`. `None`: done. Otherwise the
    /// receiver fires when the bus delivers to all of them.
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

    /// Removes a socket from all rooms but its own.
    pub fn leave_all(&self, key: SocketKey) {
        let joined = self.state.borrow().rooms.joined(key);
        self.leave(key, &joined);
    }

    /// Whether the socket is in the room.
    pub fn is_member(&self, key: SocketKey, room: &str) -> bool {
        self.state.borrow().rooms.is_member(key, room)
    }

    /// A command of this node: applied on every worker it may concern, and published.
    pub fn dispatch(&self, command: Command) {
        let commands = &self.directory.metrics().commands_total;
        commands.of(Origin::Local).increment();
        let since = self.state.borrow().batch.since();
        let ack_id = match &command {
            Command::Emit(Emit { ack: Some(_), .. }) => Some(self.directory.next_ack_id()),
            _ => None,
        };
        let weight = weight(&command);
        let owner = own_socket(&command, &self.directory);
        let dispatch = Dispatch {
            command: Arc::new(command),
            ack_id,
            from_bus: false,
            reports: ack_id.is_some(),
        };
        for index in 0..self.directory.shards().len() {
            if index == self.worker.get() || owner.is_some_and(|owner| owner.get() != index) {
                continue;
            }
            self.directory.backlog_grew(index, weight);
            self.stage_dispatch(index, dispatch.clone(), since);
        }
        if owner.is_none_or(|owner| owner == self.worker) {
            self.carry_out(&dispatch, since);
        }
        if let (Some(bus), None) = (self.directory.bus(), owner) {
            self.directory
                .backlog_grew(self.directory.bridge_index(), weight);
            bus.publish.do_send(Publish(dispatch.command));
        }
    }

    /// Keeps a dispatch for another worker until the end of this turn, so that a burst crosses threads once.
    fn stage_dispatch(&self, worker: usize, dispatch: Dispatch, since: Instant) {
        let mut state = self.state.borrow_mut();
        state.outgoing_since.get_or_insert(since);
        if state.outgoing.len() <= worker {
            state.outgoing.resize_with(worker + 1, Vec::new);
        }
        state.outgoing[worker].push(dispatch);
        state.lanes.wake_flusher();
    }

    /// Sends other workers what was staged for them.
    pub(super) fn send_dispatches(&self) {
        let mut state = self.state.borrow_mut();
        let Some(since) = state.outgoing_since.take() else {
            return;
        };
        for (dispatches, shard) in state.outgoing.iter_mut().zip(self.directory.shards()) {
            if !dispatches.is_empty() {
                let dispatches = std::mem::take(dispatches);
                shard.do_send(DispatchAll { dispatches, since });
            }
        }
    }

    /// Done by the actor with what other workers and the bridge sent.
    pub(super) fn receive(&self, dispatch: &Dispatch, since: Instant) {
        self.directory
            .backlog_shrank(self.worker.get(), weight(&dispatch.command));
        self.carry_out(dispatch, since);
        let joined = dispatch.from_bus && matches!(&*dispatch.command, Command::Join { .. });
        if let (true, Some(bus)) = (joined, self.directory.bus()) {
            bus.interest.do_send(Interest {
                worker: self.worker,
                changes: vec![InterestChange::PeerJoined],
            });
        }
    }

    /// Writes at most `budget` lanes; returns whether more are due.
    pub(super) fn flush(&self, budget: usize, flusher: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        state.lanes.set_flusher(flusher);
        let more = state.lanes.flush(budget);
        state.report_overdue();
        state.keep_to_budget();
        more
    }

    /// Everything staged is written.
    pub(super) fn count_batch(&self) {
        let delivery = &self.directory.metrics().delivery_seconds;
        self.state.borrow_mut().batch.finish(delivery);
    }

    /// Returns how many sockets were asked for an answer.
    pub(super) fn apply(&self, dispatch: &Dispatch, since: Instant) -> u64 {
        let mut state = self.state.borrow_mut();
        let mut asked = 0;
        match &*dispatch.command {
            Command::Emit(emit) => {
                let accepted =
                    fanout::emit(&mut state, emit, dispatch.ack_id, since, &self.directory);
                asked = dispatch.ack_id.map_or(0, |_| accepted);
            }
            Command::Join { selector, rooms } => {
                for member in state.rooms.selected(selector) {
                    for room in rooms {
                        state.join(member.socket, room, self.directory.metrics());
                    }
                }
            }
            Command::Leave { selector, rooms } => state.leave(selector, rooms),
            Command::CloseRoom { namespace, room } => {
                let everybody = Selector::room(namespace.clone(), room.clone());
                state.leave(&everybody, std::slice::from_ref(room));
            }
            Command::Disconnect { selector, close } => {
                for member in state.rooms.selected(selector) {
                    state.kick(member.socket, member.lane, *close);
                }
            }
        }
        self.report_changes(&mut state);
        asked
    }

    pub(super) fn rooms_ready(&self, ready: RoomsReady) {
        let mut state = self.state.borrow_mut();
        for (namespace, room) in ready.rooms {
            state.joins.release(namespace, room, ready.degraded);
        }
    }

    /// Tells the bridge which rooms appeared or vanished on this worker.
    fn report_changes(&self, state: &mut State) {
        if state.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut state.changes);
        let Some(bus) = self.directory.bus() else {
            return;
        };
        let mut news = Vec::with_capacity(changes.len());
        for change in changes {
            news.push(match change {
                RoomChange::Appeared(namespace, room) => {
                    state.joins.asked(namespace.clone(), room.clone());
                    InterestChange::Wanted(namespace, room)
                }
                RoomChange::Vanished(namespace, room) => {
                    state.joins.release(namespace.clone(), room.clone(), false);
                    InterestChange::Unwanted(namespace, room)
                }
            });
        }
        bus.interest.do_send(Interest {
            worker: self.worker,
            changes: news,
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

impl State {
    /// Puts a socket into a room; false if it is in as many others as it may be.
    fn join(&mut self, key: SocketKey, room: &Room, metrics: &Metrics) -> bool {
        let full = self.rooms.room_count(key) >= self.most_rooms;
        if full && !self.rooms.is_member(key, room) {
            Limit::Rooms.counter(metrics).increment();
            static BURST: Burst = Burst::new();
            if let Some(others) = BURST.note() {
                let socket = self.rooms.identity(key).map(|(id, _)| id);
                warn!(
                    socket = socket.as_ref().map_or("", SocketId::as_str), room:%, others;
                    "a socket does not join a room: it is in {} (socket.max_rooms)",
                    self.most_rooms
                );
            }
            return false;
        }
        self.rooms.join(key, room, &mut self.changes);
        true
    }

    /// Takes every selected socket out of rooms.
    fn leave(&mut self, selector: &Selector, rooms: &[Room]) {
        for member in self.rooms.selected(selector) {
            for room in rooms {
                self.rooms.leave(member.socket, room, &mut self.changes);
            }
        }
    }

    /// Notifies the session of a lane.
    pub(super) fn notify(&self, lane: LaneId, notice: Notice) {
        if let Some(session) = self.notices.get(&lane) {
            session.do_send(notice);
        }
    }

    /// Notifies the sessions whose queues are above the soft limit.
    #[inline]
    pub(super) fn report_overdue(&mut self) {
        for lane in self.lanes.take_overdue() {
            self.notify(lane, Notice::Overdue);
        }
    }

    /// Ends sessions while the lanes of the node hold more than `limits.outbox_memory`.
    pub(super) fn keep_to_budget(&mut self) {
        for lane in self.lanes.keep_to_budget() {
            self.notify(lane, Notice::SlowConsumer(Slowness::Memory));
        }
    }

    fn kick(&self, socket: SocketKey, lane: LaneId, close: bool) {
        let identity = self.rooms.identity(socket);
        if let (Some((socket, namespace)), Some(session)) = (identity, self.notices.get(&lane)) {
            session.do_send(Notice::Kick {
                namespace,
                socket,
                close,
            });
        }
    }
}

/// What a command weighs in bytes while it waits for a shard.
pub fn weight(command: &Command) -> usize {
    match command {
        Command::Emit(emit) => emit.payload.size() + COMMAND_OVERHEAD,
        _ => COMMAND_OVERHEAD,
    }
}
