//! A replay of logged events to one socket.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::replays::ReplayPhase;
use super::state::State;
use crate::broker::fanout;
use crate::broker::messages::{Dispatch, ReachReport};
use crate::broker::rooms::SocketKey;
use crate::clock;
use crate::model::{Command, Emit, Namespace, Position, Room, Selector, SocketId};

/// Replays events to a socket. Dropping it delivers what was withheld and still kept.
pub struct Replay {
    shard: Rc<Shard>,
    number: u64,
    socket: SocketKey,
    id: SocketId,
    namespace: Namespace,
    /// It replays what a client requested of the log of a room.
    of_room: bool,
}

impl Shard {
    /// Begins a replay of the log of a room, or of all logs, to a socket; `None` if the socket is gone. From now on the
    /// socket receives logged events of that room only through the replay.
    pub fn replay(self: &Rc<Self>, socket: SocketKey, room: Option<Room>) -> Option<Replay> {
        let mut state = self.state.borrow_mut();
        let (id, namespace) = state.rooms.identity(socket)?;
        let of_room = room.is_some();
        let number = state.replays.begin(socket, room);
        Some(Replay {
            shard: Rc::clone(self),
            number,
            socket,
            id,
            namespace,
            of_room,
        })
    }
}

impl Replay {
    /// Sends the socket a logged event, unless the event excepts it. Returns whether it was sent.
    pub fn deliver(&self, emit: &Emit, position: Position) -> bool {
        let mut state = self.shard.state.borrow_mut();
        self.deliver_in(&mut state, emit, position)
    }

    fn deliver_in(&self, state: &mut State, emit: &Emit, position: Position) -> bool {
        let exists = state.rooms.find(&self.namespace, self.id) == Some(self.socket);
        let is_excepted = |room: &Room| state.rooms.is_member(self.socket, room);
        if !exists || emit.to.except.iter().any(is_excepted) {
            return false;
        }
        // A position stands for everything before it in all logs. An event from the past of a room would set a client back
        // that resumes after its last position; one that is newer than what was delivered live would lead it past events
        // of other rooms that are still on their way.
        let position = Some(position).filter(|_| !self.of_room);
        let to = Selector::socket(self.namespace.clone(), self.id);
        let emit = Emit { to, ..emit.clone() };
        let dispatch = Dispatch {
            command: Arc::new(Command::Emit(emit.clone())),
            ack_id: None,
            from_bus: false,
            reports: ReachReport::Nothing,
            position,
        };
        let paused = state.replays.pause(self.socket);
        fanout::emit(state, &emit, &dispatch, clock::now(), &self.shard.directory);
        state.replays.resume(self.socket, paused);
        true
    }

    /// Ends the replay, after the events up to `last` were delivered: delivers the withheld events after it. Returns
    /// `false`, and the replay goes on, if the log must be read again because there were too many.
    pub fn finish(&self, last: Option<Position>) -> bool {
        let mut state = self.shard.state.borrow_mut();
        let Some(phase) = state.replays.phase(self.socket, self.number) else {
            return true;
        };
        let ReplayPhase::Withholding { events, dropped } = phase else {
            return true;
        };
        let is_delivered = |position: &Position| {
            last.is_some_and(|last| last.epoch == position.epoch && position.n <= last.n)
        };
        if dropped
            .as_ref()
            .is_some_and(|dropped| !is_delivered(dropped))
        {
            return false;
        }
        let events = std::mem::take(events);
        let newest = events.back().map(|(position, _)| *position);
        let newest = newest.filter(|newest| !is_delivered(newest)).or(last);
        match newest {
            Some(newest) => *phase = ReplayPhase::Finished(newest),
            None => state.replays.end(self.socket, self.number),
        }
        for (position, command) in events {
            if let (false, Command::Emit(emit)) = (is_delivered(&position), &*command) {
                self.deliver_in(&mut state, emit, position);
            }
        }
        true
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let mut state = self.shard.state.borrow_mut();
        let events = match state.replays.phase(self.socket, self.number) {
            Some(ReplayPhase::Withholding { events, .. }) => std::mem::take(events),
            _ => return,
        };
        state.replays.end(self.socket, self.number);
        for (position, command) in events {
            if let Command::Emit(emit) = &*command {
                self.deliver_in(&mut state, emit, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Directory, ShardLimits};
    use crate::model::random::OsRandom;
    use crate::model::{Epoch, NodeId, Payload, WorkerIndex};
    use crate::outbox::{Bounds, Share};
    use crate::protocol::WireFormat;
    use crate::protocol::server_packet::Positions;

    /// What a client with positions receives of an event that is newer than everything delivered live.
    fn replayed(room: Option<Room>, position: Position) -> String {
        let node = NodeId::random(&OsRandom);
        let limits = ShardLimits {
            outbox: Bounds {
                soft: 1000,
                hard: 2000,
            },
            pending_acks: 1,
            rooms: 1,
        };
        let directory = Directory::new(node, 1, None, Arc::default());
        let shard = Shard::new(WorkerIndex::default(), directory, limits, Share::default());
        let namespace = Namespace::main();
        let id = SocketId::random(node, WorkerIndex::default(), &OsRandom);
        let format = WireFormat {
            positions: Positions::Appended,
            ..WireFormat::default()
        };
        let lane = shard.with_lanes(|lanes| lanes.open(format));
        let key = shard.register(&namespace, id, lane, None);
        let emit = Emit {
            to: Selector::room(namespace, Room::from("r")),
            payload: Payload::event("e", ["1"]),
            volatile: false,
            ack: None,
            conflate: None,
        };
        assert!(shard.replay(key, room).unwrap().deliver(&emit, position));
        shard.with_lanes(|lanes| {
            let part = lanes.front(lane).unwrap().parts().next().unwrap();
            String::from_utf8(part.content.to_vec()).unwrap()
        })
    }

    #[test]
    fn what_a_join_requested_does_not_lead_a_client_past_events_of_other_rooms() {
        let epoch = Epoch::random(&OsRandom);
        let position = Position { epoch, n: 7 };
        let of_room = replayed(Some(Room::from("r")), position);
        assert_eq!(of_room, r#"42["e",1,null]"#);
        let of_all = replayed(None, position);
        assert_eq!(of_all, format!(r#"42["e",1,"{position}"]"#));
    }
}
