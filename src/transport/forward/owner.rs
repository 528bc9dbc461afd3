//! The owner's side: what edges of other nodes ask of the sessions of this worker.

use std::time::Duration;

use actix::Addr;
use actix_rt::task::JoinHandle;
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::Exchange;
use super::envelope::{Envelope, Kind, Outcome, REJECTED};
use crate::bridge::messages::Forwarded;
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

/// Pulls of other nodes that wait for a batch.
#[derive(Default)]
pub struct Pulls(HashMap<(NodeId, u64), JoinHandle<()>>);

/// Does what an edge asks for.
pub fn receive(forwarded: &Forwarded, worker: &Worker, exchange: &Exchange, pulls: &mut Pulls) {
    let Some(envelope) = Envelope::decode(&forwarded.body) else {
        let dropped = &worker.metrics().bus_dropped_total;
        dropped.of(BusDrop::Unreadable).increment();
        return;
    };
    if envelope.kind == Kind::Answer {
        return exchange.answered(envelope);
    }
    match worker.session(envelope.session) {
        Some(session) => Asked {
            from: forwarded.from,
            envelope,
            session,
            exchange,
        }
        .carry_out(pulls),
        None if matches!(envelope.kind, Kind::Pull | Kind::Post | Kind::Probe) => {
            exchange.answer(forwarded.from, &envelope, Outcome::Gone, Bytes::new());
        }
        None => {}
    }
}

struct Asked<'a> {
    from: NodeId,
    envelope: Envelope,
    session: Addr<Session>,
    exchange: &'a Exchange,
}

impl Asked<'_> {
    fn carry_out(self, pulls: &mut Pulls) {
        let post = PostId(self.envelope.exchange | FORWARDED_POST);
        match self.envelope.kind {
            Kind::Pull => self.pull(pulls),
            Kind::PullAborted => {
                if let Some(pull) = pulls.0.remove(&(self.from, self.envelope.exchange)) {
                    pull.abort();
                }
            }
            Kind::PostStarted => self.session.do_send(PostStarted { post, open: None }),
            Kind::Post => self.post(post),
            Kind::PostAborted => {
                let why = match self.envelope.argument {
                    REJECTED => Abort::Rejected,
                    _ => Abort::BrokeOff,
                };
                self.session.do_send(PostAborted { post, why });
            }
            Kind::Probe => self.probe(),
            Kind::Probed => self.session.do_send(Probed),
            Kind::ProbeFailed => self.session.do_send(ProbeFailed),
            Kind::Upgraded => self.session.do_send(Upgraded),
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
            Kind::Detached => self.session.do_send(Detached {
                reason: CloseReason::TransportClose,
            }),
            Kind::Answer | Kind::AreYouThere => {}
        }
    }

    /// Waits for the batch in a task of its own; aborting it closes the outlet, which the session notices.
    fn pull(self, pulls: &mut Pulls) {
        let format = match self.envelope.argument {
            0 => BatchFormat::Polling,
            bytes => BatchFormat::Websocket {
                bytes: bytes as usize,
            },
        };
        let (outlet, batch) = oneshot::channel();
        self.session.do_send(Ready { format, outlet });
        let (from, envelope, exchange) = (self.from, self.envelope, self.exchange.clone());
        let key = (from, envelope.exchange);
        pulls.0.retain(|_, pull| !pull.is_finished());
        let task = actix_rt::spawn(async move {
            let (outcome, body) = match batch.await {
                Ok(Ok(batch)) if batch.last => (Outcome::Last, batch.body),
                Ok(Ok(batch)) => (Outcome::Done, batch.body),
                Ok(Err(PullError::TransportMismatch)) => (Outcome::TransportMismatch, Bytes::new()),
                Ok(Err(PullError::Duplicate)) => (Outcome::Duplicate, Bytes::new()),
                Err(_) => (Outcome::Gone, Bytes::new()),
            };
            exchange.answer(from, &envelope, outcome, body);
        });
        pulls.0.insert(key, task);
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
            let outcome = match answer.await {
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
