//! The services of a node for the users of its clients.

use std::sync::Arc;

use super::revocations::{RevocationParts, Revocations};
use crate::config::IdentityConfig;
use crate::health::{BusState, Health};
use crate::metrics::Metrics;
use crate::store::MemoryStore;

/// Shared by the workers of a node.
pub struct Users {
    pub revocations: Arc<Revocations>,
}

impl Users {
    /// The services of a node with these parts.
    pub fn new(settings: &IdentityConfig, parts: RevocationParts) -> Arc<Self> {
        Arc::new(Self {
            revocations: Arc::new(Revocations::new(settings, parts)),
        })
    }

    /// The services of workers without other nodes and without a store.
    pub fn alone(settings: &IdentityConfig, metrics: &Arc<Metrics>) -> Arc<Self> {
        let parts = RevocationParts {
            store: Arc::new(MemoryStore::default()),
            prefix: String::new(),
            announce: Box::new(|_topic, _body| {}),
            metrics: Arc::clone(metrics),
            health: Arc::new(Health::new(BusState::Off, false)),
        };
        Self::new(settings, parts)
    }
}
