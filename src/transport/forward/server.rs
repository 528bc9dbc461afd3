//! The owner's side: what edges of other nodes ask of the sessions of this worker.

use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::ForwardClient;
use super::envelope::{Envelope, Kind, Outcome, REJECTED};
use super::under_way::UnderWay;
use crate::cluster::messages::Forwarded;
use crate::metrics::labels::BusDrop;
use crate::model::NodeId;
use crate::protocol::engine_io::state::CloseReason;
use crate::session::messages::{
    Abort, BatchFormat, Detached, Post, PostAborted, PostError, PostId, PostStarted, ProbeFailed,
    ProbeStarted, Probed, PullError, Ready, Receive, ShutDown, Upgraded,
};
use crate::session::{Session, Worker};

/// Posts of other nodes are numbered apart from those of this one.
const FORWARDED_POST: u64 = 1 << 63;

/// Does what an edge asks for.
pub fn receive(
    forwarded: &Forwarded,
    worker: &Worker,
    exchange: &ForwardClient,
    under_way: &mut UnderWay,
) {
    let Some(envelope) = Envelope::decode(&forwarded.body) else {
        let dropped = &worker.metrics().bus_dropped_total;
        dropped.of(BusDrop::Unreadable).increment();
        return;
    };
    match envelope.kind {
        Kind::Answer | Kind::Accepted => return exchange.responded(forwarded.from, envelope),
        Kind::AreYouThere if envelope.exchange == 0 => return,
        Kind::AreYouThere => return exchange.acknowledge(forwarded.from, &envelope),
        _ => {}
    }
    match worker.session(envelope.session) {
        Some(session) => Asked {
            from: forwarded.from,
            envelope,
            session,
            exchange,
        }
        .carry_out(under_way),
        None if matches!(
            envelope.kind,
            Kind::Pull | Kind::PostStarted | Kind::Post | Kind::Probe
        ) =>
        {
            exchange.answer(forwarded.from, &envelope, Outcome::Gone, Bytes::new());
        }
        None => {}
    }
}

struct Asked<'a> {
    from: NodeId,
    envelope: Envelope,
    session: Addr<Session>,
    exchange: &'a ForwardClient,
}

impl Asked<'_> {
    fn carry_out(self, under_way: &mut UnderWay) {
        let (from, number, id) = (self.from, self.envelope.exchange, self.envelope.session);
        let post = PostId(number | FORWARDED_POST);
        match self.envelope.kind {
            Kind::Pull => self.pull(under_way),
            Kind::PullAborted => under_way.end_pull(from, number),
            Kind::PostStarted => self.announce(post, under_way),
            Kind::Post => {
                under_way.end_post(from, number);
                self.post(post);
            }
            Kind::PostAborted => {
                under_way.end_post(from, number);
                let why = match self.envelope.argument {
                    REJECTED => Abort::Rejected,
                    _ => Abort::BrokeOff,
                };
                self.session.do_send(PostAborted { post, why });
            }
            Kind::Probe => {
                under_way.begin_probe(from, id);
                self.probe();
            }
            Kind::Probed => self.session.do_send(Probed),
            Kind::ProbeFailed => {
                under_way.end_probe(from, id);
                self.session.do_send(ProbeFailed);
            }
            Kind::Upgraded => {
                under_way.begin_websocket(from, id);
                self.session.do_send(Upgraded);
            }
            Kind::Text => match String::from_utf8(self.envelope.body.to_vec()) {
                Ok(text) => self.session.do_send(Receive::Text(text)),
                Err(_) => self.session.do_send(Detached {
                    reason: CloseReason::ParseError,
                }),
            },
            Kind::Binary => self.session.do_send(Receive::Binary(self.envelope.body)),
            Kind::Detached if self.envelope.argument > 0 => {
                let patience = Duration::from_millis(self.envelope.argument.into());
                self.session.do_send(ShutDown { patience });
            }
            Kind::Detached => {
                under_way.end_websocket(from, id);
                self.session.do_send(Detached {
                    reason: CloseReason::TransportClose,
                });
            }
            Kind::Answer | Kind::Accepted | Kind::AreYouThere => {}
        }
    }

    /// Waits for the batch in a task of its own; aborting it closes the outlet, which the session notices.
    fn pull(self, under_way: &mut UnderWay) {
        let format = match self.envelope.argument {
            0 => BatchFormat::Polling,
            bytes => BatchFormat::Websocket {
                bytes: bytes as usize,
            },
        };
        let (outlet, batch) = oneshot::channel();
        self.session.do_send(Ready { format, outlet });
        let (from, envelope, exchange) = (self.from, self.envelope, self.exchange.clone());
        let (number, session) = (envelope.exchange, envelope.session);
        let task = actix_rt::spawn(async move {
            let batch = exchange.acknowledging(from, &envelope, batch).await;
            let (outcome, body) = match batch {
                Ok(Ok(batch)) if batch.last => (Outcome::Last, batch.body),
                Ok(Ok(batch)) => (Outcome::Done, batch.body),
                Ok(Err(PullError::TransportMismatch)) => (Outcome::TransportMismatch, Bytes::new()),
                Ok(Err(PullError::Duplicate)) => (Outcome::Duplicate, Bytes::new()),
                Err(_) => (Outcome::Gone, Bytes::new()),
            };
            exchange.answer(from, &envelope, outcome, body);
        });
        under_way.begin_pull(from, number, session, task);
    }

    /// Announces a POST to its session, and answers it if the session ends before the body is complete.
    fn announce(self, post: PostId, under_way: &mut UnderWay) {
        let (open, session_ended) = oneshot::channel();
        let open = Some(open);
        self.session.do_send(PostStarted { post, open });
        self.exchange.acknowledge(self.from, &self.envelope);
        let (from, envelope, exchange) = (self.from, self.envelope, self.exchange.clone());
        let (number, id) = (envelope.exchange, envelope.session);
        let watch = actix_rt::spawn(async move {
            let _ = session_ended.await;
            exchange.answer(from, &envelope, Outcome::Duplicate, Bytes::new());
        });
        under_way.begin_post(from, number, id, post, watch);
    }

    fn post(self, post: PostId) {
        let (reply, answer) = oneshot::channel();
        self.session.do_send(Post {
            post,
            body: self.envelope.body.clone(),
            reply,
        });
        let (from, envelope, exchange) = (self.from, self.envelope, self.exchange.clone());
        actix_rt::spawn(async move {
            let answer = exchange.acknowledging(from, &envelope, answer).await;
            let outcome = match answer {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(PostError::TransportMismatch)) => Outcome::TransportMismatch,
                Ok(Err(PostError::Duplicate)) => Outcome::Duplicate,
                Ok(Err(PostError::Malformed)) => Outcome::Malformed,
                Err(_) => Outcome::Gone,
            };
            exchange.answer(from, &envelope, outcome, Bytes::new());
        });
    }

    fn probe(self) {
        let (reply, answer) = oneshot::channel();
        self.session.do_send(ProbeStarted { reply });
        let (from, envelope, exchange) = (self.from, self.envelope, self.exchange.clone());
        actix_rt::spawn(async move {
            let outcome = match answer.await {
                Ok(true) => Outcome::Done,
                Ok(false) => Outcome::Declined,
                Err(_) => Outcome::Gone,
            };
            exchange.answer(from, &envelope, outcome, Bytes::new());
        });
    }
}
