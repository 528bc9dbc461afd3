//! What happens to the sockets of a node.

use std::rc::Rc;

use super::{Identity, Namespace, Room, SocketId};

/// One step in the life of a socket, after it has taken effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketEvent {
    pub namespace: Namespace,
    pub socket: SocketId,
    /// Whether the socket continues a session whose missed events are being replayed to it.
    pub is_catching_up: bool,
    pub change: SocketChange,
}

/// The kind of a [`SocketEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketChange {
    /// It receives events from now on, and is in no room but its own.
    Connected {
        /// The identity that a gate established.
        identity: Option<Rc<Identity>>,
    },
    /// It belongs to another user from now on.
    Identified {
        /// The identity of that user.
        identity: Rc<Identity>,
    },
    /// It is in this room, and was not before.
    Joined(Room),
    /// It is not in this room any more.
    Left(Room),
    /// It receives nothing any more. It has left all its rooms before.
    Disconnected {
        /// As in the log and as apps receive it (`docs/protocol.md#3-reasons-and-selection`).
        reason: &'static str,
    },
}
