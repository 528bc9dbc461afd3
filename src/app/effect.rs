//! Effects: actions that an app requests for a socket, as data.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::{AckId, Command, Identity, Payload, Room, Selector};

/// One action for a socket. The session applies effects in order; none of them waits.
#[derive(Debug)]
pub enum Effect {
    /// Reject the namespace CONNECT. Only valid in the outcome of [`SocketHandler::on_connect`](super::SocketHandler::on_connect).
    Reject(ConnectRejection),
    /// Replace the identity of the client. In the outcome of
    /// [`SocketHandler::on_connect`](super::SocketHandler::on_connect) it must come first: the socket has the identity
    /// from its registration on.
    Identify(Box<Identity>),
    /// Send the client an event.
    Emit(Payload),
    /// Acknowledge the event that is being handled; the payload is the array of arguments. Only the first counts, and
    /// nothing is sent if the client did not request an ack.
    Ack(Payload),
    /// Acknowledge an earlier event that came with this id. The app acknowledges each event at most once.
    LateAck(AckId, Payload),
    /// Emit to other sockets, or change their rooms.
    Dispatch(Arc<Command>),
    /// Join rooms without waiting for the bus: events emitted on other nodes may be missed until it delivers. See
    /// [`SocketHandle::join`](super::SocketHandle::join) for a join that can be awaited.
    Join(Vec<Room>),
    /// Leave rooms.
    Leave(Vec<Room>),
    /// Leave all rooms except the one named after the socket's id.
    LeaveAll,
    /// Disconnect the socket from its namespace; with `close`, end the whole session.
    Disconnect { close: bool },
    /// End the session as if its connection had been lost, before or after the socket is connected: stock clients
    /// reconnect by themselves.
    Hangup,
    /// Close the sessions of the selected sockets, on every node: stock clients connect and authenticate again.
    ForceReconnect(Box<Selector>),
}

impl Effect {
    /// Emit to other sockets, or change their rooms.
    pub fn dispatch(command: Command) -> Self {
        Self::Dispatch(Arc::new(command))
    }
}

/// Effects in the order in which they are applied. Up to two are held without an allocation.
#[derive(Debug, Default)]
pub struct Effects(SmallVec<[Effect; 2]>);

impl Effects {
    /// No effect.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an effect.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Whether there is no effect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out the identity, if that is the first effect.
    pub fn take_identity(&mut self) -> Option<Box<Identity>> {
        if !matches!(self.0.first(), Some(Effect::Identify(_))) {
            return None;
        }
        match self.0.remove(0) {
            Effect::Identify(identity) => Some(identity),
            _ => None,
        }
    }

    /// The effects, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter()
    }
}

impl<const N: usize> From<[Effect; N]> for Effects {
    fn from(effects: [Effect; N]) -> Self {
        effects.into_iter().collect()
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<T: IntoIterator<Item = Effect>>(effects: T) -> Self {
        Self(effects.into_iter().collect())
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = smallvec::IntoIter<[Effect; 2]>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Why a namespace CONNECT is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRejection {
    /// The message of the client's `connect_error`.
    pub message: String,
    /// Further data for the client, encoded JSON.
    pub data: Option<String>,
}
