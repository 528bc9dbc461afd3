//! The edge's side: questions to the node that owns a session, and their answers.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot};

use super::envelope::{BROKE_OFF, Envelope, Kind, Outcome, REJECTED};
use crate::cluster::messages::Forward;
use crate::model::{EngineId, NodeId, Random, WorkerIndex};

/// Questions of one worker to other nodes.
#[derive(Clone)]
pub struct ForwardClient {
    forward: Recipient<Forward>,
    worker: WorkerIndex,
    /// Time in which the owner must acknowledge a request.
    timeout: Duration,
    next: Rc<Cell<u64>>,
    waiting: Waiting,
    /// Number of consecutive checks that each owner has not answered.
    unanswered: Rc<RefCell<HashMap<NodeId, u32>>>,
}

/// Pending questions by number, with the session they concern; dropping a sender ends its question.
type Waiting = Rc<RefCell<HashMap<u64, (EngineId, mpsc::UnboundedSender<Envelope>)>>>;

/// How often the nodes at the other end of pending requests are checked.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// An owner without an answer after this time sends an acknowledgement first. Most answers are faster and need none.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(250);
/// The acknowledgement is sent after one in this many parts of the timeout at the latest.
const TIMEOUT_SHARE: u32 = 4;

/// A pending request. Dropping it before its answer cancels the request.
pub struct Question<'a> {
    exchange: &'a ForwardClient,
    number: u64,
    session: EngineId,
    kind: Kind,
    messages: mpsc::UnboundedReceiver<Envelope>,
    /// Fires if the last message reached no node.
    unreachable: Option<oneshot::Receiver<()>>,
    answered: bool,
}

impl Question<'_> {
    /// Waits until the owner acknowledges the request.
    ///
    /// # Errors
    /// The answer, if it came at once; [`Outcome::Gone`] if the owner does not exist or does not respond in time.
    pub async fn acknowledged(&mut self) -> Result<(), (Outcome, Bytes)> {
        match self.message(self.exchange.timeout).await {
            Some(envelope) if envelope.kind == Kind::Accepted => Ok(()),
            message => Err(self.finish(message)),
        }
    }

    /// Waits for the answer to an acknowledged request; [`Outcome::Gone`] if there is none within `time`.
    pub async fn answer(&mut self, time: Duration) -> (Outcome, Bytes) {
        let deadline = tokio::time::Instant::now() + time;
        loop {
            let left = deadline - tokio::time::Instant::now();
            match self.message(left).await {
                Some(envelope) if envelope.kind == Kind::Accepted => {}
                message => return self.finish(message),
            }
        }
    }

    /// Sends the body of an announced POST; returns the answer.
    pub async fn deliver(&mut self, body: Bytes, time: Duration) -> (Outcome, Bytes) {
        self.kind = Kind::Post;
        self.unreachable =
            Some(
                self.exchange
                    .send_checked(self.session, Kind::Post, self.number, 0, body),
            );
        match self.acknowledged().await {
            Ok(()) => self.answer(time).await,
            Err(answer) => answer,
        }
    }

    /// Reports that the body of an announced POST is rejected; the session continues.
    pub fn reject(&mut self) {
        self.answered = true;
        self.exchange
            .abort_post(self.session, self.number, REJECTED);
    }

    async fn message(&mut self, time: Duration) -> Option<Envelope> {
        tokio::select! {
            message = self.messages.recv() => message,
            () = lost(&mut self.unreachable) => None,
            () = tokio::time::sleep(time) => None,
        }
    }

    fn finish(&mut self, message: Option<Envelope>) -> (Outcome, Bytes) {
        self.answered = message.is_some();
        match message {
            Some(envelope) => (Outcome::parse(envelope.argument), envelope.body),
            None => (Outcome::Gone, Bytes::new()),
        }
    }
}

/// Completes if no node was reached.
async fn lost(unreachable: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = unreachable {
        if receiver.await.is_ok() {
            return;
        }
        *unreachable = None;
    }
    std::future::pending().await
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.exchange.waiting.borrow_mut().remove(&self.number);
        let (session, number) = (self.session, self.number);
        match self.kind {
            _ if self.answered => {}
            Kind::Pull => self
                .exchange
                .tell(session, Kind::PullAborted, number, Bytes::new()),
            Kind::PostStarted => self.exchange.abort_post(session, number, BROKE_OFF),
            _ => {}
        }
    }
}

impl ForwardClient {
    /// The exchange of `worker`. Numbers begin anywhere, so that those of two nodes differ.
    pub fn new(
        forward: Recipient<Forward>,
        worker: WorkerIndex,
        timeout: Duration,
        random: &dyn Random,
    ) -> Self {
        let mut start = [0; 8];
        random.fill(&mut start);
        let exchange = Self {
            forward,
            worker,
            timeout,
            next: Rc::new(Cell::new(u64::from_be_bytes(start) >> 16)),
            waiting: Rc::default(),
            unanswered: Rc::default(),
        };
        actix_rt::spawn(exchange.clone().look_after_owners());
        exchange
    }

