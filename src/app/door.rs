//! The way to a socket for what an app learns outside of an answer.
//!
//! A message to the session's actor, so pushes keep their order, and keep it with everything else the session sends.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix::{Message, Recipient};

use crate::model::{AckId, Command, Payload, Room, SocketId};

/// One thing to be done for a socket, whatever its session is doing. None of them waits.
#[derive(Debug)]
pub enum Push {
    /// Send it an event.
    Emit(Payload),
    /// Send it an event that wants an answer, which comes as [`App::on_reply`](super::App::on_reply) under this
    /// number. At most `socket.max_pending_acks` of a socket are open; the oldest gives way.
    Ask { payload: Payload, question: u64 },
    /// Answer its event that came with this id. The app answers each at most once.
    Reply(AckId, Payload),
    /// Emit to others, or change rooms.
    Dispatch(Command),
    /// Put it into rooms; what is emitted on other nodes may be missed until the bus delivers.
    Join(Vec<Room>),
    /// Take it out of rooms.
    Leave(Vec<Room>),
    /// End its stay in the namespace; with `close`, the whole connection.
    Disconnect { close: bool },
    /// End the connection as if it were lost: stock clients come back by themselves.
    Hangup,
}

/// To a session: pushes for one of its sockets, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unasked {
    pub socket: SocketId,
    pub pushes: Vec<Push>,
    /// Dropped once the pushes have been applied.
    pub in_flight: InFlight,
}

/// Counts pushes that have not been applied yet.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn count(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the client behind a socket keeps up with its outbox.
pub trait Capacity {
    /// Ready when the queue of the client is within its limit, or the client is gone; otherwise the task is woken then.
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The way to one socket. Whatever goes through after the socket is gone is dropped.
#[derive(Clone)]
pub struct Door {
    socket: SocketId,
    session: Recipient<Unasked>,
    in_flight: Arc<AtomicUsize>,
    capacity: Rc<dyn Capacity>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Door {
    /// The door to `socket` of `session`; `capacity` reports whether the client keeps up.
    pub fn new(socket: SocketId, session: Recipient<Unasked>, capacity: Rc<dyn Capacity>) -> Self {
        Self {
            socket,
            session,
            in_flight: Arc::default(),
            capacity,
        }
    }

    /// Sends pushes through.
    pub fn push(&self, pushes: Vec<Push>) {
        self.session.do_send(Unasked {
            socket: self.socket,
            pushes,
            in_flight: InFlight::count(&self.in_flight),
        });
    }

    /// Ready when all pushes have been applied and the queue of the client is within its limit. A source that can apply
    /// back-pressure polls this before it pushes more.
    pub fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            // The session runs next, on this thread, and applies the pushes.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.capacity.poll_capacity(cx)
    }
}
