//! Sends the messages between nodes that concern sessions.

use std::sync::Arc;

use actix::Recipient;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::envelope::{Envelope, Kind};
use crate::broker::Directory;
use crate::cluster::messages::Forward;
use crate::model::{EngineId, NodeId, WorkerIndex};

/// Sends the messages of one worker to other nodes.
#[derive(Clone)]
pub(super) struct Sender {
    bridge: Recipient<Forward>,
    /// Counts the messages that wait for the bridge.
    directory: Arc<Directory>,
}

/// A message for the owner of a session.
pub(super) struct OwnerMessage {
    pub(super) session: EngineId,
    pub(super) kind: Kind,
    /// Number of the request, 0 if there is none.
    pub(super) request: u64,
    pub(super) argument: u32,
    pub(super) body: Bytes,
}

impl Sender {
    pub(super) fn new(bridge: Recipient<Forward>, directory: Arc<Directory>) -> Self {
        Self { bridge, directory }
    }

    /// Sends a message to the owner of its session.
    pub(super) fn send(&self, message: OwnerMessage) {
        self.send_to_owner(message, None);
    }

    /// Sends a message to the owner of its session. The receiver fires if no node receives it.
    pub(super) fn send_checked(&self, message: OwnerMessage) -> oneshot::Receiver<()> {
        let (unreachable, lost) = oneshot::channel();
        self.send_to_owner(message, Some(unreachable));
        lost
    }

    fn send_to_owner(&self, message: OwnerMessage, unreachable: Option<oneshot::Sender<()>>) {
        let OwnerMessage {
            session,
            kind,
            request,
            argument,
            body,
        } = message;
        let envelope = Envelope {
            worker: session.worker(),
            kind,
            request,
            session,
            argument,
            body,
        };
        self.forward(session.node(), &envelope, unreachable);
    }

    /// Checks whether a node is on the bus; the receiver fires if it is not.
    pub(super) fn check_node(&self, node: NodeId, session: EngineId) -> oneshot::Receiver<()> {
        let envelope = Envelope {
            worker: WorkerIndex::default(),
            kind: Kind::NodeCheck,
            request: 0,
            session,
            argument: 0,
            body: Bytes::new(),
        };
        let (unreachable, lost) = oneshot::channel();
        self.forward(node, &envelope, Some(unreachable));
        lost
    }

    /// Responds to a request of another node.
    pub(super) fn respond(
        &self,
        to: NodeId,
        request: &Envelope,
        kind: Kind,
        argument: u32,
        body: Bytes,
    ) {
        let envelope = Envelope {
            worker: request.requesting_worker(),
            kind,
            request: request.request,
            session: request.session,
            argument,
            body,
        };
        self.forward(to, &envelope, None);
    }

    fn forward(&self, to: NodeId, envelope: &Envelope, unreachable: Option<oneshot::Sender<()>>) {
        let body = envelope.encode();
        let bridge = self.directory.bridge_index();
        self.directory.backlog_grew(bridge, body.len());
        self.bridge.do_send(Forward {
            to,
            body,
            unreachable,
        });
    }
}
