//! Messages between the shards of a node, its bridge and its sessions.

use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};

use super::gather::GatherSender;
use crate::model::{
    AckReply, Command, Namespace, Query, QueryAnswer, QueryResponse, Room, SocketId, WorkerIndex,
};

/// Bytes that a command occupies besides its payload while it waits for a shard or the bridge.
const COMMAND_OVERHEAD: usize = 256;

/// Bytes that a command occupies while it waits for a shard or the bridge.
pub fn weight(command: &Command) -> usize {
    match command {
        Command::Emit(emit) => emit.payload.size() + COMMAND_OVERHEAD,
        _ => COMMAND_OVERHEAD,
    }
}

/// Anything a shard receives. One type, so that a shard needs one address and its messages stay in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum ShardMessage {
    DispatchAll(DispatchAll),
    Resolve(Resolve),
    Asked(Asked),
    RoomsReady(RoomsReady),
    StartCall(StartCall),
    StartQuery(StartQuery),
    RunQuery(RunQuery),
    WorkerAnswer(WorkerAnswer),
    NodeAnswer(NodeAnswer),
    CancelGather(CancelGather),
}

macro_rules! shard_messages {
    ($($name:ident),*) => {
        $(impl From<$name> for ShardMessage {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })*
    };
}

shard_messages!(
    DispatchAll,
    Resolve,
    Asked,
    RoomsReady,
    StartCall,
    StartQuery,
    RunQuery,
    WorkerAnswer,
    NodeAnswer,
    CancelGather
);

/// The mailbox of a shard.
#[derive(Debug, Clone)]
pub struct ShardAddress(Recipient<ShardMessage>);

impl ShardAddress {
    /// Sends without waiting. Messages of one thread arrive in the order in which they were sent.
    pub fn do_send(&self, message: impl Into<ShardMessage>) {
        self.0.do_send(message.into());
    }
}

impl From<Recipient<ShardMessage>> for ShardAddress {
    fn from(recipient: Recipient<ShardMessage>) -> Self {
        Self(recipient)
    }
}

/// Apply commands to the sockets of this worker, in order: those that entered on another thread of this node, or came
/// from the bus, in one turn.
#[derive(Debug, Clone)]
pub struct DispatchAll {
    pub dispatches: Vec<Dispatch>,
    /// When the first of them was dispatched on this node, or received from the bus.
    pub since: Instant,
}

/// Apply a command to the sockets of a worker. It is already published, or came from the bus: it is not published
/// again.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub command: Arc<Command>,
    /// The id of the acks requested from clients, the same on every worker of the node; `None` if no ack is requested.
    pub ack_id: Option<u32>,
    /// It came from the bus: a join is confirmed to the bridge once it is applied ([`InterestChange::PeerJoined`]).
    pub from_bus: bool,
    /// If the command requests acks and reaches no socket here, that is reported ([`AckReply::unasked`]).
    pub reports: bool,
}

/// An ack for a call that this worker started, or a report that a worker or node has no socket to send one.
#[derive(Debug, Clone)]
pub struct Resolve(pub AckReply);

/// The number of nodes that received a call or a query of this worker.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub question: u64,
    pub nodes: usize,
}

/// The bus delivers to these rooms from now on, or cannot for the time being (`degraded`).
#[derive(Debug, Clone)]
pub struct RoomsReady {
    pub rooms: Vec<(Namespace, Room)>,
    pub degraded: bool,
}

/// Collect the acks of an emit that is about to be dispatched from a thread without a shard.
#[derive(Debug)]
pub struct StartCall {
    pub id: u64,
    pub acks: GatherSender<AckReply>,
    /// Number of acks after which the call ends.
    pub limit: usize,
    /// Number of workers of this node that receive the emit.
    pub workers: usize,
    /// Whether other nodes may receive it.
    pub remote: bool,
}

/// Collect the answers to a query that is about to be sent to workers and nodes.
#[derive(Debug)]
pub struct StartQuery {
    pub id: u64,
    pub answers: GatherSender<QueryAnswer>,
    /// Number of workers of this node that receive the query.
    pub workers: usize,
    /// Whether other nodes receive it.
    pub remote: bool,
}

/// Answer a query for the sockets of this worker.
#[derive(Debug, Clone)]
pub struct RunQuery {
    pub id: u64,
    /// The worker that collects the answers.
    pub home: WorkerIndex,
    pub query: Arc<Query>,
}

/// A worker's answer to a query.
#[derive(Debug)]
pub struct WorkerAnswer {
    pub id: u64,
    pub answer: QueryAnswer,
}

/// Another node's answer to a query. `None`: the query came back to this node, whose workers have it already.
#[derive(Debug)]
pub struct NodeAnswer {
    pub id: u64,
    pub response: Option<QueryResponse>,
}

/// A call or query is no longer of interest.
#[derive(Debug, Clone, Copy)]
pub struct CancelGather {
    pub id: u64,
}

/// To the bridge: a command that entered on this node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Publish(pub Arc<Command>);

/// To the bridge: an ack for a call of another node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PublishReply(pub AckReply);

/// To the bridge: this worker has members in these rooms now, or none any more.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Interest {
    pub worker: WorkerIndex,
    pub changes: Vec<InterestChange>,
}

/// One room whose members came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterestChange {
    /// The first member came; answered by [`RoomsReady`] once the bus delivers.
    Wanted(Namespace, Room),
    /// The last member left.
    Unwanted(Namespace, Room),
    /// A socket came or went: only dialects that give every socket a channel care.
    Socket(Namespace, SocketId, Presence),
    /// A peer's join is carried out on this worker: what changed by it was told before.
    PeerJoined,
}

/// Whether a socket came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Came,
    Went,
}

/// To a session: what the broker decided about it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Notice {
    /// A command ends this socket; with `close`, the whole connection.
    Kick {
        namespace: Namespace,
        socket: SocketId,
        close: bool,
    },
    /// The queue of this client is above `socket.outbox_limit`: the client must make progress.
    Overdue,
    /// The queue of this client was dropped and its lane closed.
    SlowConsumer(Slowness),
}

/// Why the queue of a client was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slowness {
    /// It exceeded `socket.outbox_hard_limit`.
    Overflow,
    /// The queues of this node exceeded `limits.outbox_memory`, and this one was chosen for eviction.
    Memory,
}
