//! What all upstream connections of a node share: settings, limits, the balancer, and the filter of events.

use std::sync::Arc;

use log::warn;

use super::balancer::Balancer;
use super::limits::{ConnectionLimits, OverLimit, Permit};
use crate::config::UpstreamConfig;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::{UpstreamEventKind, UpstreamRejection};
use crate::model::{Network, Payload, Random, Unfit, ViaMark};

/// The upstreams of a node. Shared by its workers.
pub struct Pool {
    balancer: Arc<Balancer>,
    settings: UpstreamConfig,
    limits: Arc<ConnectionLimits>,
    mark: ViaMark,
    metrics: Arc<Metrics>,
    random: Arc<dyn Random>,
}

impl Pool {
    /// A pool of the configured upstreams. `mark` identifies the connections of this node, to detect loops. Nothing is
    /// opened yet.
    pub fn new(
        settings: UpstreamConfig,
        mark: ViaMark,
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        Arc::new(Self {
            balancer: Balancer::new(&settings.urls, Arc::clone(&metrics), Arc::clone(&random)),
            limits: ConnectionLimits::new(
                settings.max_connections,
                settings.max_connections_per_user,
                settings.max_connections_per_ip,
            ),
            settings,
            mark,
            metrics,
            random,
        })
    }

    /// The settings of the pool.
    pub fn settings(&self) -> &UpstreamConfig {
        &self.settings
    }

    pub(super) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// The mark of this node's connections.
    pub(super) fn mark(&self) -> &ViaMark {
        &self.mark
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The source of nonces and masks.
    pub(super) fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    /// Counts an event.
    pub(super) fn count(&self, event: UpstreamEventKind) {
        self.metrics.upstream_events_total.of(event).increment();
    }

    /// Counts a rejected connection.
    pub(super) fn count_rejection(&self, reason: UpstreamRejection) {
        let rejected = &self.metrics.upstream_connections_rejected_total;
        rejected.of(reason).increment();
    }

    /// Counts and logs a packet of an upstream that is dropped because stock clients would close their connections on
    /// it.
    pub(super) fn drop_unfit(&self, unfit: &Unfit) {
        self.count(UpstreamEventKind::Unfit);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(reason:% = unfit, others; "packet from an upstream dropped: clients would close their connections on receiving it");
        }
    }

    /// Whether an event matches `app.upstream.forward`.
    pub(super) fn forwards(&self, event: &Payload) -> bool {
        let patterns = &self.settings.forward;
        event
            .event_name()
            .is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(&name)))
    }

    /// A permit for one more connection.
    pub(super) fn acquire_permit(
        &self,
        user: Option<&str>,
        network: Option<Network>,
    ) -> Result<Permit, OverLimit> {
        self.limits.acquire(user, network).inspect_err(|over| {
            self.count_rejection(match over {
                OverLimit::Node => UpstreamRejection::Node,
                OverLimit::User => UpstreamRejection::User,
                OverLimit::Address => UpstreamRejection::Address,
            });
        })
    }
}
