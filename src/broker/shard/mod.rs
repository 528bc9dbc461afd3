//! One worker's part of the broker, as the sessions of that worker use it: plain calls, no mailbox.
//!
//! These calls and the messages of the [`RoomBroker`](super::RoomBroker) change the same state on the same thread, so
//! everything sent to a client keeps the order in which it was decided.

mod calls;
mod dispatch;
mod holds;
mod namespaces;
mod newest;
mod queries;
mod replay;
mod replays;
pub mod state;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::Recipient;
use tokio::sync::oneshot;

pub use self::holds::RoomHold;
pub use self::replay::Replay;
use self::state::{ShardLimits, State};
use super::directory::Directory;
use super::fanout;
use super::joins::Joined;
use super::lifecycle::Observer;
use super::messages::{Interest, InterestChange, Notice, QueueLimit, RoomsReady};
use super::rooms::{RoomChange, SocketKey};
use super::socket_interest::SocketInterest;
use crate::model::{
    Identity, Namespace, Position, Room, Selector, SocketChange, SocketId, WorkerIndex,
};
use crate::outbox::{LaneId, Lanes, Offered, Packet, Share};
use crate::protocol::WireFormat;

/// The rooms and lanes of one worker.
pub struct Shard {
    worker: WorkerIndex,
    directory: Arc<Directory>,
    pub(super) state: RefCell<State>,
    observers: RefCell<Vec<Rc<dyn Observer>>>,
}

