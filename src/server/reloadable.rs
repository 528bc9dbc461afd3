//! Settings that take effect in a running node.

use std::sync::Arc;

use crate::api::KeyRing;
use crate::config::{Config, DrainConfig, RelayConfig, Reloadable};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::Random;
use crate::tls::InvalidTls;
use crate::transport::access::AccessPolicy;
use crate::webhook::Webhooks;

/// Settings that are read at each use, so that a reload applies at once.
pub(super) struct ReloadableParts {
    pub(super) access: Arc<Reloadable<AccessPolicy>>,
    pub(super) rules: Arc<Reloadable<RelayConfig>>,
    pub(super) drain: Arc<Reloadable<DrainConfig>>,
    /// Their secrets.
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) keys: Arc<Reloadable<KeyRing>>,
}

impl ReloadableParts {
    /// What the settings of a starting node are used by.
    ///
    /// # Errors
    /// A file for TLS cannot be used.
    pub(super) fn new(
        config: &Config,
        (metrics, random, health): (&Arc<Metrics>, &Arc<dyn Random>, &Health),
    ) -> Result<Self, InvalidTls> {
        let webhooks = Webhooks::new(&config.webhook, Arc::clone(metrics), Arc::clone(random))?;
        health.watch_backends(Arc::clone(&webhooks) as _, config.webhook.required);
        Ok(Self {
            access: Reloadable::new(AccessPolicy::new(&config.cors, &config.server)),
            rules: Reloadable::new(config.app.relay.clone()),
            drain: Reloadable::new(config.drain.clone()),
            webhooks,
            keys: Reloadable::new(KeyRing::new(&config.api)),
        })
    }

    pub(super) fn replace(&self, config: &Config) {
        self.access
            .replace(AccessPolicy::new(&config.cors, &config.server));
        self.rules.replace(config.app.relay.clone());
        self.drain.replace(config.drain.clone());
        self.webhooks.replace_secrets(&config.webhook);
        self.keys.replace(KeyRing::new(&config.api));
    }
}
