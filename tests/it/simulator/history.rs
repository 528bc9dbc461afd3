//! What happened in a run, in virtual time. Written by the clients, read by the oracles.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::fault::{Fault, Kind, SETTLING};
use super::features::Features;
use super::foreign::record::{ForeignRecord, LifeId};

/// One connection of a client; a client that reconnects is another one.
pub type ConnectionId = usize;
pub type EmitId = usize;

/// The room of an emit to all sockets.
pub const EVERYBODY: &str = "*";

/// Who sent an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    Client(ConnectionId),
    /// A backend, by a request to this node.
    Api(usize),
    /// The same for an emit that follows a query, which may take 2 s.
    Call(usize),
    /// A foreign server.
    Foreign(LifeId),
}

#[derive(Debug, Clone)]
pub struct Emit {
    pub sender: Sender,
    /// Its target: a room, the id of a socket, or [`EVERYBODY`].
    pub room: String,
    pub sent: Duration,
    /// The id of a socket that does not receive it.
    pub except: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub emit: EmitId,
    pub at: Duration,
    /// The number of its position, if the client received one.
    pub n: Option<u64>,
}

/// An event that was appended to logs.
#[derive(Debug, Clone)]
pub struct Appended {
    /// `None` if it is an event of a node, such as those of presence.
    pub emit: Option<EmitId>,
    pub epoch: String,
    pub n: u64,
    pub at: Duration,
    /// The rooms whose logs have it; [`EVERYBODY`] stands for the log of the namespace.
    pub rooms: Vec<String>,
    /// When a failover lost it.
    pub lost: Option<Duration>,
}

/// What the node named as lost.
#[derive(Debug, Clone)]
pub struct NamedGap {
    pub at: Duration,
    /// `None`: of all rooms.
    pub room: Option<String>,
    /// The positions around it, if it concerns only a part: `<epoch>-<n>`.
    pub between: Option<(String, String)>,
}

/// What a node sends at the begin of a session that can be recovered.
#[derive(Debug, Clone)]
pub struct SessionStart {
    pub at: Duration,
    pub recovered: bool,
    /// Why it is not recovered.
    pub reason: Option<String>,
}

/// What a join requests of the log of its room.
#[derive(Debug, Clone)]
pub enum JoinedSince {
    Position(String),
    Last(usize),
}

/// Who is in a room, as a client knows it from lists and events.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// When the list arrived.
    pub listed: Option<Duration>,
    /// By user: the version of the last event or list, and whether the user is present.
    pub users: BTreeMap<String, (u64, bool)>,
}

/// The end of a socket, as its node or another one announced it.
#[derive(Debug, Clone)]
pub struct Departure {
    pub sid: String,
    pub at: Duration,
    /// The node that announced it.
    pub by: usize,
    /// Whether the node of the socket was lost.
    pub lost: bool,
}

/// A request with an ack.
#[derive(Debug, Clone)]
pub struct Request {
    pub sent: Duration,
    pub response: Option<(Duration, String)>,
    /// The emit of a `roomwire:ask`.
    pub ask: Option<EmitId>,
    /// It is a `roomwire:leave`.
    pub leaves: bool,
}

/// A stay in a room, from the join's ack to the request to leave.
#[derive(Debug, Clone)]
pub struct Stay {
    pub room: String,
    pub requested: Duration,
    /// When the ack arrived, from which on events of every node are delivered.
    pub joined: Option<Duration>,
    /// When the client requested to leave it, or its connection ended.
    pub left: Option<Duration>,
    /// When the ack of that request arrived.
    pub left_acked: Option<Duration>,
    /// It ended with the connection, not by request.
    pub lost: bool,
    pub since: Option<JoinedSince>,
    /// The ack of a join that requested a part of the log.
    pub replay: Option<Value>,
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
    /// Whether its session can be recovered.
    pub recovers: bool,
    /// Of whose session it is the continuation, if that can be recovered.
    pub resumes: Option<ConnectionId>,
    pub session: Option<SessionStart>,
    pub gaps: Vec<NamedGap>,
    /// The client has abandoned it without notice: its node notices that only by missing pongs.
    pub abandoned: bool,
    /// The server has ended it for good, or its client.
    pub is_final: bool,
    pub views: BTreeMap<String, View>,
}

impl Connection {
    /// The connection whose session it continues.
    pub fn continues(&self) -> Option<ConnectionId> {
        let recovered = self.session.as_ref().is_some_and(|start| start.recovered);
        self.resumes.filter(|_| recovered)
    }
}

/// A process, also after its end.
#[derive(Debug, Clone)]
pub struct NodeLife {
    pub name: String,
    pub workers: usize,
    pub started: Duration,
    /// When it closed its sessions because another node had its name.
    pub fenced: Option<Duration>,
    /// When it was stopped, which is recorded as a pause and a death too.
    pub stopped: Option<Duration>,
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
    /// An emit to anything.
    Publish(EmitId),
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
    /// Which features the run has.
    pub features: Features,
    pub appended: Vec<Appended>,
    pub departures: Vec<Departure>,
    pub foreign: ForeignRecord,
    /// When everything was quiet and the survey began.
    pub surveyed: Duration,
    /// One line per event, the same in every run of a seed.
    pub trace: Vec<String>,
}

impl History {
    /// Whether a failover has lost a join whose ack arrived at this time from the record of its session. The record is
    /// written again when the node is connected, unless the connection is lost before (`docs/delivery.md`).
    pub fn is_rolled_back(&self, stay: &Stay) -> bool {
        let lost = Duration::from_millis(1_200);
        let joined = stay.joined.unwrap_or_default();
        let mut failovers = self.failovers.iter();
        failovers.any(|failover| joined <= *failover && *failover <= joined + lost)
    }

    /// Whether a change of a session on `node` at this time may not be in its record: the store was out of reach, the node
    /// died, or a failover lost it.
    pub fn is_unsaved(&self, node: usize, at: Duration) -> bool {
        let (before, after) = (at.saturating_sub(SETTLING), at + SETTLING);
        let mut faults = self.faults.iter();
        faults.any(|fault| {
            fault.node == node && fault.kind != Kind::Deaf && fault.overlaps(before, after)
        })
    }

    pub fn note(&mut self, at: Duration, line: impl std::fmt::Display) {
        self.trace
            .push(format!("{:>10.3} {line}", at.as_secs_f64()));
    }
}
