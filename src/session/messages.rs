//! A session's whole interface: what transports send it, and what they get back.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::protocol::engine_io::state::CloseReason;

/// A transport that can take data asks for the next batch of packets. Answered at once if something waits,
/// else as soon as something does. One at a time.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ready {
    pub format: BatchFormat,
    pub outlet: oneshot::Sender<Result<Batch, PullError>>,
}

/// What a batch looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    /// The body of a long-polling answer (protocol notes 1.3).
    Polling,
    /// Websocket frames, about this many bytes, for a websocket held by another node.
    Websocket { bytes: usize },
}

/// One answer to [`Ready`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub body: Bytes,
    /// Nothing will follow: the session has ended.
    pub last: bool,
}

/// Why a transport gets no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullError {
    /// The session uses another transport by now.
    TransportMismatch,
    /// Somebody waits already; the session is closed for it (protocol notes 1.7).
    Duplicate,
}

/// A client begins to post packets; announced before the body has come, so that two at once are noticed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PostStarted {
    pub post: PostId,
    /// Dropped when the post is no longer of interest.
    pub open: Option<oneshot::Sender<()>>,
}

/// The body of a post that was announced.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Post {
    pub post: PostId,
    pub body: Bytes,
    pub reply: oneshot::Sender<Result<(), PostError>>,
}

/// A post was announced but its body is not delivered.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PostAborted {
    pub post: PostId,
    pub why: Abort,
}

/// Why the body of a post is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// It was incomplete or malformed: packets are lost, so the session ends.
    BrokeOff,
    /// It was rejected as a whole with an error response: the session continues.
    Rejected,
}

/// Tells the posts of a session apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PostId(pub u64);

/// Why a post was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    /// The session uses another transport by now.
    TransportMismatch,
    /// Another post was in flight; the session is closed for it.
    Duplicate,
    /// The body is no payload; the session is closed for it.
    Malformed,
}

/// A websocket held by another node wants to take a polling session over (protocol notes 1.6).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProbeStarted {
    pub reply: oneshot::Sender<bool>,
}

/// The probing websocket said `2probe` and was answered.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Probed;

/// The probing websocket is gone or said something else; the session lives on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ProbeFailed;

/// The probing websocket said `5`: it carries the session from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Upgraded;

/// A message that came over a websocket held by another node.
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

/// The node stops: the session ends without telling clients to stay away, once acks and answers under way are
/// settled, after `patience` at the latest.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ShutDown {
    pub patience: Duration,
}
