//! What can be done to rooms and sockets, wherever the wish comes from.

use super::{Namespace, NodeId, Payload, Room, Selector, SocketId};

/// One change of rooms or one emit. Everything that does either goes through the broker as a `Command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send an event to the selected sockets.
    Emit(Emit),
    /// Put the selected sockets into rooms.
    Join {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Take the selected sockets out of rooms.
    Leave {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Take everybody out of a room.
    CloseRoom { namespace: Namespace, room: Room },
    /// End the selected sockets; with `close`, their whole connection.
    Disconnect { selector: Selector, close: bool },
}

/// An event on its way to the selected sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    pub to: Selector,
    /// `["name",args...]`
    pub payload: Payload,
    /// May be dropped for a client that cannot take it at this instant.
    pub volatile: bool,
    /// Who wants to hear the clients' acks, if anybody.
    pub ack: Option<AckToken>,
}

impl Command {
    /// The namespace in which it acts.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Emit(emit) => &emit.to.namespace,
            Self::Join { selector, .. }
            | Self::Leave { selector, .. }
            | Self::Disconnect { selector, .. } => &selector.namespace,
            Self::CloseRoom { namespace, .. } => namespace,
        }
    }
}

/// The question to which a client's ack is the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AckToken {
    pub asker: Asker,
    /// Number of the question at the asker.
    pub id: u64,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A Roomwire node.
    Node(NodeId),
    /// A python-socketio process: its `host_id`, and the room and namespace its callback is filed under
    /// (protocol notes 4e, `callback`).
    Python {
        host_id: String,
        room: String,
        namespace: Namespace,
    },
}

/// One client's answer on its way back to the asker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckReply {
    pub token: AckToken,
    /// The socket that answered; unknown when the answer came over a dialect that does not say.
    pub socket: Option<SocketId>,
    /// The arguments of the ack as a JSON array; empty if the question reached nobody there.
    pub payload: Payload,
}

impl AckReply {
    /// A report that the question reached nobody who could answer it.
    pub fn unasked(token: AckToken) -> Self {
        Self {
            token,
            socket: None,
            payload: Payload::text(""),
        }
    }

    /// Whether this is not an answer, but reports that the question reached nobody.
    pub fn is_unasked(&self) -> bool {
        self.payload.json.is_empty()
    }
}
