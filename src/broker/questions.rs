//! Emits that wait for an answer, and how answers find who asked.

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::directory::Directory;
use super::messages::{Asked, Dispatch, PublishReply, Resolve};
use super::rooms::SocketKey;
use super::shard::{Shard, State};
use crate::model::{AckReply, AckToken, Asker, Command, Emit, Payload, Target, WorkerIndex};

/// Placeholder for the number of nodes that receive a question, until the bus has counted them.
const UNCOUNTED: usize = u32::MAX as usize;

/// A pending question.
pub(super) struct Asking {
    answer: oneshot::Sender<AckReply>,
    /// Workers and nodes that have not reported that the question reached nobody there. At 0, no answer can come.
    open: usize,
}

/// A question that was asked; dropping it discards the answer.
pub struct Question {
    id: u64,
    shard: Rc<Shard>,
    answer: oneshot::Receiver<AckReply>,
}

impl Question {
    /// The first answer; `None` at once if there is nobody to ask.
    pub async fn answer(mut self) -> Option<AckReply> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.shard.state.borrow_mut().questions.remove(&self.id);
    }
}

impl Shard {
    /// Emits an event and waits for the first client's answer, on whatever node it is.
    pub fn ask(self: &Rc<Self>, mut emit: Emit) -> Question {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.state.borrow_mut();
            state.next_question += 1;
            state.next_question * WorkerIndex::LIMIT as u64 + self.worker.get() as u64
        };
        emit.ack = Some(AckToken {
            asker: Asker::Node(self.directory.node()),
            id,
        });
        let command = Command::Emit(emit);
        let asking = Asking {
            answer: sender,
            open: self.parties(&command),
        };
        self.state.borrow_mut().questions.insert(id, asking);
        self.dispatch(command);
        Question {
            id,
            shard: Rc::clone(self),
            answer,
        }
    }

    /// The number of workers of this node, and of other nodes, that a question may reach.
    fn parties(&self, command: &Command) -> usize {
        if own_socket(command, &self.directory).is_some() {
            return 1;
        }
        let others = self.directory.bus().map_or(0, |_| UNCOUNTED);
        self.directory.shards().len().max(1) + others
    }

    /// Applies a command to the sockets of this worker. Notifies the asker if it is a question that reached none of
    /// them.
    pub(super) fn carry_out(&self, dispatch: &Dispatch, since: Instant) {
        let asked = self.apply(dispatch, since);
        if dispatch.reports && asked == 0 {
            self.report_unasked(&dispatch.command);
        }
    }

    /// Reports that a question reached nobody here.
    fn report_unasked(&self, command: &Command) {
        if let Command::Emit(Emit {
            ack: Some(token), ..
        }) = command
            && matches!(token.asker, Asker::Node(_))
        {
            self.reply(AckReply::unasked(token.clone()));
        }
    }

    /// Takes the number of nodes that received a question, as counted by the bus.
    pub(super) fn asked(&self, asked: Asked) {
        let mut state = self.state.borrow_mut();
        if let Some(asking) = state.questions.get_mut(&asked.question) {
            asking.open = (asking.open + asked.nodes).saturating_sub(UNCOUNTED);
        }
        state.give_up_unasked(asked.question);
    }

    /// Whether a socket was asked something and has not answered yet.
    pub fn owes_acks(&self, key: SocketKey) -> bool {
        self.state.borrow().acks.owes(key)
    }

    /// A client of this worker answered an emit.
    pub fn answered(&self, key: SocketKey, ack_id: u32, payload: Payload) {
        let (token, socket) = {
            let mut state = self.state.borrow_mut();
            let Some(token) = state.acks.answer(ack_id, key) else {
                return;
            };
            (token, state.rooms.identity(key).map(|(id, _)| id))
        };
        self.reply(AckReply {
            token,
            socket,
            payload,
        });
    }

    fn reply(&self, reply: AckReply) {
        match reply.token.asker {
            Asker::Node(node) if node == self.directory.node() => self.route(reply),
            _ => {
                if let Some(bus) = self.directory.bus() {
                    bus.reply.do_send(PublishReply(reply));
                }
            }
        }
    }

    fn route(&self, reply: AckReply) {
        let worker = question_worker(reply.token.id);
        if worker == self.worker.get() {
            self.resolve(reply);
        } else if let Some(shard) = self.directory.shards().get(worker) {
            shard.do_send(Resolve(reply));
        }
    }

    pub(super) fn resolve(&self, reply: AckReply) {
        let mut state = self.state.borrow_mut();
        let id = reply.token.id;
        if reply.is_unasked() {
            if let Some(asking) = state.questions.get_mut(&id) {
                asking.open = asking.open.saturating_sub(1);
            }
            state.give_up_unasked(id);
        } else if let Some(asking) = state.questions.remove(&id) {
            let _ = asking.answer.send(reply);
        }
    }
}

impl State {
    /// Ends a question that reached nobody anywhere.
    fn give_up_unasked(&mut self, question: u64) {
        if self
            .questions
            .get(&question)
            .is_some_and(|asking| asking.open == 0)
        {
            self.questions.remove(&question);
        }
    }
}

/// The worker on which a question was asked.
pub fn question_worker(id: u64) -> usize {
    (id % WorkerIndex::LIMIT as u64) as usize
}

/// The worker that owns the target, if that is a single socket of this node: the command need not be published.
pub(super) fn own_socket(command: &Command, directory: &Directory) -> Option<WorkerIndex> {
    match command.target() {
        Target::Socket(socket, _) if socket.node() == directory.node() => Some(socket.worker()),
        _ => None,
    }
}
