//! Settings that take effect in a running node.

use std::sync::Arc;

use crate::config::{Config, DrainConfig, RelayConfig, Reloadable};
use crate::transport::access::AccessPolicy;

/// Settings that are read at each use, so that a reload applies at once.
pub(super) struct ReloadableParts {
    pub(super) access: Arc<Reloadable<AccessPolicy>>,
    pub(super) rules: Arc<Reloadable<RelayConfig>>,
    pub(super) drain: Arc<Reloadable<DrainConfig>>,
}

impl ReloadableParts {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            access: Reloadable::new(AccessPolicy::new(&config.cors, &config.server)),
            rules: Reloadable::new(config.app.relay.clone()),
            drain: Reloadable::new(config.drain.clone()),
        }
    }

    pub(super) fn replace(&self, config: &Config) {
        self.access
            .replace(AccessPolicy::new(&config.cors, &config.server));
        self.rules.replace(config.app.relay.clone());
        self.drain.replace(config.drain.clone());
    }
}
