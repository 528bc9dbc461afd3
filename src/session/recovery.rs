//! Sessions that can be recovered: opened before the CONNECT response, replayed after it (`docs/delivery.md`).

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use hashbrown::HashSet;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::context::LaneCapacity;
use super::handler::Invocation;
use super::replay_pace::{ReplayPace, next_part};
use super::state::Session;
use crate::app::{Capacity, Effects};
use crate::broker::{Joined, Replay, SocketKey};
use crate::history::LogName;
use crate::metrics::labels::Label;
use crate::model::{Emit, Namespace, Payload, Position, Room, SocketId};
use crate::protocol::ServerPacket;
use crate::protocol::socket_io::state::Slot;
use crate::recovery::{
    Missed, MissedEvents, MissedReader, NewSocket, OpenedSession, Recovery, SessionGap, Tracking,
};

/// The rooms of a session that continues, and what holds its live events until it has received what it missed.
pub(super) struct Continuing {
    replay: Replay,
    confirmed: Option<oneshot::Receiver<Joined>>,
    /// The rooms that it is no longer in, because they are beyond `socket.max_rooms`.
    beyond: Vec<Room>,
}

impl Session {
    /// Connects a socket that is accepted. If its client takes part in recovery, its session is opened first.
    pub(super) fn open_session(
        &mut self,
        invocation: Invocation,
        effects: Effects,
        ctx: &mut Context<Self>,
    ) {
        let tracker = self.worker.tracker().cloned();
        let namespace = self.connection.namespace(invocation.slot).cloned();
        let user = self.identity(invocation.slot);
        let user = user.map(|identity| identity.user.clone());
        let user_rooms = self.worker.user_rooms().cloned();
        let socket = self.socket_mut(invocation.slot);
        let request = socket.and_then(|socket| {
            let request = socket.recovery.take()?;
            socket.busy = true;
            Some(request)
        });
        let (Some(request), Some(tracker), Some(namespace)) = (request, tracker, namespace) else {
            return self.register_socket(invocation, effects, None, ctx);
        };
        let id = invocation.socket;
        let socket = NewSocket {
            namespace,
            user,
            user_rooms,
            id,
        };
        let recovery = Arc::clone(tracker.recovery());
        let opened = async move { recovery.open(*request, socket).await };
        ctx.spawn(opened.into_actor(self).map(move |opened, session, ctx| {
            // The client may have left the namespace meanwhile.
            let socket = session.socket(invocation.slot).map(|socket| socket.id);
            if socket == Some(id) && !session.has_ended() {
                session.register_socket(invocation, effects, Some(opened), ctx);
            }
        }));
    }

    /// Whether the query of the connection requests that its sessions can be recovered.
    pub(super) fn recovers_by_query(&self) -> bool {
        let credentials = self.credentials.as_deref();
        let value = credentials.and_then(|kept| kept.handshake.query_value("recover"));
        value.as_deref() == Some("1")
    }

    /// Begins to keep the record of a session, and puts a socket that continues it into its rooms and into those of the
    /// ids that it had before. From now on, logged events wait for those that it missed.
    pub(super) fn begin_session(
        &mut self,
        key: SocketKey,
        socket: SocketId,
        opened: &OpenedSession,
    ) -> Option<Continuing> {
        if opened.tracking == Tracking::Appended {
            self.connection.append_positions();
            self.use_format();
        }
        let tracker = self.worker.tracker()?;
        tracker.track(socket, opened);
        opened.missed.as_ref()?;
        let shard = &self.worker.shard;
        let replay = shard.replay(key, None)?;
        let record = &opened.record;
        // A server may let its clients join a room with the id of another socket, which must not receive calls for that
        // socket. These only reach the worker of its id.
        let is_of_another = |id: SocketId| {
            shard.has_socket(&record.namespace, id) && !tracker.has_session(id, opened.pid)
        };
        let former = record.sockets.iter().copied();
        let former = former.filter(|id| *id != socket && !is_of_another(*id));
        let former = former.map(|id| Room::from(id.as_str()));
        let rooms = record.rooms.iter().map(|(room, _)| room.clone());
        // Those of its former ids first: they do not depend on what its app allows.
        let all: Vec<Room> = former.chain(rooms).collect();
        let mut joined = all.clone();
        let confirmed = shard.join(key, &mut joined);
        let joined = joined.into_iter().collect::<HashSet<Room>>();
        let beyond = all.into_iter().filter(|room| !joined.contains(room));
        let beyond = beyond.filter(|room| SocketId::parse(room).is_none());
        let beyond: Vec<Room> = beyond.collect();
        if !beyond.is_empty() {
            tracker.lose_rooms(socket, &beyond);
        }
        Some(Continuing {
            replay,
            confirmed,
            beyond,
        })
    }

