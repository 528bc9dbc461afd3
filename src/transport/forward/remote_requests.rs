//! The requests of other nodes that are pending at the sessions of this worker, ended when such a node dies.
//!
//! A node that dies cancels none of its requests. Without this, its websockets would carry their sessions until the next ping
//! timeout, and its polls would block the next polls of their clients.

use actix_rt::task::JoinHandle;
use hashbrown::HashMap;

use crate::model::{EngineId, NodeId};
use crate::protocol::engine_io::state::CloseReason;
use crate::session::Worker;
use crate::session::messages::{Abort, Detached, PostAborted, PostId, ProbeFailed};

/// Pending requests by the node that forwarded them.
#[derive(Default)]
pub struct RemoteRequests(HashMap<NodeId, NodeRequests>);

#[derive(Default)]
struct NodeRequests {
    pulls: HashMap<u64, Pull>,
    posts: HashMap<u64, AnnouncedPost>,
    websockets: HashMap<EngineId, WebsocketRole>,
}

/// A pull that waits for its batch. Aborting the task closes the channel of the batch, which the session notices.
struct Pull {
    session: EngineId,
    task: JoinHandle<()>,
}

/// A POST whose body is not complete.
struct AnnouncedPost {
    session: EngineId,
    post: PostId,
    /// Responds to the POST if the session ends first.
    watch: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WebsocketRole {
    Probe,
    Carrier,
}

impl RemoteRequests {
    pub(super) fn begin_pull(
        &mut self,
        node: NodeId,
        number: u64,
        session: EngineId,
        task: JoinHandle<()>,
    ) {
        let pulls = &mut self.of_node(node).pulls;
        pulls.insert(number, Pull { session, task });
    }

    pub(super) fn end_pull(&mut self, node: NodeId, number: u64) {
        if let Some(pull) = self.of_node(node).pulls.remove(&number) {
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
        let announced = AnnouncedPost {
            session,
            post,
            watch,
        };
        self.of_node(node).posts.insert(number, announced);
    }

    pub(super) fn end_post(&mut self, node: NodeId, number: u64) {
        if let Some(post) = self.of_node(node).posts.remove(&number) {
            post.watch.abort();
        }
    }

    pub(super) fn begin_probe(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of_node(node).websockets;
        websockets.entry(session).or_insert(WebsocketRole::Probe);
    }

    pub(super) fn end_probe(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of_node(node).websockets;
        if websockets.get(&session) == Some(&WebsocketRole::Probe) {
            websockets.remove(&session);
        }
    }

    pub(super) fn begin_websocket(&mut self, node: NodeId, session: EngineId) {
        let websockets = &mut self.of_node(node).websockets;
        websockets.insert(session, WebsocketRole::Carrier);
    }

    pub(super) fn end_websocket(&mut self, node: NodeId, session: EngineId) {
        self.of_node(node).websockets.remove(&session);
    }

    fn of_node(&mut self, node: NodeId) -> &mut NodeRequests {
        self.0.entry(node).or_default()
    }

    /// Every node with pending requests, and one of the sessions concerned. Removes requests that have ended.
    pub fn nodes(&mut self, worker: &Worker) -> Vec<(NodeId, EngineId)> {
        self.0.retain(|_, requests| {
            requests.pulls.retain(|_, pull| !pull.task.is_finished());
            requests.posts.retain(|_, post| !post.watch.is_finished());
            requests
                .websockets
                .retain(|session, _| worker.session(*session).is_some());
            requests.any_session().is_some()
        });
        let session =
            |(node, requests): (&NodeId, &NodeRequests)| Some((*node, requests.any_session()?));
        self.0.iter().filter_map(session).collect()
    }

    /// Ends the requests of a dead node.
    pub fn end_node(&mut self, node: NodeId, worker: &Worker) {
        let Some(lost) = self.0.remove(&node) else {
            return;
        };
        for pull in lost.pulls.into_values() {
            pull.task.abort();
        }
        for announced in lost.posts.into_values() {
            announced.watch.abort();
            if let Some(session) = worker.session(announced.session) {
                let (post, why) = (announced.post, Abort::BrokeOff);
                session.do_send(PostAborted { post, why });
            }
        }
        for (id, websocket) in lost.websockets {
            let Some(session) = worker.session(id) else {
                continue;
            };
            match websocket {
                WebsocketRole::Probe => session.do_send(ProbeFailed),
                WebsocketRole::Carrier => session.do_send(Detached {
                    reason: CloseReason::TransportClose,
                }),
            }
        }
    }
}

impl NodeRequests {
    fn any_session(&self) -> Option<EngineId> {
        let websocket = self.websockets.keys().next();
        let pull = self.pulls.values().next().map(|pull| &pull.session);
        let post = self.posts.values().next().map(|post| &post.session);
        websocket.or(pull).or(post).copied()
    }
}
