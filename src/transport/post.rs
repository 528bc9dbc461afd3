//! A POST between its announcement to the session and the delivery of its body.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::forward::client::ForwardClient;
use super::forward::envelope::{ForwardOutcome, Kind};
use super::forward::request::ForwardRequest;
use crate::model::EngineId;
use crate::session::Session;
use crate::session::messages::{Abort, Post, PostAborted, PostError, PostId, PostStarted};

/// A POST announced to its session. If dropped before its body is delivered, the session is notified that the body is
/// incomplete.
pub(super) struct PendingPost<'a> {
    owner: Owner<'a>,
    /// The session has the body, or has been notified that there is none.
    settled: bool,
}

enum Owner<'a> {
    /// A session of this node. The receiver fires when the session ends before the body is complete.
    Local {
        session: Addr<Session>,
        ended: oneshot::Receiver<()>,
        post: PostId,
    },
    /// Another node, and the time in which it must respond to an accepted request.
    Remote {
        request: ForwardRequest<'a>,
        timeout: Duration,
    },
}

impl<'a> PendingPost<'a> {
    /// Announces a POST to a session of this node.
    pub(super) fn local(session: Addr<Session>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let post = PostId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (open, ended) = oneshot::channel();
        let open = Some(open);
        session.do_send(PostStarted { post, open });
        Self::new(Owner::Local {
            session,
            ended,
            post,
        })
    }

    /// Announces a POST to a session of another node; `None` unless the node accepts it, so that no body is read for a
    /// session that does not exist.
    pub(super) async fn remote(
        forward: &'a ForwardClient,
        id: EngineId,
        timeout: Duration,
    ) -> Option<Self> {
        let number = forward.next_number();
        let mut request = forward.request(id, Kind::PostStarted, number, 0);
        request.accepted().await.ok()?;
        Some(Self::new(Owner::Remote { request, timeout }))
    }

    fn new(owner: Owner<'a>) -> Self {
        Self {
            owner,
            settled: false,
        }
    }

    /// Runs `read`, which reads the body, to its end; `None` if the session ends first.
    pub(super) async fn while_open<T>(&mut self, read: impl Future<Output = T>) -> Option<T> {
        match &mut self.owner {
            Owner::Local { ended, .. } => tokio::select! {
                body = read => Some(body),
                _ = ended => None,
            },
            Owner::Remote { request, timeout } => tokio::select! {
                body = read => Some(body),
                _ = request.response(*timeout) => None,
            },
        }
    }

    /// Delivers the body; `None` if the session has ended or its node is lost.
    pub(super) async fn deliver(mut self, body: Bytes) -> Option<Result<(), PostError>> {
        self.settled = true;
        match &mut self.owner {
            Owner::Local { session, post, .. } => {
                let (reply, response) = oneshot::channel();
                let post = *post;
                session.do_send(Post { post, body, reply });
                response.await.ok()
            }
            Owner::Remote { request, timeout } => {
                let (outcome, _) = request.send_body(body, *timeout).await;
                match outcome {
                    ForwardOutcome::Done | ForwardOutcome::Last => Some(Ok(())),
                    ForwardOutcome::TransportMismatch => Some(Err(PostError::TransportMismatch)),
                    ForwardOutcome::Duplicate => Some(Err(PostError::Duplicate)),
                    ForwardOutcome::Malformed => Some(Err(PostError::Malformed)),
                    ForwardOutcome::Gone | ForwardOutcome::Declined => None,
                }
            }
        }
    }

    /// Notifies the session that the body is rejected as a whole; the session continues.
    pub(super) fn reject(mut self) {
        self.abort(Abort::Rejected);
    }

    fn abort(&mut self, why: Abort) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        match (&mut self.owner, why) {
            (Owner::Local { session, post, .. }, why) => {
                session.do_send(PostAborted { post: *post, why });
            }
            (Owner::Remote { request, .. }, Abort::Rejected) => request.reject(),
            // Dropping the request notifies the node.
            (Owner::Remote { .. }, Abort::BrokeOff) => {}
        }
    }
}

impl Drop for PendingPost<'_> {
    fn drop(&mut self) {
        self.abort(Abort::BrokeOff);
    }
}
