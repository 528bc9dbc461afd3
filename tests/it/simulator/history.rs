//! What happened in a run, in virtual time. Written by the clients, read by the oracles.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::fault::Fault;

/// One connection of a client; a client that reconnects is another one.
pub type ConnectionId = usize;
pub type EmitId = usize;

/// Who sent an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    Client(ConnectionId),
    /// A backend, by a request to this node.
    Api(usize),
    /// The same for an emit that follows a query, which may take 2 s.
    Call(usize),
}

#[derive(Debug, Clone)]
pub struct Emit {
    pub sender: Sender,
    pub room: String,
    pub sent: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub emit: EmitId,
    pub at: Duration,
}

/// A request with an ack.
#[derive(Debug, Clone)]
pub struct Request {
    pub sent: Duration,
    pub response: Option<(Duration, String)>,
    /// The emit of a `roomwire:ask`.
    pub ask: Option<EmitId>,
}

/// A stay in a room, from the join's ack to the request to leave.
#[derive(Debug, Clone)]
pub struct Stay {
    pub room: String,
    pub requested: Duration,
    /// When the ack arrived, from which on events of every node are delivered.
    pub joined: Option<Duration>,
    pub left: Option<Duration>,
}

#[derive(Debug, Default)]
pub struct Connection {
    pub node: usize,
    pub user: String,
    pub began: Duration,
    /// When the response to its CONNECT arrived.
    pub connected: Option<Duration>,
    pub sid: Option<String>,
    pub received: Vec<Received>,
    pub requests: BTreeMap<u64, Request>,
    pub stays: Vec<Stay>,
    /// When the client closed it, or noticed its end.
    pub ended: Option<Duration>,
    /// Periods in which the client did not read.
    pub paused: Vec<(Duration, Duration)>,
}

/// A process, also after its end.
#[derive(Debug, Clone)]
pub struct NodeLife {
    pub name: String,
    pub workers: usize,
    pub started: Duration,
}

/// What a backend requests of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// The sockets of a room.
    Sockets(String),
    /// One socket by its id.
    Socket(ConnectionId),
    Everybody,
    Members(String),
    Rooms,
    /// All users who are online.
    Users,
    /// Users by name.
    Named,
    Info,
    /// An emit whose recipients are counted.
    Emit(EmitId),
    /// An emit whose acks are collected for this long.
    Call(EmitId, Duration),
    /// Revokes the token of a connection.
    Revoke(ConnectionId),
    /// Not a verb: the answers of each worker and node to one query, as names of nodes.
    Answers,
}

/// A request of a backend.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    pub node: usize,
    pub verb: Verb,
    pub sent: Duration,
    pub response: Option<ApiResponse>,
}

#[derive(Debug, Clone)]
pub struct ApiResponse {
    pub at: Duration,
    pub status: u16,
    pub body: Value,
}

#[derive(Debug, Default)]
pub struct History {
    pub nodes: Vec<NodeLife>,
    pub api: Vec<ApiRequest>,
    pub connections: Vec<Connection>,
    pub emits: Vec<Emit>,
    pub faults: Vec<Fault>,
    /// When another server took over that lacked the last changes.
    pub failovers: Vec<Duration>,
    /// At most one session of each user remains.
    pub one_session: bool,
    /// One line per event, the same in every run of a seed.
    pub trace: Vec<String>,
}

impl History {
    pub fn note(&mut self, at: Duration, line: impl std::fmt::Display) {
        self.trace
            .push(format!("{:>10.3} {line}", at.as_secs_f64()));
    }
}
