//! The broker's whole interface: what a shard accepts, and what it sends to the bridge and to sessions.

use std::sync::Arc;
use std::time::Instant;

use actix::Message;

use crate::model::{AckReply, Command, Namespace, Room, SocketId, WorkerIndex};

/// Apply commands to the sockets of this worker, in order: what another worker or the bridge decided in one turn.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DispatchAll {
    pub dispatches: Vec<Dispatch>,
    /// When the first was decided on this node, or heard.
    pub since: Instant,
}

/// Apply a command to the sockets of a worker. Whoever decided it has published it, or got it from the bus:
/// it is never published again.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub command: Arc<Command>,
    /// The id clients are to answer with, if the command is an emit that wants acks; one for the whole node.
    pub ack_id: Option<u32>,
    /// It came over the bus: the bridge wants to hear when a join is carried out ([`InterestChange::PeerJoined`]).
    pub from_bus: bool,
    /// It is a question, and the asker must be notified if it reaches nobody here ([`AckReply::unasked`]).
    pub reports: bool,
}

/// A client's answer to a question that was asked on this worker.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Resolve(pub AckReply);

/// The number of nodes that received a question of this worker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Asked {
    pub question: u64,
    pub nodes: usize,
}

/// The bus delivers to these rooms from now on, or cannot for the time being (`degraded`).
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct RoomsReady {
    pub rooms: Vec<(Namespace, Room)>,
    pub degraded: bool,
}

/// To the bridge: a command that entered on this node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Publish(pub Arc<Command>);

/// To the bridge: an answer to a question asked elsewhere.
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
