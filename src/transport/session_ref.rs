//! Where a session lives, decided once by its id. The handlers of requests depend on neither nodes nor workers.

use std::net::IpAddr;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::endpoint::Endpoint;
use super::forward::client::ForwardClient;
use super::forward::envelope::{ForwardOutcome, Kind};
use super::forward::hold;
use super::forward::remote_session::RemoteSession;
use super::handshake::RequestError;
use super::offer::WebsocketOffer;
use super::post::PendingPost;
use super::socket::ClientStream;
use super::takeover;
use crate::limits::{Admission, Arrival};
use crate::metrics::labels::Forwarding;
use crate::model::EngineId;
use crate::session::Session;
use crate::session::messages::{Batch, BatchFormat, PullError, Ready};

/// A session named by a request. Whether it exists shows only when it is used.
pub(super) enum SessionRef<'a> {
    /// It lives on a worker of this node.
    Local {
        endpoint: &'a Endpoint,
        id: EngineId,
    },
    Remote {
        endpoint: &'a Endpoint,
        forward: &'a ForwardClient,
        id: EngineId,
    },
}

impl<'a> SessionRef<'a> {
    /// The session with this id.
    pub(super) fn of(endpoint: &'a Endpoint, id: EngineId) -> Self {
        let node = endpoint.worker.shard.directory().node();
        match &endpoint.forward {
            Some(forward) if id.node() != node => Self::Remote {
                endpoint,
                forward,
                id,
            },
            _ => Self::Local { endpoint, id },
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> EngineId {
        match self {
            Self::Local { id, .. } | Self::Remote { id, .. } => *id,
        }
    }

    /// The next polling batch; `None` if the session does not exist or its node is lost.
    pub(super) async fn pull(&self) -> Option<Result<Batch, PullError>> {
        match *self {
            Self::Local { endpoint, id } => pull_local(&endpoint.find(id).await?).await,
            Self::Remote {
                endpoint,
                forward,
                id,
            } => {
                count(endpoint, Forwarding::Poll);
                let timeout = endpoint.settings.heartbeat_timeout();
                let number = forward.next_number();
                let response = forward.call(id, Kind::Pull, number, 0, timeout).await;
                remote_batch(response)
            }
        }
    }

    /// Announces a POST whose body is still to be read; `None` if the session does not exist or its node is lost. The
    /// returned value delivers the body, or aborts the POST.
    pub(super) async fn post(&self) -> Option<PendingPost<'a>> {
        match *self {
            Self::Local { endpoint, id } => Some(PendingPost::local(endpoint.find(id).await?)),
            Self::Remote {
                endpoint,
                forward,
                id,
            } => {
                count(endpoint, Forwarding::Post);
                PendingPost::remote(forward, id, endpoint.settings.heartbeat_timeout()).await
            }
        }
    }

    /// Counts a websocket in that this node would hold for the session. A local session has counted its client.
    ///
    /// # Errors
    /// A limit is reached.
    pub(super) fn admit_websocket(
        &self,
        address: Option<IpAddr>,
    ) -> Result<Option<Admission>, RequestError> {
        match self {
            Self::Local { .. } => Ok(None),
            Self::Remote { endpoint, .. } => {
                let admission = endpoint.admit(Arrival::RemoteWebsocket, address)?;
                Ok(Some(admission))
            }
        }
    }

    /// Lets a websocket probe the session, and responds to its opening handshake. `admission` is the result of
    /// [`SessionRef::admit_websocket`].
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn probe(
        self,
        offer: WebsocketOffer<ClientStream>,
        admission: Option<Admission>,
    ) -> std::io::Result<()> {
        match self {
            Self::Local { endpoint, .. } => {
                takeover::route(endpoint, offer.detach()?);
                Ok(())
            }
            Self::Remote {
                endpoint,
                forward,
                id,
            } => {
                count(endpoint, Forwarding::Websocket);
                let session = RemoteSession::new(endpoint, forward.clone(), id);
                // Boxed, so that other connections do not reserve space for it.
                Box::pin(hold::hold(endpoint, session, offer, admission)).await
            }
        }
    }
}

/// The next polling batch of a session of this node; `None` if it has ended.
pub(super) async fn pull_local(session: &Addr<Session>) -> Option<Result<Batch, PullError>> {
    let (reply, batch) = oneshot::channel();
    session
        .try_send(Ready {
            format: BatchFormat::Polling,
            reply,
        })
        .ok()?;
    batch.await.ok()
}

fn remote_batch((outcome, body): (ForwardOutcome, Bytes)) -> Option<Result<Batch, PullError>> {
    match outcome {
        ForwardOutcome::Done => Some(Ok(Batch { body, last: false })),
        ForwardOutcome::Last => Some(Ok(Batch { body, last: true })),
        ForwardOutcome::TransportMismatch => Some(Err(PullError::TransportMismatch)),
        ForwardOutcome::Duplicate => Some(Err(PullError::Duplicate)),
        ForwardOutcome::Gone | ForwardOutcome::Malformed | ForwardOutcome::Declined => None,
    }
}

fn count(endpoint: &Endpoint, kind: Forwarding) {
    let forwarded = &endpoint.worker.metrics().forwarded_total;
    forwarded.of(kind).increment();
}