impl Shard {
    /// The shard of `worker`, without sockets; `share` is its part of `limits.outbox_memory`.
    pub fn new(
        worker: WorkerIndex,
        directory: Arc<Directory>,
        limits: ShardLimits,
        share: Share,
    ) -> Rc<Self> {
        let shard = Self {
            worker,
            directory,
            state: RefCell::new(State::new(limits, share)),
            observers: RefCell::default(),
        };
        if let Some(bus) = shard.directory.bus().filter(|bus| bus.every_socket) {
            let bridge = bus.interest.clone();
            shard.observe(Rc::new(SocketInterest { worker, bridge }));
        }
        Rc::new(shard)
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
    pub fn open_lane(&self, format: WireFormat, session: Recipient<Notice>) -> LaneId {
        self.state.borrow_mut().open_lane(format, session)
    }

    /// Closes the lane of a client that is gone.
    pub fn release_lane(&self, lane: LaneId) {
        self.state.borrow_mut().release_lane(lane);
    }

    /// Sends one packet to one client. If the queue of that client overflows, its session is notified.
    pub fn send(&self, lane: LaneId, packet: Packet) {
        let mut state = self.state.borrow_mut();
        let packet = state.lanes.compressed(lane, packet);
        let bytes = packet.wire().len() as u64;
        match state.lanes.offer(lane, packet) {
            Offered::Accepted => fanout::count_sent(self.directory.metrics(), 1, bytes),
            Offered::Overflowed => state.notify(lane, Notice::SlowConsumer(QueueLimit::Client)),
            Offered::Dropped | Offered::Closed => {}
        }
        state.report_overdue();
    }

    /// Notifies the session of a lane.
    pub fn notify(&self, lane: LaneId, notice: Notice) {
        self.state.borrow().notify(lane, notice);
    }

    /// Notifies the sessions of the selected sockets of this worker.
    pub fn notify_selected(&self, selector: &Selector, notice: &Notice) {
        let mut state = self.state.borrow_mut();
        for member in state.rooms.selected(selector) {
            state.notify(member.lane, notice.clone());
        }
    }

    /// Adds an observer of the sockets of this worker, before the first of them.
    pub fn observe(&self, observer: Rc<dyn Observer>) {
        self.observers.borrow_mut().push(observer);
        self.state.borrow_mut().observed = true;
    }

    /// Adds a socket, which from now on receives events for its namespace and for its own room.
    /// `identity` is for the observers.
    pub fn register(
        &self,
        namespace: &Namespace,
        id: SocketId,
        lane: LaneId,
        identity: Option<&Rc<Identity>>,
    ) -> SocketKey {
        let mut state = self.state.borrow_mut();
        let key = state.rooms.register(namespace, id, lane);
        state.rooms.set_connected_at(key, unix_seconds());
        if state.observed {
            let identity = identity.cloned();
            state.record(key, SocketChange::Connected { identity });
            self.notify_observers(state);
        }
        key
    }

    /// Whether a socket of this worker has this id.
    pub fn has_socket(&self, namespace: &Namespace, id: SocketId) -> bool {
        self.state.borrow().rooms.find(namespace, id).is_some()
    }

    /// Notifies the observers that a socket belongs to another user.
    pub fn identified(&self, key: SocketKey, identity: &Rc<Identity>) {
        let mut state = self.state.borrow_mut();
        if state.observed {
            let identity = Rc::clone(identity);
            state.record(key, SocketChange::Identified { identity });
            self.notify_observers(state);
        }
    }

    /// Removes a socket from every room. `reason` is for the observers.
    pub fn unregister(&self, key: SocketKey, reason: &'static str) {
        let mut state = self.state.borrow_mut();
        state.unregister(key, reason);
        self.report_changes(state);
    }

    /// Puts a socket into rooms, and removes from `rooms` those beyond its limit.
    ///
    /// `None` if the join is complete; otherwise the receiver fires when the bus delivers to all of the rooms.
    pub fn join(&self, key: SocketKey, rooms: &mut Vec<Room>) -> Option<oneshot::Receiver<Joined>> {
        let mut state = self.state.borrow_mut();
        let (_, namespace) = state.rooms.identity(key)?;
        rooms.retain(|room| state.join(key, room, self.directory.metrics()));
        self.report_rooms(&mut state);
        let joined = state.joins.wait(&namespace, rooms);
        self.notify_observers(state);
        joined
    }

    /// Takes a socket out of rooms.
    pub fn leave(&self, key: SocketKey, rooms: &[Room]) {
        let mut state = self.state.borrow_mut();
        state.leave(key, rooms);
        self.report_changes(state);
    }

    /// The namespace of a socket.
    pub fn namespace_of(&self, key: SocketKey) -> Option<Namespace> {
        let identity = self.state.borrow().rooms.identity(key);
        identity.map(|(_, namespace)| namespace)
    }

    /// The rooms that a socket has joined.
    pub fn joined(&self, key: SocketKey) -> Vec<Room> {
        self.state.borrow().rooms.joined(key)
    }

    /// The position of the newest logged event that this worker has delivered: of the namespace's stream if its
    /// sessions are shared, otherwise of the logs of rooms.
    pub fn newest_position(&self, namespace: &Namespace) -> Option<Position> {
        let history = self.directory.history();
        let newest = &self.state.borrow().newest;
        match history.is_some_and(|history| history.is_shared(namespace)) {
            true => newest.of_stream(namespace),
            false => newest.of_logs(),
        }
    }

    /// The position up to which a socket was sent every logged event; `None` if there was none, or while it waits for
    /// those before.
    pub fn delivered_up_to(&self, key: SocketKey) -> Option<Position> {
        let namespace = self.namespace_of(key)?;
        let newest = self.newest_position(&namespace);
        newest.filter(|_| !self.state.borrow().replays.concerns(key))
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

    /// Notifies the bridge and the observers of everything that has changed.
    fn report_changes<'a>(&'a self, mut state: RefMut<'a, State>) {
        self.report_rooms(&mut state);
        self.notify_observers(state);
    }

    /// Notifies the bridge of rooms that appeared or vanished on this worker.
    fn report_rooms(&self, state: &mut State) {
        if state.changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut state.changes);
        if !state.holds.is_empty() {
            let holds = &state.holds;
            changes.retain(|change| !holds.contains_key(&change.name()));
        }
        let Some(bus) = self.directory.bus() else {
            return;
        };
        let interest = changes.into_iter().map(|change| match change {
            RoomChange::Appeared(namespace, room) => {
                state.joins.subscribing(namespace.clone(), room.clone());
                InterestChange::RoomAppeared(namespace, room)
            }
            RoomChange::Vanished(namespace, room) => {
                state.joins.release(namespace.clone(), room.clone(), false);
                InterestChange::RoomVanished(namespace, room)
            }
        });
        bus.interest.do_send(Interest {
            worker: self.worker,
            changes: interest.collect(),
        });
    }

