//! Tracks what other nodes have pending at the sessions of this worker, and ends it when such a node dies.
//!
//! A node that dies cancels nothing itself. Without this, its websockets would carry their sessions until the next ping
//! timeout, and its polls would block the next polls of their clients.

use actix_rt::task::JoinHandle;
use hashbrown::HashMap;

use crate::model::{EngineId, NodeId};
use crate::protocol::engine_io::state::CloseReason;
use crate::session::Worker;
use crate::session::messages::{Abort, Detached, PostAborted, PostId, ProbeFailed};

/// Pending requests by the node that forwarded them.
#[derive(Default)]
pub struct UnderWay(HashMap<NodeId, OfNode>);

#[derive(Default)]
struct OfNode {
    pulls: HashMap<u64, Pull>,
    posts: HashMap<u64, Announced>,
    websockets: HashMap<EngineId, Websocket>,
}

/// A pull that waits for its batch. Aborting the task closes the outlet, which the session notices.
struct Pull {
    session: EngineId,
    task: JoinHandle<()>,
}

/// A POST whose body is not complete.
struct Announced {
    session: EngineId,
    post: PostId,
    /// Answers the POST if the session ends first.
    watch: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Websocket {
    Probes,
    Carries,
}

impl UnderWay {
    pub(super) fn begin_pull(
        &mut self,
        node: NodeId,
        number: u64,
        session: EngineId,
        task: JoinHandle<()>,
    ) {
        let pulls = &mut self.of(node).pulls;
        pulls.insert(number, Pull { session, task });
    }

    pub(super) fn end_pull(&mut self, node: NodeId, number: u64) {
        if let Some(pull) = self.of(node).pulls.remove(&number) {
            pull.task.abort();
        }
    }

    pub(super) fn begin_post(
        &mut self,
        node: NodeId,
        number: u64,
        session: EngineId,
        post: PostId,
        watch: JoinHandle<()>,
    ) {
        let announced = Announced {
            session,
            post,
            watch,
        };
        self.of(node).posts.insert(number, announced);
    }

    pub(super) fn end_post(&mut self, node: NodeId, number: u64) {
        if let Some(post) = self.of(node).posts.remove(&number) {
            post.watch.abort();
        }
    }

    pub(super) fn begin_probe(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of(node).websockets;
        websockets.entry(session).or_insert(Websocket::Probes);
    }

    pub(super) fn end_probe(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of(node).websockets;
        if websockets.get(&session) == Some(&Websocket::Probes) {
            websockets.remove(&session);
        }
    }

    pub(super) fn begin_websocket(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of(node).websockets;
        websockets.insert(session, Websocket::Carries);
    }

    pub(super) fn end_websocket(&mut self, node: NodeId, session: EngineId) {
        self.of(node).websockets.remove(&session);
    }

    fn of(&mut self, node: NodeId) -> &mut OfNode {
        self.0.entry(node).or_default()
    }

    /// Every node with something pending, and one of the sessions concerned. Removes what has ended by itself.
    pub fn nodes(&mut self, worker: &Worker) -> Vec<(NodeId, EngineId)> {
        self.0.retain(|_, of_node| {
            of_node.pulls.retain(|_, pull| !pull.task.is_finished());
            of_node.posts.retain(|_, post| !post.watch.is_finished());
            of_node
                .websockets
                .retain(|session, _| worker.session(*session).is_some());
            of_node.any_session().is_some()
        });
        let session = |(node, of_node): (&NodeId, &OfNode)| Some((*node, of_node.any_session()?));
        self.0.iter().filter_map(session).collect()
    }

    /// Ends everything that a dead node had pending.
    pub fn end_node(&mut self, node: NodeId, worker: &Worker) {
        let Some(gone) = self.0.remove(&node) else {
            return;
        };
        for pull in gone.pulls.into_values() {
            pull.task.abort();
        }
        for announced in gone.posts.into_values() {
            announced.watch.abort();
            if let Some(session) = worker.session(announced.session) {
                let (post, why) = (announced.post, Abort::BrokeOff);
                session.do_send(PostAborted { post, why });
            }
        }
        for (id, websocket) in gone.websockets {
            let Some(session) = worker.session(id) else {
                continue;
            };
            match websocket {
                Websocket::Probes => session.do_send(ProbeFailed),
                Websocket::Carries => session.do_send(Detached {
                    reason: CloseReason::TransportClose,
                }),
            }
        }
    }
}

impl OfNode {
    fn any_session(&self) -> Option<EngineId> {
        let websocket = self.websockets.keys().next();
        let pull = self.pulls.values().next().map(|pull| &pull.session);
        let post = self.posts.values().next().map(|post| &post.session);
        websocket.or(pull).or(post).copied()
    }
}
