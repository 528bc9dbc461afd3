//! The services of a node for the users of its clients.

use std::sync::Arc;

use super::counts::UserCounts;
use super::revocations::{RevocationParts, Revocations};
use super::session_locks::{LockParts, SessionLocks};
use crate::config::IdentityConfig;
use crate::health::{BusState, Health};
use crate::metrics::Metrics;
use crate::model::NodeId;
use crate::store::MemoryStore;

/// Shared by the workers of a node.
pub struct Users {
    pub revocations: Arc<Revocations>,
    pub counts: Arc<UserCounts>,
    pub locks: Arc<SessionLocks>,
}

impl Users {
    /// The services of a node with these parts.
    pub fn new(
        settings: &IdentityConfig,
        revocations: RevocationParts,
        locks: LockParts,
    ) -> Arc<Self> {
        Arc::new(Self {
            revocations: Arc::new(Revocations::new(settings, revocations)),
            counts: Arc::default(),
            locks: SessionLocks::new(settings.sessions_per_user, locks),
        })
    }

    /// The services of workers without other nodes and without a store.
    pub fn alone(settings: &IdentityConfig, node: NodeId, metrics: &Arc<Metrics>) -> Arc<Self> {
        let revocations = RevocationParts {
            store: Arc::new(MemoryStore::default()),
            prefix: String::new(),
            announce: Box::new(|_topic, _body| {}),
            metrics: Arc::clone(metrics),
            health: Arc::new(Health::new(BusState::Off, false)),
        };
        let locks = LockParts {
            node,
            store: None,
            prefix: String::new(),
            evict: Box::new(|_namespace, _socket| {}),
            is_live: Box::new(|_node| false),
        };
        Self::new(settings, revocations, locks)
    }
}