    /// Notifies the observers of recorded events, if there are any. Observers may call the shard: events of such a call
    /// follow those at hand.
    fn notify_observers<'a>(&'a self, mut state: RefMut<'a, State>) {
        if state.events.is_empty() || state.notifying {
            return;
        }
        state.notifying = true;
        let observers = self.observers.borrow().clone();
        while !state.events.is_empty() {
            let events = std::mem::take(&mut state.events);
            drop(state);
            for event in &events {
                for observer in &observers {
                    observer.on_event(event);
                }
            }
            state = self.state.borrow_mut();
        }
        state.notifying = false;
    }
}

/// The Unix time in seconds, which fit into 32 bits until 2106.
fn unix_seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs().try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::random::OsRandom;
    use crate::model::{Command, NodeId, Selector, SocketEvent};
    use crate::outbox::Bounds;

    #[derive(Default)]
    struct Recorder(RefCell<Vec<SocketEvent>>);

    impl Observer for Recorder {
        fn on_event(&self, event: &SocketEvent) {
            self.0.borrow_mut().push(event.clone());
        }
    }

    /// Puts every socket that connects into a room.
    #[derive(Default)]
    struct Greeter(OnceCell<Rc<Shard>>);

    impl Observer for Greeter {
        fn on_event(&self, event: &SocketEvent) {
            if matches!(event.change, SocketChange::Connected { .. }) {
                self.0.get().unwrap().dispatch(Command::Join {
                    selector: Selector::socket(event.namespace.clone(), event.socket),
                    rooms: vec![Room::from("lobby")],
                });
            }
        }
    }

    fn shard() -> Rc<Shard> {
        let node = NodeId::random(&OsRandom);
        let directory = Directory::new(node, 1, None, Arc::new(Metrics::default()));
        let limits = ShardLimits {
            outbox: Bounds::default(),
            pending_acks: 10,
            rooms: 2,
        };
        Shard::new(WorkerIndex::default(), directory, limits, Share::default())
    }

    #[test]
    fn two_observers_receive_every_event_of_a_socket_in_order() {
        let shard = shard();
        let recorders = [Rc::new(Recorder::default()), Rc::new(Recorder::default())];
        let greeter = Rc::new(Greeter::default());
        assert!(greeter.0.set(Rc::clone(&shard)).is_ok());
        shard.observe(Rc::clone(&recorders[0]) as _);
        shard.observe(greeter);
        shard.observe(Rc::clone(&recorders[1]) as _);
        let namespace = Namespace::main();
        let socket = SocketId::random(shard.directory().node(), shard.worker(), &OsRandom);
        let lane = shard.with_lanes(|lanes| lanes.open(WireFormat::default()));
        let identity = Rc::new(Identity::default());
        let key = shard.register(&namespace, socket, lane, Some(&identity));
        let [a, b] = ["a", "b"].map(Room::from);
        // The second room is beyond the limit, the first join of the third pair is a repetition.
        let _ = shard.join(key, &mut vec![a.clone(), b.clone()]);
        let _ = shard.join(key, &mut vec![a.clone()]);
        let other = Rc::new(Identity {
            user: "other".to_owned(),
            ..Identity::default()
        });
        shard.identified(key, &other);
        shard.leave(key, &[a.clone(), b.clone()]);
        shard.dispatch(Command::Join {
            selector: Selector::everybody(namespace.clone()),
            rooms: vec![b.clone()],
        });
        shard.dispatch(Command::CloseRoom {
            namespace: namespace.clone(),
            room: b.clone(),
        });
        shard.unregister(key, "transport close");
        shard.unregister(key, "transport close");
        let lobby = Room::from("lobby");
        let expected = [
            SocketChange::Connected {
                identity: Some(identity),
            },
            SocketChange::Joined(lobby.clone()),
            SocketChange::Joined(a.clone()),
            SocketChange::Identified { identity: other },
            SocketChange::Left(a),
            SocketChange::Joined(b.clone()),
            SocketChange::Left(b),
            SocketChange::Left(lobby),
            SocketChange::Disconnected {
                reason: "transport close",
            },
        ]
        .map(|change| SocketEvent {
            namespace: namespace.clone(),
            socket,
            is_catching_up: false,
            change,
        });
        for recorder in recorders {
            assert_eq!(*recorder.0.borrow(), expected);
        }
    }
}
