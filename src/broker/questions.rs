//! Emits that wait for an answer, and how answers find who asked.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::messages::{PublishReply, Resolve};
use super::rooms::SocketKey;
use super::shard::Shard;
use crate::model::{AckReply, AckToken, Asker, Command, Emit, Payload, WorkerIndex};

/// A question that was asked; dropping it gives the answer up.
pub struct Question {
    id: u64,
    shard: Rc<Shard>,
    answer: oneshot::Receiver<AckReply>,
}

impl Question {
    /// The first answer.
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
            let id = state.next_question * WorkerIndex::LIMIT as u64 + self.worker.get() as u64;
            state.questions.insert(id, sender);
            id
        };
        emit.ack = Some(AckToken {
            asker: Asker::Node(self.directory.node()),
            id,
        });
        self.dispatch(Command::Emit(emit));
        Question {
            id,
            shard: Rc::clone(self),
            answer,
        }
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
        let reply = AckReply {
            token,
            socket,
            payload,
        };
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
        let waiting = self.state.borrow_mut().questions.remove(&reply.token.id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(reply);
        }
    }
}

/// The worker on which a question was asked.
pub fn question_worker(id: u64) -> usize {
    (id % WorkerIndex::LIMIT as u64) as usize
}
