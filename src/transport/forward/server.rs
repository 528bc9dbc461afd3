//! The side that owns sessions: requests of other nodes for the sessions of this worker.

use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::client::ForwardClient;
use super::envelope::{DEFLATE, Envelope, ForwardOutcome, Kind, REJECTED};
use super::remote_requests::RemoteRequests;
use crate::cluster::messages::Forwarded;
use crate::metrics::labels::BusDrop;
use crate::model::NodeId;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::wire_format::Compression;
use crate::session::messages::{
    Abort, BatchFormat, Detached, Post, PostAborted, PostError, PostId, PostStarted, ProbeFailed,
    ProbeStarted, Probed, PullError, Ready, Receive, ShutDown, Upgraded,
};
use crate::session::{Session, Worker};

/// Set in the numbers of POSTs that other nodes forward, so that they differ from those of this node.
const FORWARDED_POST: u64 = 1 << 63;

/// Handles a message of another node that concerns a session.
pub fn receive(
    forwarded: &Forwarded,
    worker: &Worker,
    client: &ForwardClient,
    pending: &mut RemoteRequests,
) {
    let Some(envelope) = Envelope::decode(&forwarded.body) else {
        let dropped = &worker.metrics().bus_dropped_total;
        dropped.of(BusDrop::Unreadable).increment();
        return;
    };
    match envelope.kind {
        Kind::Response | Kind::Accepted => return client.deliver(forwarded.from, envelope),
        Kind::NodeCheck if envelope.request == 0 => return,
        Kind::NodeCheck => return client.acknowledge(forwarded.from, &envelope),
        _ => {}
    }
    match worker.session(envelope.session) {
        Some(session) => IncomingRequest {
            from: forwarded.from,
            envelope,
            session,
            client,
        }
        .handle(pending),
        None if matches!(
            envelope.kind,
            Kind::Pull | Kind::PostStarted | Kind::Post | Kind::Probe
        ) =>
        {
            client.respond(
                forwarded.from,
                &envelope,
                ForwardOutcome::Gone,
                Bytes::new(),
            );
        }
        None => {}
    }
}

/// A message for a session of this worker.
struct IncomingRequest<'a> {
    from: NodeId,
    envelope: Envelope,
    session: Addr<Session>,
    client: &'a ForwardClient,
}

