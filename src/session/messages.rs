//! The messages that transports send to a session, and the responses.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::wire_format::Compression;

/// A transport that can send data requests the next batch of packets. The response follows as soon as there is a packet.
/// One request may be pending at a time.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ready {
    pub format: BatchFormat,
    pub reply: oneshot::Sender<Result<Batch, PullError>>,
}

/// What a batch looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    /// The body of a long-polling response (docs/protocol.md#13-polling).
    Polling,
    /// Websocket frames of about this many bytes, for a websocket held by another node.
    Websocket { bytes: usize },
}

/// A response to [`Ready`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub body: Bytes,
    /// The session has ended; no batch follows.
    pub last: bool,
}

/// Why a transport gets no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullError {
    /// The session uses another transport now.
    TransportMismatch,
    /// Another request is pending; the session closes (docs/protocol.md#17-errors).
    Duplicate,
}

/// A client begins a POST; announced before its body arrives, so that two at once are noticed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PostStarted {
    pub post: PostId,
    /// Dropped when the body need not be read any more.
    pub open: Option<oneshot::Sender<()>>,
}

/// The body of an announced POST.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Post {
    pub post: PostId,
    pub body: Bytes,
    pub reply: oneshot::Sender<Result<(), PostError>>,
}

/// The body of an announced POST is not delivered.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PostAborted {
    pub post: PostId,
    pub why: Abort,
}

/// Why the body of a POST is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// It was incomplete or malformed: packets are lost, so the session ends.
    BrokeOff,
    /// It was rejected as a whole with an error response: the session continues.
    Rejected,
}

/// Identifies a POST of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PostId(pub u64);

/// Why a POST is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    /// The session uses another transport now.
    TransportMismatch,
    /// Another POST is pending; the session closes.
    Duplicate,
    /// The body is not a valid payload; the session closes.
    Malformed,
}

/// A websocket held by another node probes whether it may take over a polling session (docs/protocol.md#16-upgrade).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProbeStarted {
    /// Whether the client receives binary messages as base64, if it uses revision 3.
    pub base64: bool,
    pub reply: oneshot::Sender<bool>,
}

/// The probing websocket sent `2probe` and received `3probe`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Probed;

/// The probing websocket closed or sent something else; the session continues.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ProbeFailed;

/// The probing websocket sent `5`: it carries the session from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Upgraded {
    /// How messages may be compressed on it.
    pub compression: Compression,
}

/// A message that arrived over a websocket held by another node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Receive {
    Text(String),
    Binary(Bytes),
}

/// The transport of this session is gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Detached {
    pub reason: CloseReason,
}

/// The node stops: the session ends, in a way after which stock clients reconnect, once no ack or response is pending,
/// or after `ack_timeout` at the latest.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ShutDown {
    pub ack_timeout: Duration,
    /// The node has lost its name.
    pub is_fenced: bool,
}
