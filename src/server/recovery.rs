//! The parts of sessions, and their recovery.

use std::sync::Arc;

use super::node_sessions::node_session_parts;
use crate::broker::{Directory, Ingress};
use crate::config::Config;
use crate::model::Random;
use crate::recovery::{Recovery, RecoveryParts};
use crate::session::SessionSettings;
use crate::store::{MemoryStore, Store};

/// The topic of announcements of sessions that continue with another socket.
const CLAIM_TOPIC: &str = "session";

/// What the sessions of a node need.
pub(super) struct SessionParts {
    pub(super) settings: Arc<SessionSettings>,
    /// Set if sessions can be recovered.
    pub(super) recovery: Option<Arc<Recovery>>,
}

impl SessionParts {
    /// What this configuration requests; `store` is that of the bus.
    pub(super) fn of(
        config: &Config,
        directory: &Arc<Directory>,
        store: Option<Arc<dyn Store>>,
        random: &Arc<dyn Random>,
    ) -> Self {
        Self {
            settings: Arc::new(SessionSettings::of(config)),
            recovery: start_recovery(
                config,
                directory,
                store.unwrap_or_else(|| Arc::new(MemoryStore::default())),
                random,
            ),
        }
    }
}

/// The recovery of a node, if the configuration requests it.
pub fn start_recovery(
    config: &Config,
    directory: &Arc<Directory>,
    store: Arc<dyn Store>,
    random: &Arc<dyn Random>,
) -> Option<Arc<Recovery>> {
    let ingress = Ingress::new(Arc::clone(directory));
    let parts = RecoveryParts {
        store,
        prefix: config.bus.channel_prefix.clone(),
        history: Arc::clone(directory.history()?),
        node_sessions: node_session_parts(&config.bus, directory.node()),
        random: Arc::clone(random),
        metrics: Arc::clone(directory.metrics()),
        announce: Box::new(move |body| ingress.announce(CLAIM_TOPIC, body)),
        ping_interval: config.engine.ping_interval,
        ping_timeout: config.engine.ping_timeout,
    };
    let recovery = Recovery::new(config.recovery.clone(), parts).map(Arc::new)?;
    let announced = Arc::clone(&recovery);
    directory.listen(CLAIM_TOPIC, Box::new(move |body| announced.announced(body)));
    Some(recovery)
}
