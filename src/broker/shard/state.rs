//! The state of one shard.

use std::sync::Arc;

use actix::Recipient;
use hashbrown::HashMap;
use log::warn;
use tokio::sync::oneshot;

use super::newest::NewestPositions;
use super::replays::Replays;
use crate::broker::acks::Acks;
use crate::broker::batch::Batch;
use crate::broker::calls::Calls;
use crate::broker::dispatches::PendingDispatches;
use crate::broker::joins::Joins;
use crate::broker::messages::{Notice, QueueLimit};
use crate::broker::queries::Queries;
use crate::broker::rooms::{RoomChange, Rooms, SocketKey};
use crate::limits::Limit;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::{
    Handshake, Namespace, Room, Selector, SocketChange, SocketEvent, SocketId, shorten_ids,
};
use crate::outbox::{Bounds, LaneId, Lanes, Share};
use crate::protocol::WireFormat;

/// Limits that a shard enforces.
#[derive(Debug, Clone, Copy)]
pub struct ShardLimits {
    /// Bytes that may wait for one client.
    pub outbox: Bounds,
    /// `socket.max_pending_acks`: acks that one socket may owe.
    pub pending_acks: usize,
    /// `socket.max_rooms`: rooms of one socket besides its own.
    pub rooms: usize,
}

/// Everything one worker has of the broker.
pub struct State {
    pub rooms: Rooms,
    pub lanes: Lanes,
    pub acks: Acks,
    pub joins: Joins,
    /// Sockets that wait until the bus delivers the messages of their namespace.
    pub awaited_namespaces: HashMap<Namespace, Vec<oneshot::Sender<()>>>,
    pub calls: Calls,
    pub queries: Queries,
    /// Number of the next call that a session of this worker starts.
    pub next_call: u64,
    /// Commands of this turn for other workers.
    pub pending: PendingDispatches,
    pub batch: Batch,
    /// Rooms that appeared or vanished and are not reported to the bridge yet.
    pub changes: Vec<RoomChange>,
    /// Rooms that sockets will join soon, with the number of those sockets.
    pub holds: HashMap<(Namespace, Room), u32>,
    /// Logged events that are being replayed to single sockets.
    pub replays: Replays,
    /// Positions of the newest logged events that were applied.
    pub newest: NewestPositions,
    /// The handshakes of sockets, kept for other servers that fetch them.
    pub handshakes: HashMap<SocketKey, Arc<Handshake>>,
    /// Whether the sockets have an observer.
    pub observed: bool,
    /// Events of sockets that observers have not been notified of.
    pub events: Vec<SocketEvent>,
    /// Whether observers are being notified.
    pub notifying: bool,
    /// The session of each lane, by the number of the lane.
    sessions: Vec<Option<Recipient<Notice>>>,
    room_limit: usize,
}

impl State {
    /// The state of a shard without sockets.
    pub fn new(limits: ShardLimits, share: Share) -> Self {
        Self {
            rooms: Rooms::default(),
            lanes: Lanes::new(limits.outbox, share),
            acks: Acks::new(limits.pending_acks),
            joins: Joins::default(),
            awaited_namespaces: HashMap::new(),
            calls: Calls::default(),
            queries: Queries::default(),
            next_call: 0,
            pending: PendingDispatches::default(),
            batch: Batch::default(),
            changes: Vec::new(),
            holds: HashMap::new(),
            replays: Replays::default(),
            newest: NewestPositions::default(),
            handshakes: HashMap::new(),
            observed: false,
            events: Vec::new(),
            notifying: false,
            sessions: Vec::new(),
            room_limit: limits.rooms,
        }
    }

    /// Opens a lane to a new client.
    pub fn open_lane(&mut self, format: WireFormat, session: Recipient<Notice>) -> LaneId {
        let lane = self.lanes.open(format);
        if self.sessions.len() <= lane.index() {
            self.sessions.resize(lane.index() + 1, None);
        }
        self.sessions[lane.index()] = Some(session);
        lane
    }

