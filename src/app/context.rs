//! What a handler is given: the socket it is called for, and the event.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::handle::{JoinedRooms, SocketHandle};
use crate::config::UserRoom;
use crate::model::{
    AckId, Emit, Handshake, Identity, Namespace, Network, NodeId, Payload, Query, QueryAnswer,
    Room, SocketId, TransportName,
};

/// The socket a handler is called for.
pub struct SocketContext<'a> {
    pub socket: SocketId,
    pub namespace: &'a Namespace,
    pub node: NodeId,
    pub transport: TransportName,
    /// Network of the client, the unit to which per-address limits apply.
    pub network: Option<Network>,
    /// The request that opened the session. `None` unless a gate or the app reads it.
    pub handshake: Option<&'a Handshake>,
    /// The identity that a gate established for the client.
    pub identity: Option<&'a Rc<Identity>>,
    /// The rooms of users, which clients cannot join or leave by request; `None` if no client has an identity.
    pub user_rooms: Option<&'a UserRoom>,
    /// The bus is down: for now, emits of the socket reach only this node.
    pub degraded: bool,
    /// What the handler can do at once.
    pub access: &'a dyn SocketAccess,
}

/// Immediate access to the socket a handler is called for.
pub trait SocketAccess {
    /// Whether the socket is in the room.
    fn is_in(&self, room: &str) -> bool;

    /// Joins rooms. A socket that is not connected yet joins none.
    fn join(&self, rooms: Vec<Room>) -> Join;

    /// Emits to other sockets, on any node, and resolves to the first ack. `None`: no socket was reached, or none
    /// acknowledged within `deadline`.
    fn emit_with_ack(
        &self,
        emit: Emit,
        deadline: Duration,
    ) -> LocalBoxFuture<'static, Option<Payload>>;

    /// A handle to the socket that outlasts the call.
    fn handle(&self) -> SocketHandle;

    /// Access to other sockets that outlasts the call.
    fn caller(&self) -> Rc<dyn ClusterAccess>;
}

/// Access to the sockets of all nodes.
pub trait ClusterAccess {
    /// As [`SocketAccess::emit_with_ack`].
    fn emit_with_ack(
        &self,
        emit: Emit,
        deadline: Duration,
    ) -> LocalBoxFuture<'static, Option<Payload>>;

    /// Reads the room index of every node, for at most `deadline`.
    fn query(&self, query: Query, deadline: Duration) -> LocalBoxFuture<'static, QueryResult>;
}

/// The answers of all nodes to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResult {
    /// The answers, combined.
    pub sum: QueryAnswer,
    /// Live nodes that did not answer in time.
    pub missing: Vec<NodeId>,
}

/// A pending join.
pub enum Join {
    /// The bus delivers to all of the rooms already.
    Complete(JoinedRooms),
    /// Resolves when the bus delivers to all of the rooms.
    Pending(LocalBoxFuture<'static, JoinedRooms>),
}

/// An event of a client.
#[derive(Debug)]
pub struct Event {
    /// `["name",args...]`
    pub payload: Payload,
    /// Set if the client requests an ack: [`Effect::Ack`](super::Effect::Ack) in the outcome, or
    /// [`Effect::LateAck`](super::Effect::LateAck) with this id.
    pub ack: Option<AckId>,
}