    /// Sends a client its session, then what it missed.
    pub(super) fn send_session(
        &self,
        (slot, key, socket): (Slot, SocketKey, SocketId),
        opened: OpenedSession,
        continuing: Option<Continuing>,
        ctx: &mut Context<Self>,
    ) {
        let Some(recovery) = self.worker.tracker().map(|it| Arc::clone(it.recovery())) else {
            return;
        };
        let beyond = continuing.as_ref().map(|it| &*it.beyond);
        let beyond = beyond.filter(|rooms| !rooms.is_empty()).map(beyond_body);
        let window = u64::try_from(recovery.window().as_millis()).unwrap_or(u64::MAX);
        let body = json!({
            "recovered": opened.missed.is_some(),
            "pid": opened.pid.as_str(),
            "offset": opened.offset.map(|offset| offset.to_string()),
            "window_ms": window,
            "gap": opened.gap.as_ref().map(gap_body).or(beyond),
        });
        self.send_at(slot, "roomwire:session", &[body], opened.offset);
        if opened.tracking == Tracking::Offsets {
            let pid = opened.pid.as_str().to_owned();
            Self::send_offsets(slot, socket, (pid, opened.offset), ctx, &recovery);
        }
        let (Some(missed), Some(continuing)) = (opened.missed, continuing) else {
            return;
        };
        let replaying = ReplayToSocket {
            recovery,
            namespace: opened.record.namespace,
            key,
            replay: continuing.replay,
            capacity: LaneCapacity {
                shard: Rc::clone(&self.worker.shard),
                lane: self.lane,
            },
            pace: Rc::clone(&self.worker.replay_pace),
            logs: opened
                .record
                .rooms
                .into_iter()
                .map(|(room, _)| room)
                .collect(),
        };
        let replayed = replaying.run(missed, continuing.confirmed);
        ctx.spawn(replayed.into_actor(self).map(move |gap, session, _ctx| {
            let current = session.socket(slot).map(|it| it.id) == Some(socket);
            if let (Some(gap), true) = (gap, current) {
                session.send_at(slot, "roomwire:gap", &[gap_body(&gap)], None);
            }
        }));
    }

    /// Sends an event of the node itself with a position.
    fn send_at(&self, slot: Slot, event: &str, arguments: &[Value], position: Option<Position>) {
        let arguments: Vec<String> = arguments.iter().map(Value::to_string).collect();
        let payload = Payload::event(event, arguments.iter().map(String::as_str));
        if let Some(namespace) = self.connection.namespace(slot) {
            self.send_packet(&ServerPacket::Event {
                namespace,
                ack_id: None,
                payload: &payload,
                position,
            });
        }
    }

    /// Sends a client that follows its position by itself where it is, whenever that has changed.
    fn send_offsets(
        slot: Slot,
        socket: SocketId,
        (pid, sent): (String, Option<Position>),
        ctx: &mut Context<Self>,
        recovery: &Arc<Recovery>,
    ) {
        let recovery = Arc::clone(recovery);
        ctx.run_later(recovery.offset_interval(), move |session, ctx| {
            let current = session.socket(slot).filter(|it| it.id == socket);
            let Some(key) = current.and_then(|it| it.key) else {
                return;
            };
            let shard = &session.worker.shard;
            let reached = shard.delivered_up_to(key).or(sent);
            if reached != sent {
                let offset = reached.map(|it| it.to_string());
                let arguments = [json!(pid), json!(offset)];
                session.send_at(slot, "roomwire:offset", &arguments, None);
            }
            Self::send_offsets(slot, socket, (pid, reached), ctx, &recovery);
        });
    }
}

/// The gap of a session that continues without some of its rooms.
fn beyond_body(rooms: &[Room]) -> Value {
    let rooms: Vec<&str> = rooms.iter().map(|room| room.as_str()).collect();
    json!({"reason": "rooms", "room": rooms.first(), "rooms": rooms})
}

fn gap_body(gap: &SessionGap) -> Value {
    let reason = Label::index(gap.reason);
    json!({
        "reason": crate::metrics::labels::RecoveryResult::VALUES[reason],
        "room": gap.room.as_ref().map(|room| room.as_str()),
    })
}

/// Replays what a session missed.
struct ReplayToSocket {
    recovery: Arc<Recovery>,
    namespace: Namespace,
    key: SocketKey,
    replay: Replay,
    capacity: LaneCapacity,
    pace: Rc<ReplayPace>,
    /// The rooms whose logs are read.
    logs: Vec<Room>,
}

impl ReplayToSocket {
    /// Replays until the session receives everything live; returns what it cannot receive.
    async fn run(
        mut self,
        missed: Missed,
        confirmed: Option<oneshot::Receiver<Joined>>,
    ) -> Option<SessionGap> {
        let Missed {
            events,
            mut until,
            mut reader,
            held,
        } = missed;
        self.deliver(&reader, events).await;
        drop(held);
        if let Some(confirmed) = confirmed {
            // What was published before the bus delivers is read from the logs.
            let _ = confirmed.await;
        }
        loop {
            self.add_rooms(&mut reader, until);
            match reader.read(self.recovery.logs()).await {
                Ok((events, now)) => {
                    self.deliver(&reader, events).await;
                    until = until.max(now);
                }
                Err(problem) => return Some(problem.into()),
            }
            let position = reader.epoch().map(|epoch| Position { epoch, n: until });
            if self.replay.finish(position) {
                return None;
            }
        }
    }

    /// Also reads the logs of rooms that the socket has joined since.
    fn add_rooms(&mut self, reader: &mut MissedReader, after: u64) {
        for room in self.capacity.shard.joined(self.key) {
            if !self.logs.contains(&room) && SocketId::parse(&room).is_none() {
                self.logs.push(room.clone());
                reader.add(LogName::of_room(self.namespace.clone(), room), after);
            }
        }
    }

    /// Sends events as fast as the client reads, and at the pace of all replays of the worker.
    async fn deliver(&self, reader: &MissedReader, events: MissedEvents) {
        let Some(epoch) = reader.epoch() else { return };
        let mut delivered = 0;
        let mut events = events.into_iter();
        let burst = self.capacity.burst();
        let size = |(_, emit): &(u64, Emit)| emit.payload.size();
        while let Some((part, cost)) = next_part(&mut events, burst, size) {
            poll_fn(|cx| self.capacity.poll_capacity(cx)).await;
            self.pace.permit(cost).await;
            for (n, emit) in part {
                let position = Position { epoch, n };
                delivered += u64::from(self.replay.deliver(&emit, position));
            }
        }
        let events = &self.recovery.metrics().recovery_events_total;
        events.add(delivered);
    }
}