    /// Closes a lane.
    pub fn release_lane(&mut self, lane: LaneId) {
        self.lanes.release(lane);
        if let Some(session) = self.sessions.get_mut(lane.index()) {
            *session = None;
        }
    }

    /// Puts a socket into a room; `false` if it is in as many others as it may be.
    pub fn join(&mut self, key: SocketKey, room: &Room, metrics: &Metrics) -> bool {
        let full = self.rooms.room_count(key) >= self.room_limit;
        if full && !self.rooms.is_member(key, room) {
            Limit::Rooms.counter(metrics).increment();
            static BURST: Burst = Burst::new();
            if let Some(others) = BURST.note() {
                let socket = self.rooms.identity(key).map(|(id, _)| id);
                warn!(
                    socket = socket.as_ref().map_or("", SocketId::log_name), room:% = shorten_ids(room), others;
                    "a socket does not join a room: it is in {} (socket.max_rooms)",
                    self.room_limit
                );
            }
            return false;
        }
        if self.rooms.join(key, room, &mut self.changes) && self.observed {
            self.record(key, SocketChange::Joined(room.clone()));
        }
        true
    }

    /// Takes a socket out of rooms.
    pub fn leave(&mut self, key: SocketKey, rooms: &[Room]) {
        for room in rooms {
            if self.rooms.leave(key, room, &mut self.changes) && self.observed {
                self.record(key, SocketChange::Left(room.clone()));
            }
        }
    }

    /// Events of a shared namespace follow whose positions are before those that were replayed.
    pub fn begin_stream_anew(&mut self, namespace: &Namespace) {
        let rooms = &self.rooms;
        self.replays.begin_stream_anew(|socket| {
            let socket = rooms.identity(socket);
            socket.is_some_and(|(_, of_socket)| of_socket == *namespace)
        });
    }

    /// Takes every selected socket out of rooms.
    pub fn leave_selected(&mut self, selector: &Selector, rooms: &[Room]) {
        for member in self.rooms.selected(selector) {
            self.leave(member.socket, rooms);
        }
    }

    /// Removes a socket.
    pub fn unregister(&mut self, key: SocketKey, reason: &'static str) {
        if self.observed {
            for room in self.rooms.joined(key) {
                self.record(key, SocketChange::Left(room));
            }
            self.record(key, SocketChange::Disconnected { reason });
        }
        self.acks.forget(key);
        self.replays.forget(key);
        self.handshakes.remove(&key);
        self.rooms.unregister(key, &mut self.changes);
    }

    /// Records an event for the observers.
    #[cold]
    pub fn record(&mut self, key: SocketKey, change: SocketChange) {
        if let Some((socket, namespace)) = self.rooms.identity(key) {
            self.events.push(SocketEvent {
                namespace,
                socket,
                is_catching_up: self.replays.continues_session(key),
                change,
            });
        }
    }

    /// Notifies the session of a lane.
    pub fn notify(&self, lane: LaneId, notice: Notice) {
        if let Some(Some(session)) = self.sessions.get(lane.index()) {
            session.do_send(notice);
        }
    }

    /// Notifies the sessions whose queues are above the soft limit.
    #[inline]
    pub fn report_overdue(&mut self) {
        for lane in self.lanes.take_overdue() {
            self.notify(lane, Notice::Overdue);
        }
    }

    /// Ends sessions while the lanes of the node hold more than `limits.outbox_memory`.
    pub fn enforce_budget(&mut self) {
        for lane in self.lanes.keep_to_budget() {
            self.notify(lane, Notice::SlowConsumer(QueueLimit::Node));
        }
    }

    /// Notifies the session of a socket that a command disconnects it; with `close`, all sockets of that session.
    pub fn notify_disconnect(&self, socket: SocketKey, lane: LaneId, close: bool) {
        if let Some((socket, namespace)) = self.rooms.identity(socket) {
            self.notify(
                lane,
                Notice::Disconnect {
                    namespace,
                    socket,
                    close,
                },
            );
        }
    }
}
