//! The bus of a node: its link to the others, its bridge and its store.

use std::sync::Arc;

use actix::Recipient;
use log::debug;

use super::history::{history_of_cluster, set_history};
use crate::app::AppFactory;
use crate::broker::Directory;
use crate::bus::link::{Link, LinkEvents};
use crate::bus::redis::{RedisLink, RedisStore};
use crate::cluster::messages::{Forward, Leave, RouterAddresses};
use crate::cluster::start::{self, BridgeContext, BridgeHandles, ComposeDialects};
use crate::config::Config;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::{NodeId, Random};
use crate::store::{MemoryStore, Store};

/// The bus that connects a node to the others.
pub struct BusHandles {
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    pub store: Arc<dyn Store>,
    /// Composes the dialects of a node.
    pub dialects: ComposeDialects,
}

impl BusHandles {
    /// A bus with the shipped dialects.
    pub fn new(link: Arc<dyn Link>, events: LinkEvents, store: Arc<dyn Store>) -> Self {
        Self {
            link,
            events,
            store,
            dialects: start::dialects,
        }
    }

    /// The bus over Redis, if the configuration names one. Does not wait for the connection.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn from_config(config: &Config, random: &Arc<dyn Random>) -> anyhow::Result<Option<Self>> {
        let Some(settings) = start::redis_settings(&config.bus)? else {
            return Ok(None);
        };
        debug!(target: "roomwire::cluster", "Using Redis to manage websockets.");
        let store = Arc::new(RedisStore::new(settings.clone()));
        let (link, events) = RedisLink::start(settings, Arc::clone(random));
        Ok(Some(Self::new(link, events, store)))
    }
}

/// What the bridge needs from its node.
pub(super) fn bridge_context(
    config: &Config,
    node: NodeId,
    (app, store): (&dyn AppFactory, Option<&Arc<dyn Store>>),
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    router_addresses: &RouterAddresses,
) -> BridgeContext {
    BridgeContext {
        node,
        workers: config.server.workers,
        max_depth: config.socket.max_depth,
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
        routers: Arc::clone(router_addresses),
        command_observers: app.command_observers(),
        server_events: app.server_events(node),
        store: store.map_or_else(|| Arc::new(MemoryStore::default()) as _, Arc::clone),
    }
}

/// With a bus, the recipients of its bridge.
pub(super) type BridgeRecipients = (Option<Recipient<Forward>>, Option<Recipient<Leave>>);

/// The directory of the node, and the recipients of its bridge.
pub(super) fn start_bus(
    config: &Config,
    bus: Option<BusHandles>,
    context: BridgeContext,
    random: &Arc<dyn Random>,
) -> (Arc<Directory>, BridgeRecipients) {
    let Some(bus) = bus else {
        let BridgeContext {
            node,
            workers,
            metrics,
            ..
        } = context;
        let directory = Directory::new(node, workers, None, metrics);
        set_history(config, &directory, random);
        return (directory, (None, None));
    };
    let dialects = (bus.dialects)(&config.bus, context.node);
    let history = history_of_cluster(config, &*bus.link, &dialects);
    let started = start::start_bridge(&config.bus, bus.link, bus.events, dialects, context);
    if let Some(history) = history {
        started.directory.set_history(Arc::new(history));
    }
    let BridgeHandles { forward, leave } = started.handles;
    (started.directory, (Some(forward), Some(leave)))
}
