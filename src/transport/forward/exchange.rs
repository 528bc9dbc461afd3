//! The edge's side: questions to the node that owns a session, and their answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::envelope::{BROKE_OFF, Envelope, Kind, Outcome, REJECTED};
use crate::bridge::messages::Forward;
use crate::model::{EngineId, Random, WorkerIndex};
use crate::session::messages::Abort;

/// Questions of one worker to other nodes.
#[derive(Clone)]
pub struct Exchange {
    forward: Recipient<Forward>,
    worker: WorkerIndex,
    next: Rc<Cell<u64>>,
    waiting: Waiting,
}

/// Questions under way by number, with whom they were put to: dropping a sender ends its question.
type Waiting = Rc<RefCell<HashMap<u64, (EngineId, oneshot::Sender<Envelope>)>>>;

/// How often the owners of long questions are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A question under way; if its client gives up, the owner is told.
struct Question<'a> {
    exchange: &'a Exchange,
    number: u64,
    session: EngineId,
    kind: Kind,
    answered: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.exchange.waiting.borrow_mut().remove(&self.number);
        if !self.answered && self.kind == Kind::Pull {
            self.exchange
                .tell(self.session, Kind::PullAborted, self.number, Bytes::new());
        }
    }
}

impl Exchange {
    /// The exchange of `worker`. Numbers begin anywhere, so that those of two nodes differ.
    pub fn new(forward: Recipient<Forward>, worker: WorkerIndex, random: &dyn Random) -> Self {
        let mut start = [0; 8];
        random.fill(&mut start);
        let exchange = Self {
            forward,
            worker,
            next: Rc::new(Cell::new(u64::from_be_bytes(start) >> 16)),
            waiting: Rc::default(),
        };
        actix_rt::spawn(exchange.clone().look_after_owners());
        exchange
    }

    /// A node that dies takes its sessions along; whoever waits for one of them should know soon.
    async fn look_after_owners(self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let mut owners: Vec<EngineId> = self
                .waiting
                .borrow()
                .values()
                .map(|(session, _)| *session)
                .collect();
            owners.sort_unstable_by_key(EngineId::node);
            owners.dedup_by_key(|session| session.node());
            for session in owners {
                let (unreachable, lost) = oneshot::channel();
                self.send(
                    session,
                    Kind::AreYouThere,
                    0,
                    0,
                    Bytes::new(),
                    Some(unreachable),
                );
                let waiting = Rc::clone(&self.waiting);
                actix_rt::spawn(async move {
                    if lost.await.is_ok() {
                        waiting
                            .borrow_mut()
                            .retain(|_, (asked, _)| asked.node() != session.node());
                    }
                });
            }
        }
    }

    /// A number that ties several messages together.
    pub fn number(&self) -> u64 {
        let next = self.next.get() + 1;
        self.next.set(next);
        next * WorkerIndex::LIMIT as u64 + self.worker.get() as u64
    }

    /// Asks the owner; [`Outcome::Gone`] if it does not exist, has no such session, or stays silent for `time`.
    pub async fn ask(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
        body: Bytes,
        time: Duration,
    ) -> (Outcome, Bytes) {
        let (sender, answer) = oneshot::channel();
        let (unreachable, lost) = oneshot::channel();
        self.waiting.borrow_mut().insert(number, (session, sender));
        let mut question = Question {
            exchange: self,
            number,
            session,
            kind,
            answered: false,
        };
        self.send(session, kind, number, argument, body, Some(unreachable));
        let answer = tokio::select! {
            answer = answer => answer.ok(),
            Ok(()) = lost => None,
            () = tokio::time::sleep(time) => return (Outcome::Gone, Bytes::new()),
        };
        question.answered = true;
        match answer {
            Some(envelope) => (Outcome::parse(envelope.argument), envelope.body),
            None => (Outcome::Gone, Bytes::new()),
        }
    }

    /// Tells the owner something.
    pub fn tell(&self, session: EngineId, kind: Kind, number: u64, body: Bytes) {
        self.send(session, kind, number, 0, body, None);
    }

    /// Notifies the owner that the body of a post is not delivered.
    pub fn abort_post(&self, session: EngineId, number: u64, why: Abort) {
        let argument = match why {
            Abort::BrokeOff => BROKE_OFF,
            Abort::Rejected => REJECTED,
        };
        self.send(
            session,
            Kind::PostAborted,
            number,
            argument,
            Bytes::new(),
            None,
        );
    }

    /// Tells the owner that a websocket of its session will go, and that what is under way may take `patience`.
    pub(super) fn leave(&self, session: EngineId, patience: Duration) {
        let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        self.send(session, Kind::Detached, 0, milliseconds, Bytes::new(), None);
    }

    fn send(
        &self,
        session: EngineId,
        kind: Kind,
        exchange: u64,
        argument: u32,
        body: Bytes,
        unreachable: Option<oneshot::Sender<()>>,
    ) {
        let envelope = Envelope {
            worker: session.worker(),
            kind,
            exchange,
            session,
            argument,
            body,
        };
        self.forward.do_send(Forward {
            to: session.node(),
            body: envelope.encode(),
            unreachable,
        });
    }

    /// Answers a question of another node.
    pub(super) fn answer(
        &self,
        to: crate::model::NodeId,
        question: &Envelope,
        outcome: Outcome,
        body: Bytes,
    ) {
        let envelope = Envelope {
            worker: question.asking_worker(),
            kind: Kind::Answer,
            exchange: question.exchange,
            session: question.session,
            argument: outcome as u32,
            body,
        };
        self.forward.do_send(Forward {
            to,
            body: envelope.encode(),
            unreachable: None,
        });
    }

    /// An answer came; one that nobody waits for any more is dropped.
    pub(super) fn answered(&self, envelope: Envelope) {
        let waiting = self.waiting.borrow_mut().remove(&envelope.exchange);
        if let Some((_, waiting)) = waiting {
            let _ = waiting.send(envelope);
        }
    }
}
