//! A session's stay in one namespace.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::app::{Membership, Push};
use crate::broker::{Shard, SocketKey};
use crate::model::{Identity, Payload, SocketId};
use crate::protocol::socket_io::packet::AckId;

/// One socket: the session as seen in one namespace.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: SocketId,
    /// `None` until the app has let it in.
    pub(super) key: Option<SocketKey>,
    /// Established by a gate.
    pub(super) identity: Option<Rc<Identity>>,
    /// The gates have let it pass.
    pub(super) known_to_app: bool,
    /// The app works on an earlier event; later ones wait here in order.
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<(Payload, Option<AckId>)>,
    /// What the app pushed before the socket was let in.
    pub(super) early: Vec<Push>,
    /// Pending questions to others, for which the next events do not wait.
    pub(super) questions: usize,
    /// Acks that the app owes the client, to be pushed.
    pub(super) owed: usize,
    /// Questions of the app to the client: the ack's id and the app's number.
    pub(super) asked: VecDeque<(u32, u64)>,
}

impl Socket {
    /// A socket that is not let in yet.
    pub(super) fn new(id: SocketId) -> Self {
        Self {
            id,
            key: None,
            identity: None,
            known_to_app: false,
            busy: false,
            waiting: VecDeque::new(),
            early: Vec::new(),
            questions: 0,
            owed: 0,
            asked: VecDeque::new(),
        }
    }

    /// Whether the app is ready for an event that waits.
    pub(super) fn is_ready(&self) -> bool {
        !self.busy && !self.waiting.is_empty()
    }

    /// Bytes of events that wait for the app.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting
            .iter()
            .map(|(payload, ack)| event_cost(payload, ack.as_ref()))
            .sum()
    }
}

/// What an event weighs while it waits.
pub(super) fn event_cost(payload: &Payload, ack: Option<&AckId>) -> usize {
    payload.size() + ack.map_or(0, AckId::size) + 64
}

/// What the room index of this worker says of a socket.
pub(super) struct SocketRooms<'a> {
    pub(super) shard: &'a Shard,
    pub(super) key: Option<SocketKey>,
}

impl Membership for SocketRooms<'_> {
    fn contains(&self, room: &str) -> bool {
        self.key.is_some_and(|key| self.shard.is_member(key, room))
    }
}
