//! Messages between the shards of a node, its bridge and its sessions.

use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};

use super::ack_target::AckTarget;
use super::gather::GatherSender;
use crate::history::Logs;
use crate::model::{
    AckReply, Announcement, Command, Namespace, Position, Query, QueryAnswer, QueryRequest,
    QueryResponse, Room, ServerSocket, SocketId, WorkerIndex,
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
    ReceiversCounted(ReceiversCounted),
    Echoed(Echoed),
    RoomsReady(RoomsReady),
    NamespaceReady(NamespaceReady),
    StartCall(StartCall),
    StartQuery(StartQuery),
    RunQuery(RunQuery),
    WorkerAnswer(WorkerAnswer),
    NodeAnswer(NodeAnswer),
    ServerAnswer(ServerAnswer),
    ServerReached(ServerReached),
    CancelGather(CancelGather),
    ForgetAcks(ForgetAcks),
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
    ReceiversCounted,
    Echoed,
    RoomsReady,
    NamespaceReady,
    StartCall,
    StartQuery,
    RunQuery,
    WorkerAnswer,
    NodeAnswer,
    ServerAnswer,
    ServerReached,
    CancelGather,
    ForgetAcks
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
    /// The bridge received it: a join is confirmed to the bridge once it is applied ([`InterestChange::JoinApplied`]).
    pub from_bus: bool,
    /// What is reported about an emit that requests acks.
    pub reports: ReachReport,
    /// The position of a logged emit.
    pub position: Option<Position>,
}

/// What a worker reports about an emit that requests acks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReachReport {
    Nothing,
    /// That it reached no socket here ([`AckReply::no_recipient`]).
    NoRecipient,
    /// How many sockets it reached here ([`ReachedSockets`]).
    Reached,
}

/// To the bridge: an emit of a foreign member reached this number of sockets of a worker, each of which owes an ack.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReachedSockets {
    /// [`Dispatch::ack_id`].
    pub ack_id: u32,
    pub sockets: u64,
}

/// Acks of this emit are not awaited any longer.
#[derive(Debug, Clone, Copy)]
pub struct ForgetAcks {
    /// [`Dispatch::ack_id`].
    pub ack_id: u32,
}

/// An ack for a call that this worker started, or a report that a worker or node has no socket to send one.
#[derive(Debug, Clone)]
pub struct Resolve(pub AckReply);

/// The number of subscribers that received a call or a query that is collected by this worker.
#[derive(Debug, Clone, Copy)]
pub struct ReceiversCounted {
    pub id: u64,
    /// This node is one of them if it subscribes to the channel; see [`Echoed`].
    pub nodes: usize,
    /// The number of subscribers that received the request of a query to servers, some of which may be nodes; `None` if
    /// it is unknown, so that no response can be awaited.
    pub servers: Option<usize>,
}

/// A call or a query of this node came back to it from the bus. Its workers have it already.
#[derive(Debug, Clone, Copy)]
pub struct Echoed {
    pub id: u64,
    /// The dialect in which the message came back.
    pub dialect: MessageDialect,
}

/// The dialect of a message that this node published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageDialect {
    /// That of Roomwire nodes.
    Native,
    Foreign,
}

/// A report of a server that is not a Roomwire node, or of a node that the bus counted as one: how many of its sockets
/// a call of this worker has reached. Their acks follow.
#[derive(Debug, Clone, Copy)]
pub struct ServerReached {
    pub id: u64,
    pub sockets: u64,
}

/// The response of a server that is not a Roomwire node to a query of this node.
#[derive(Debug)]
pub struct ServerAnswer {
    pub id: u64,
    pub sockets: Vec<ServerSocket>,
}

/// The bus delivers to these rooms from now on, or cannot for the time being (`degraded`).
#[derive(Debug, Clone)]
pub struct RoomsReady {
    pub rooms: Vec<(Namespace, Room)>,
    pub degraded: bool,
}

/// The bus delivers the messages of this namespace from now on, or is down.
#[derive(Debug, Clone)]
pub struct NamespaceReady(pub Namespace);

/// Collect the acks of an emit that is about to be dispatched from a thread without a shard.
#[derive(Debug)]
pub struct StartCall {
    pub id: u64,
    pub acks: GatherSender<AckReply>,
    /// Number of acks after which the call ends.
    pub target: AckTarget,
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
    /// The query, if servers that are not Roomwire nodes receive it too.
    pub servers: Option<Arc<Query>>,
}

/// Run a query on the sockets of this worker.
#[derive(Debug, Clone)]
pub struct RunQuery {
    pub id: u64,
    /// The worker that collects the answers.
    pub home: WorkerIndex,
    pub query: Arc<Query>,
}

/// The answer of a worker to a query.
#[derive(Debug)]
pub struct WorkerAnswer {
    pub id: u64,
    pub answer: QueryAnswer,
}

/// The answer of another node to a query.
#[derive(Debug)]
pub struct NodeAnswer(pub QueryResponse);

/// A call or query is no longer of interest.
#[derive(Debug, Clone, Copy)]
pub struct CancelGather {
    pub id: u64,
}

/// To the bridge: a command that entered on this node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Publish {
    pub command: Arc<Command>,
    /// The logs that it is appended to. This node then receives it from the bus as well.
    pub logs: Option<Logs>,
}

/// To the bridge: an ack for a call of another node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PublishReply(pub AckReply);

/// To the bridge: a query of this node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PublishQuery {
    pub request: QueryRequest,
    /// Servers that are not Roomwire nodes respond as well.
    pub includes_servers: bool,
}

/// To the bridge: an announcement of this node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PublishAnnouncement(pub Announcement);

/// To the bridge: the rooms or sockets of this worker have changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Interest {
    pub worker: WorkerIndex,
    pub changes: Vec<InterestChange>,
}

/// A change of the rooms or sockets of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterestChange {
    /// The first member joined. [`RoomsReady`] follows once the bus delivers to the room.
    RoomAppeared(Namespace, Room),
    /// The last member left.
    RoomVanished(Namespace, Room),
    /// A socket is about to become the worker's first in a namespace. [`NamespaceReady`] follows once the bus delivers
    /// the messages of the namespace. Sent only if a dialect has channels for every namespace.
    NamespaceAwaited(Namespace),
    /// A socket connected or disconnected. Sent only if a dialect has a channel for every socket or namespace.
    Socket(Namespace, SocketId, SocketPresence),
    /// A join from the bus is applied. Rooms that appeared by it were reported before.
    JoinApplied,
}

/// Whether a socket connected or disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPresence {
    Connected,
    Disconnected,
}

/// To a session: a decision of the broker about it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Notice {
    /// A command disconnects this socket; with `close`, it ends the session.
    Disconnect {
        namespace: Namespace,
        socket: SocketId,
        close: bool,
    },
    /// The session of this socket continues with another one (`recovery`).
    Replaced {
        namespace: Namespace,
        socket: SocketId,
    },
    /// The identity of this socket is revoked. With `is_final`, the client must not connect again by itself.
    Revoked { socket: SocketId, is_final: bool },
    /// The session ends, and its client connects again.
    Reconnect,
    /// The queue of this client is above `socket.outbox_limit`. The session ends unless the client makes progress.
    Overdue,
    /// The queue of this client exceeded a limit. It is dropped, and the lane is closed.
    SlowConsumer(QueueLimit),
}

/// A limit for which the queue of a client is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLimit {
    /// `socket.outbox_hard_limit`, of the queue itself.
    Client,
    /// `limits.outbox_memory`, of all queues of the node, of which this one was chosen.
    Node,
}
