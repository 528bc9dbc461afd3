//! Requests to other nodes that have no response yet.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::envelope::Envelope;
use crate::model::{EngineId, NodeId};

/// The pending requests of one worker, by number.
#[derive(Clone, Default)]
pub(super) struct PendingRequests {
    requests: Rc<RefCell<HashMap<u64, Pending>>>,
    /// Number of consecutive checks to which each owner has not responded.
    missed_checks: Rc<RefCell<HashMap<NodeId, u32>>>,
}

/// A pending request; dropping it ends the request.
struct Pending {
    session: EngineId,
    responses: mpsc::UnboundedSender<Envelope>,
}

impl PendingRequests {
    /// Adds a request; its acknowledgement and its response arrive at the receiver.
    pub(super) fn add(&self, number: u64, session: EngineId) -> mpsc::UnboundedReceiver<Envelope> {
        let (responses, receiver) = mpsc::unbounded_channel();
        let pending = Pending { session, responses };
        let former = self.requests.borrow_mut().insert(number, pending);
        debug_assert!(former.is_none(), "the number of a request is unique");
        receiver
    }

    pub(super) fn remove(&self, number: u64) {
        self.requests.borrow_mut().remove(&number);
    }

    /// Delivers an acknowledgement or response; drops it if its request has ended.
    pub(super) fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.missed_checks.borrow_mut().remove(&from);
        let requests = self.requests.borrow();
        if let Some(pending) = requests.get(&envelope.request) {
            // The request may be ending.
            let _ = pending.responses.send(envelope);
        }
    }

    /// One session of each node that owns sessions with pending requests. Drops the checks of all other nodes.
    pub(super) fn owners(&self) -> Vec<EngineId> {
        let requests = self.requests.borrow();
        let mut owners: Vec<_> = requests.values().map(|pending| pending.session).collect();
        owners.sort_unstable_by_key(EngineId::node);
        owners.dedup_by_key(|session| session.node());
        let is_owner = |node: &NodeId| owners.iter().any(|session| session.node() == *node);
        self.missed_checks
            .borrow_mut()
            .retain(|node, _| is_owner(node));
        owners
    }

    /// Counts a check of a node; returns the number of checks without a response.
    pub(super) fn count_check(&self, node: NodeId) -> u32 {
        let mut missed = self.missed_checks.borrow_mut();
        let count = missed.entry(node).or_default();
        *count += 1;
        *count
    }

    /// Ends every request to a node. Later requests start with their full time.
    pub(super) fn drop_node(&self, node: NodeId) {
        self.missed_checks.borrow_mut().remove(&node);
        self.requests
            .borrow_mut()
            .retain(|_, pending| pending.session.node() != node);
    }
}
