//! Calls: emits whose acks are collected by the worker that started them. Pure bookkeeping.

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::ack_target::AckTarget;
use super::gather::GatherSender;
use super::parties::Parties;
use crate::model::AckReply;

/// The calls that one worker started, or collects for threads without a shard.
#[derive(Default)]
pub struct Calls {
    open: HashMap<u64, Call>,
}

struct Call {
    acks: AckSink,
    parties: Parties,
}

/// The receiver of the acks of a call.
pub enum AckSink {
    /// The first one ends the call.
    First(oneshot::Sender<AckReply>),
    /// The call ends when `target` is met.
    Several {
        sender: GatherSender<AckReply>,
        target: AckTarget,
        received: usize,
    },
}

impl Calls {
    /// Starts a call.
    pub fn start(&mut self, id: u64, acks: AckSink, parties: Parties) {
        let replaced = self.open.insert(id, Call { acks, parties });
        debug_assert!(replaced.is_none(), "two calls with the id {id}");
    }

    /// Ends a call whose acks are no longer of interest.
    pub fn cancel(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// Records the numbers of nodes and servers that received the emit.
    pub fn counted(&mut self, id: u64, nodes: usize, servers: usize) {
        if let Some(call) = self.open.get_mut(&id) {
            call.parties.counted(nodes.saturating_add(servers));
            if let AckSink::Several { target, .. } = &mut call.acks {
                target.counted(servers);
            }
            self.end_if_done(id);
        }
    }

    /// Records the report of a server, or of a node that the bus counted as one: how many of its sockets have received
    /// the emit.
    pub fn reached(&mut self, id: u64, sockets: usize) {
        if let Some(call) = self.open.get_mut(&id) {
            if sockets == 0 {
                call.parties.responded();
            }
            if let AckSink::Several { target, .. } = &mut call.acks {
                target.reached(sockets);
            }
            self.end_if_done(id);
        }
    }

    /// Takes an ack, or the report of a worker or node that the emit reached no socket there.
    pub fn resolve(&mut self, reply: AckReply) {
        let id = reply.token.id;
        if reply.is_no_recipient() {
            return self.responded(id);
        }
        let Some(call) = self.open.get_mut(&id) else {
            return;
        };
        if let AckSink::Several {
            sender, received, ..
        } = &mut call.acks
        {
            *received += 1;
            pass_on(sender, reply);
            return self.end_if_done(id);
        }
        if let Some(AckSink::First(sender)) = self.open.remove(&id).map(|call| call.acks) {
            // The session may have ended meanwhile.
            let _ = sender.send(reply);
        }
    }

    /// One of the workers and nodes has no ack to send.
    pub fn responded(&mut self, id: u64) {
        if let Some(call) = self.open.get_mut(&id) {
            call.parties.responded();
            self.end_if_done(id);
        }
    }

    /// Ends a call that has all acks, or to which no worker, node or server can still respond.
    fn end_if_done(&mut self, id: u64) {
        let call = self.open.get(&id);
        if call.is_some_and(Call::is_done)
            && let Some(Call {
                acks: AckSink::Several { sender, .. },
                ..
            }) = self.open.remove(&id)
        {
            sender.complete();
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Call {
    fn is_done(&self) -> bool {
        let has_all = match &self.acks {
            AckSink::First(_) => false,
            AckSink::Several {
                target, received, ..
            } => target.is_met(*received),
        };
        has_all || self.parties.is_done()
    }
}

/// Passes an ack on; its node is not missing.
fn pass_on(sender: &GatherSender<AckReply>, ack: AckReply) {
    let node = ack.socket.map(|socket| socket.node());
    sender.answer(ack);
    if let Some(node) = node {
        sender.responded(node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::gather::Gather;
    use crate::clock;
    use crate::model::random::OsRandom;
    use crate::model::{AckToken, NodeId, Payload, ReplyTo, SocketId};

    fn ack(json: &'static str) -> AckReply {
        AckReply {
            token: AckToken {
                reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
                id: 7,
            },
            socket: None,
            payload: Payload::text(json),
        }
    }

    /// A sink for two acks.
    fn several(sender: GatherSender<AckReply>) -> AckSink {
        AckSink::Several {
            sender,
            target: AckTarget::fixed(2),
            received: 0,
        }
    }

    #[test]
    fn the_first_ack_ends_a_call_for_one() {
        let mut calls = Calls::default();
        let (sender, mut receiver) = oneshot::channel();
        calls.start(7, AckSink::First(sender), Parties::new(2, false));
        calls.resolve(ack(""));
        calls.resolve(ack("[1]"));
        calls.resolve(ack("[2]"));
        assert_eq!(receiver.try_recv(), Ok(ack("[1]")));
        assert!(calls.is_empty());
    }

    #[test]
    fn a_call_to_which_nothing_can_respond_ends() {
        let mut calls = Calls::default();
        let (sender, mut receiver) = oneshot::channel();
        calls.start(7, AckSink::First(sender), Parties::new(1, true));
        calls.resolve(ack(""));
        calls.resolve(ack(""));
        assert_eq!(
            receiver.try_recv(),
            Err(oneshot::error::TryRecvError::Empty)
        );
        calls.counted(7, 1, 0);
        assert_eq!(
            receiver.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        );
        assert!(calls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_for_several_ends_with_the_last_of_them() {
        let mut calls = Calls::default();
        let deadline = clock::now() + Duration::from_secs(1);
        let (gather, sender) = Gather::new(deadline, Vec::new());
        let sink = several(sender);
        calls.start(7, sink, Parties::new(3, false));
        for json in ["[1]", "[2]", "[3]"] {
            calls.resolve(ack(json));
        }
        assert!(calls.is_empty());
        assert_eq!(gather.finish().await.answers, [ack("[1]"), ack("[2]")]);
        assert!(clock::now() < deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_reaches_its_deadline_names_the_nodes_without_an_ack() {
        let [acked, silent] = ["bbbb", "cccc"].map(|name| NodeId::parse(name).unwrap());
        let mut calls = Calls::default();
        let deadline = clock::now() + Duration::from_secs(1);
        let (gather, sender) = Gather::new(deadline, vec![acked, silent]);
        let sink = several(sender);
        calls.start(7, sink, Parties::new(1, true));
        let socket = SocketId::random(acked, Default::default(), &OsRandom);
        calls.resolve(AckReply {
            socket: Some(socket),
            ..ack("[1]")
        });
        let gathered = gather.finish().await;
        assert_eq!(
            (gathered.answers.len(), gathered.missing),
            (1, vec![silent])
        );
        calls.cancel(7);
        assert!(calls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_for_all_acks_waits_for_as_many_as_servers_report_sockets() {
        let mut calls = Calls::default();
        let deadline = clock::now() + Duration::from_secs(1);
        let (gather, sender) = Gather::new(deadline, Vec::new());
        let sink = AckSink::Several {
            sender,
            target: AckTarget::all(1, 1, true),
            received: 0,
        };
        calls.start(7, sink, Parties::new(1, true));
        calls.counted(7, 1, 2);
        for json in ["[1]", "[2]", "[3]"] {
            calls.resolve(ack(json));
        }
        calls.reached(7, 0);
        assert!(!calls.is_empty(), "one server has not reported");
        calls.reached(7, 3);
        assert!(!calls.is_empty(), "an ack is missing");
        calls.resolve(ack("[4]"));
        assert!(calls.is_empty());
        assert_eq!(gather.finish().await.answers.len(), 4);
        assert!(clock::now() < deadline);
    }
}