impl IncomingRequest<'_> {
    fn handle(self, pending: &mut RemoteRequests) {
        let (from, number) = (self.from, self.envelope.request);
        let post = PostId(number | FORWARDED_POST);
        match self.envelope.kind {
            Kind::Pull => self.pull(pending),
            Kind::PullAborted => pending.end_pull(from, number),
            Kind::PostStarted => self.announce(post, pending),
            Kind::Post => {
                pending.end_post(from, number);
                self.post(post);
            }
            Kind::PostAborted => {
                pending.end_post(from, number);
                let why = match self.envelope.argument {
                    REJECTED => Abort::Rejected,
                    _ => Abort::BrokeOff,
                };
                self.session.do_send(PostAborted { post, why });
            }
            _ => self.handle_websocket(pending),
        }
    }

    /// Handles a message of a websocket that the other node holds.
    fn handle_websocket(self, pending: &mut RemoteRequests) {
        let (from, id) = (self.from, self.envelope.session);
        match self.envelope.kind {
            Kind::Probe => {
                pending.begin_probe(from, id);
                self.probe();
            }
            Kind::Probed => self.session.do_send(Probed),
            Kind::ProbeFailed => {
                pending.end_probe(from, id);
                self.session.do_send(ProbeFailed);
            }
            Kind::Upgraded => {
                pending.begin_websocket(from, id);
                let compression = match self.envelope.argument {
                    DEFLATE => Compression::Deflate,
                    _ => Compression::None,
                };
                self.session.do_send(Upgraded { compression });
            }
            Kind::Text => match String::from_utf8(self.envelope.body.to_vec()) {
                Ok(text) => self.session.do_send(Receive::Text(text)),
                Err(_) => self.detach(CloseReason::ParseError),
            },
            Kind::Binary => self.session.do_send(Receive::Binary(self.envelope.body)),
            Kind::Detached if self.envelope.argument > 0 => {
                let ack_timeout = Duration::from_millis(self.envelope.argument.into());
                self.session.do_send(ShutDown {
                    ack_timeout,
                    is_fenced: false,
                });
            }
            Kind::Detached => {
                pending.end_websocket(from, id);
                self.detach(CloseReason::TransportClose);
            }
            kind => debug_assert!(false, "{kind:?} is handled before"),
        }
    }

    fn detach(&self, reason: CloseReason) {
        self.session.do_send(Detached { reason });
    }

    /// Waits for the batch in a separate task. Aborting the task closes the channel of the batch, which the session
    /// notices.
    fn pull(self, pending: &mut RemoteRequests) {
        let format = match self.envelope.argument {
            0 => BatchFormat::Polling,
            bytes => BatchFormat::Websocket {
                bytes: bytes as usize,
            },
        };
        let (reply, batch) = oneshot::channel();
        self.session.do_send(Ready { format, reply });
        let (from, envelope, client) = (self.from, self.envelope, self.client.clone());
        let (number, session) = (envelope.request, envelope.session);
        let task = actix_rt::spawn(async move {
            let batch = client.acknowledge_if_slow(from, &envelope, batch).await;
            let (outcome, body) = match batch {
                Ok(Ok(batch)) if batch.last => (ForwardOutcome::Last, batch.body),
                Ok(Ok(batch)) => (ForwardOutcome::Done, batch.body),
                Ok(Err(PullError::TransportMismatch)) => {
                    (ForwardOutcome::TransportMismatch, Bytes::new())
                }
                Ok(Err(PullError::Duplicate)) => (ForwardOutcome::Duplicate, Bytes::new()),
                Err(_) => (ForwardOutcome::Gone, Bytes::new()),
            };
            client.respond(from, &envelope, outcome, body);
        });
        pending.begin_pull(from, number, session, task);
    }

    /// Announces a POST to its session, and responds if the session ends before the body is complete.
    fn announce(self, post: PostId, pending: &mut RemoteRequests) {
        let (open, session_ended) = oneshot::channel();
        let open = Some(open);
        self.session.do_send(PostStarted { post, open });
        self.client.acknowledge(self.from, &self.envelope);
        let (from, envelope, client) = (self.from, self.envelope, self.client.clone());
        let (number, id) = (envelope.request, envelope.session);
        let watch = actix_rt::spawn(async move {
            let _ = session_ended.await;
            client.respond(from, &envelope, ForwardOutcome::Duplicate, Bytes::new());
        });
        pending.begin_post(from, number, id, post, watch);
    }

    fn post(self, post: PostId) {
        let (reply, response) = oneshot::channel();
        self.session.do_send(Post {
            post,
            body: self.envelope.body.clone(),
            reply,
        });
        let (from, envelope, client) = (self.from, self.envelope, self.client.clone());
        actix_rt::spawn(async move {
            let response = client.acknowledge_if_slow(from, &envelope, response).await;
            let outcome = match response {
                Ok(Ok(())) => ForwardOutcome::Done,
                Ok(Err(PostError::TransportMismatch)) => ForwardOutcome::TransportMismatch,
                Ok(Err(PostError::Duplicate)) => ForwardOutcome::Duplicate,
                Ok(Err(PostError::Malformed)) => ForwardOutcome::Malformed,
                Err(_) => ForwardOutcome::Gone,
            };
            client.respond(from, &envelope, outcome, Bytes::new());
        });
    }

    fn probe(self) {
        let (reply, response) = oneshot::channel();
        let base64 = self.envelope.argument == 1;
        self.session.do_send(ProbeStarted { reply, base64 });
        let (from, envelope, client) = (self.from, self.envelope, self.client.clone());
        actix_rt::spawn(async move {
            let outcome = match response.await {
                Ok(true) => ForwardOutcome::Done,
                Ok(false) => ForwardOutcome::Declined,
                Err(_) => ForwardOutcome::Gone,
            };
            client.respond(from, &envelope, outcome, Bytes::new());
        });
    }
}
