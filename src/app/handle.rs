//! A handle to a socket, for everything an app does outside of a handler call.
//!
//! Requests are messages to the session's actor: they keep their order, also with everything else that the session
//! sends. After the socket is gone they are dropped, and pending awaits end.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use super::effect::Effects;
use crate::history::Since;
use crate::model::{Payload, Position, Room, SocketId};

/// A join that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedRooms {
    /// The rooms, without those beyond `socket.max_rooms`.
    pub rooms: Vec<Room>,
    /// The bus is down: for now, the socket only receives what is emitted on this node.
    pub degraded: bool,
}

/// A join that began with what was in the log of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedSince {
    pub joined: JoinedRooms,
    /// `None` if the room has no log, or was not joined.
    pub replayed: Option<LogReplay>,
}

/// What was sent to a socket from the log of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogReplay {
    /// The number of events.
    pub events: u64,
    /// Events between the requested position and the first event are missing.
    pub gap: bool,
    /// The position of the newest event of the log, as far as it was read; `None` if nothing was ever logged.
    pub position: Option<Position>,
}

/// To a session: a request for one of its sockets.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SocketMessage {
    pub socket: SocketId,
    pub request: SocketRequest,
    /// Dropped once the request has been applied.
    pub pending: PendingRequest,
}

/// What a [`SocketHandle`] requests.
#[derive(Debug)]
pub enum SocketRequest {
    /// Apply effects, and respond if that is awaited.
    Apply {
        effects: Effects,
        reply: Option<oneshot::Sender<()>>,
    },
    /// Join rooms, and respond once the bus delivers to all of them.
    Join {
        rooms: Vec<Room>,
        reply: oneshot::Sender<JoinedRooms>,
    },
    /// Join a room, send what is in its log, and respond.
    JoinSince {
        room: Room,
        since: Since,
        reply: oneshot::Sender<JoinedSince>,
    },
    /// Send an event and respond with its ack.
    EmitWithAck {
        payload: Payload,
        reply: oneshot::Sender<Payload>,
    },
}

/// Counts a request that has not been applied yet.
#[derive(Debug)]
pub struct PendingRequest(Arc<AtomicUsize>);

impl PendingRequest {
    fn count(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the client behind a socket keeps up with its outbox.
pub trait Capacity {
    /// Ready when the queue of the client is within its limit, or the client is gone; otherwise the task is woken then.
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A handle to one socket; clones share it. It stays on the thread of its worker and does not keep the socket alive.
#[derive(Clone)]
pub struct SocketHandle(Rc<Shared>);

struct Shared {
    socket: SocketId,
    session: Recipient<SocketMessage>,
    pending: Arc<AtomicUsize>,
    capacity: Box<dyn Capacity>,
}

impl SocketHandle {
    /// A handle to `socket` of `session`; `capacity` reports whether the client keeps up.
    pub fn new(
        socket: SocketId,
        session: Recipient<SocketMessage>,
        capacity: Box<dyn Capacity>,
    ) -> Self {
        Self(Rc::new(Shared {
            socket,
            session,
            pending: Arc::default(),
            capacity,
        }))
    }

    /// Applies effects. Those of a socket that is not connected yet wait until its CONNECT response is sent.
    pub fn apply(&self, effects: impl Into<Effects>) {
        self.request(SocketRequest::Apply {
            effects: effects.into(),
            reply: None,
        });
    }

    /// Applies effects; completes once they are applied, or the socket is gone. The request is enqueued at once, whether
    /// or not the future is polled. The outcome of `on_connect` must not wait for it, since the effects wait for that
    /// outcome.
    pub fn apply_and_wait(&self, effects: Effects) -> impl Future<Output = ()> + use<> {
        let (reply, applied) = oneshot::channel();
        self.request(SocketRequest::Apply {
            effects,
            reply: Some(reply),
        });
        async move { applied.await.unwrap_or_default() }
    }

    /// Joins rooms; the future completes when the bus delivers to all of them. The request is enqueued at once, whether
    /// or not the future is polled.
    ///
    /// The result is `None` if the socket is gone or not connected yet.
    pub fn join(&self, rooms: Vec<Room>) -> impl Future<Output = Option<JoinedRooms>> + use<> {
        let (reply, joined) = oneshot::channel();
        self.request(SocketRequest::Join { rooms, reply });
        async move { joined.await.ok() }
    }

    /// Joins a room and sends the client what is in its log, before newer events of the room; the future completes when
    /// that is sent. The request is enqueued at once, whether or not the future is polled.
    ///
    /// The result is `None` if the socket is gone or not connected yet.
    pub fn join_since(
        &self,
        room: Room,
        since: Since,
    ) -> impl Future<Output = Option<JoinedSince>> + use<> {
        let (reply, joined) = oneshot::channel();
        self.request(SocketRequest::JoinSince { room, since, reply });
        async move { joined.await.ok() }
    }

    /// Sends the client an event that requests an ack. The event is enqueued at once.
    ///
    /// The receiver has the ack as soon as the session has received it: a handler that looks there before it handles an
    /// event sees acks and events in the order in which the client sent them. The receiver fails if the socket is gone,
    /// or if more than `socket.max_pending_acks` later acks are pending as well.
    pub fn request_ack(&self, payload: Payload) -> oneshot::Receiver<Payload> {
        let (reply, ack) = oneshot::channel();
        self.request(SocketRequest::EmitWithAck { payload, reply });
        ack
    }

    /// Sends the client an event that requests an ack. The event is enqueued at once, whether or not the future is
    /// polled.
    ///
    /// The result is `None` if no ack arrives within `deadline`, if the socket is gone, or if more than
    /// `socket.max_pending_acks` later acks are pending as well. Without a deadline the last two still end the wait.
    pub fn emit_with_ack(
        &self,
        payload: Payload,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Option<Payload>> + use<> {
        let ack = self.request_ack(payload);
        async move {
            match deadline {
                Some(deadline) => tokio::time::timeout(deadline, ack).await.ok()?.ok(),
                None => ack.await.ok(),
            }
        }
    }

    /// Ready when all requests have been applied and the queue of the client is within its limit. A source that can
    /// apply back-pressure polls this before it requests more.
    pub fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.pending.load(Ordering::Relaxed) > 0 {
            // The session runs next, on this thread, and applies the requests.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.0.capacity.poll_capacity(cx)
    }

    fn request(&self, request: SocketRequest) {
        self.0.session.do_send(SocketMessage {
            socket: self.0.socket,
            request,
            pending: PendingRequest::count(&self.0.pending),
        });
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle")
            .field("socket", &self.0.socket)
            .finish_non_exhaustive()
    }
}
