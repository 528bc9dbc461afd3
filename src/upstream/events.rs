//! What the owner of an upstream connection is notified of.

use std::task::{Context, Poll};

use crate::model::{AckId, Payload};

/// What happens on an upstream connection.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// The upstream accepted the connection, and acknowledged the first event if there is one; `sid` is its socket id.
    Connected { sid: Box<str> },
    /// An event that `app.upstream.forward` lets through. With an `ack_request` the upstream waits for
    /// [`UpstreamConnection::ack`](super::UpstreamConnection::ack).
    Event {
        payload: Payload,
        ack_request: Option<AckRequest>,
    },
    /// The ack of an emitted event, with the id given to
    /// [`UpstreamConnection::emit`](super::UpstreamConnection::emit).
    Ack { ack: AckId, payload: Payload },
    /// The connection ended. No event follows.
    Ended(Ending),
}

impl UpstreamEvent {
    /// The size of the payload in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Event { payload, .. } | Self::Ack { payload, .. } => payload.size(),
            Self::Connected { .. } | Self::Ended(_) => 0,
        }
    }
}

/// Identifies an ack that an upstream requested. Unique on a worker, so that an ack for a connection that has been
/// replaced cannot be taken for one of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRequest(pub(super) u64);

/// Why an upstream connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its owner closed it.
    Closed,
    /// It was not used for `ConnectionOptions::idle_timeout`.
    IdleTimeout,
    /// The upstream rejected the CONNECT, with its message.
    Rejected {
        message: String,
        /// Further data, encoded JSON.
        data: Option<String>,
    },
    /// The upstream disconnected the namespace.
    Disconnected,
    /// No upstream accepted the connection in time; the text gives the last failure.
    Unavailable(String),
    /// The connection was lost.
    Lost {
        reason: String,
        /// Nothing was in progress: no packet was queued and no ack pending in either direction.
        was_quiet: bool,
    },
}

/// Receives what happens on an upstream connection. It may use and drop the connection.
pub trait UpstreamListener {
    /// Called with all events of one turn of the task, in order.
    fn on_events(&self, events: Vec<UpstreamEvent>);

    /// Ready when the listener accepts further events; otherwise the task is woken then. Meanwhile nothing is read from
    /// the upstream, so that TCP applies back-pressure.
    fn poll_capacity(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
