//! What queries report about sockets and nodes.

use std::sync::Arc;

use super::{Handshake, NodeId, Room, SocketId};

/// A socket as a query finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketDetails {
    pub socket: SocketId,
    /// Unix time of its connect in seconds.
    pub connected_at: u64,
    /// The rooms that it has joined, without its own.
    pub rooms: Vec<Room>,
    /// The request that opened its session, if the worker keeps it for other servers. Not part of messages between nodes.
    pub handshake: Option<Arc<Handshake>>,
}

/// A socket of a Socket.IO server that is not a Roomwire node, as reported by that server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSocket {
    pub id: Room,
    /// Unix time of its connect in seconds; `None` if the server does not report it.
    pub connected_at: Option<u64>,
    /// The rooms that it has joined, without its own.
    pub rooms: Vec<Room>,
}

/// What a node has, or of one of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSummary {
    pub node: NodeId,
    /// Version of the program.
    pub version: String,
    /// Open sessions of the node.
    pub sessions: u64,
    pub sockets: u64,
    /// Rooms with at least one member. A room with members on several workers counts once for each.
    pub rooms: u64,
}