    /// Ends pending questions soon after an owner dies or stops responding. Counts unanswered checks instead of
    /// measuring time: after a pause of this node, answers may be waiting unread.
    async fn look_after_owners(self) {
        let patience = self.timeout.as_secs().max(1) as u32;
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
            self.forget_others(&owners);
            for session in owners {
                let node = session.node();
                if self.count_check(node) > patience {
                    self.give_up(node);
                }
                let lost =
                    self.send_checked(session, Kind::AreYouThere, self.number(), 0, Bytes::new());
                let exchange = self.clone();
                actix_rt::spawn(async move {
                    if lost.await.is_ok() {
                        exchange.give_up(node);
                    }
                });
            }
        }
    }

    fn forget_others(&self, owners: &[EngineId]) {
        let is_owner = |node: &NodeId| owners.iter().any(|session| session.node() == *node);
        self.unanswered
            .borrow_mut()
            .retain(|node, _| is_owner(node));
    }

    /// Counts a check; returns how many are unanswered.
    fn count_check(&self, node: NodeId) -> u32 {
        let mut unanswered = self.unanswered.borrow_mut();
        let count = unanswered.entry(node).or_default();
        *count += 1;
        *count
    }

    /// Ends every question to a node. Later ones start with their full time.
    fn give_up(&self, node: NodeId) {
        self.unanswered.borrow_mut().remove(&node);
        self.waiting
            .borrow_mut()
            .retain(|_, (session, _)| session.node() != node);
    }

    /// A number that ties several messages together.
    pub fn number(&self) -> u64 {
        let next = self.next.get() + 1;
        self.next.set(next);
        next * WorkerIndex::LIMIT as u64 + self.worker.get() as u64
    }

    /// Checks whether a node that has requests pending at `session` is still on the bus; the receiver fires if it is
    /// not.
    pub fn check(&self, node: NodeId, session: EngineId) -> oneshot::Receiver<()> {
        let envelope = Envelope {
            worker: WorkerIndex::default(),
            kind: Kind::AreYouThere,
            exchange: 0,
            session,
            argument: 0,
            body: Bytes::new(),
        };
        let (unreachable, lost) = oneshot::channel();
        self.forward.do_send(Forward {
            to: node,
            body: envelope.encode(),
            unreachable: Some(unreachable),
        });
        lost
    }

    /// Sends a request to the owner of a session.
    pub fn question(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
    ) -> Question<'_> {
        let (sender, messages) = mpsc::unbounded_channel();
        self.waiting.borrow_mut().insert(number, (session, sender));
        let unreachable = self.send_checked(session, kind, number, argument, Bytes::new());
        Question {
            exchange: self,
            number,
            session,
            kind,
            messages,
            unreachable: Some(unreachable),
            answered: false,
        }
    }

    /// Sends a request to the owner, which must acknowledge it within `bus.forward_timeout` and answer it within
    /// `time`. Otherwise, or if the owner does not exist or has no such session, the outcome is [`Outcome::Gone`].
    pub async fn ask(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
        time: Duration,
    ) -> (Outcome, Bytes) {
        let mut question = self.question(session, kind, number, argument);
        match question.acknowledged().await {
            Ok(()) => question.answer(time).await,
            Err(answer) => answer,
        }
    }

    /// Tells the owner something.
    pub fn tell(&self, session: EngineId, kind: Kind, number: u64, body: Bytes) {
        self.send(session, kind, number, 0, body, None);
    }

    /// Notifies the owner that the body of a POST will not be delivered.
    fn abort_post(&self, session: EngineId, number: u64, why: u32) {
        self.send(session, Kind::PostAborted, number, why, Bytes::new(), None);
    }

    fn send_checked(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
        body: Bytes,
    ) -> oneshot::Receiver<()> {
        let (unreachable, lost) = oneshot::channel();
        self.send(session, kind, number, argument, body, Some(unreachable));
        lost
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

    /// Waits for the answer to a request of another node, and acknowledges the request if the answer is slow.
    pub(super) async fn acknowledging<T>(
        &self,
        to: NodeId,
        question: &Envelope,
        answer: impl Future<Output = T>,
    ) -> T {
        let patience = ACKNOWLEDGE_AFTER.min(self.timeout / TIMEOUT_SHARE);
        let mut answer = pin!(answer);
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.acknowledge(to, question);
                answer.await
            }
        }
    }

    /// Acknowledges a request of another node: its answer follows.
    pub(super) fn acknowledge(&self, to: NodeId, question: &Envelope) {
        self.respond(to, question, Kind::Accepted, 0, Bytes::new());
    }

    /// Answers a request of another node.
    pub(super) fn answer(&self, to: NodeId, question: &Envelope, outcome: Outcome, body: Bytes) {
        self.respond(to, question, Kind::Answer, outcome as u32, body);
    }

    fn respond(&self, to: NodeId, question: &Envelope, kind: Kind, argument: u32, body: Bytes) {
        let envelope = Envelope {
            worker: question.asking_worker(),
            kind,
            exchange: question.exchange,
            session: question.session,
            argument,
            body,
        };
        self.forward.do_send(Forward {
            to,
            body: envelope.encode(),
            unreachable: None,
        });
    }

    /// Dispatches an acknowledgement or answer to its question; drops it if the question has ended.
    pub(super) fn responded(&self, from: NodeId, envelope: Envelope) {
        self.unanswered.borrow_mut().remove(&from);
        let waiting = self.waiting.borrow();
        if let Some((_, waiting)) = waiting.get(&envelope.exchange) {
            let _ = waiting.send(envelope);
        }
    }
}
