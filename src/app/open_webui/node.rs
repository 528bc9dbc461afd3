//! What the workers of a node share: the backends, the token_cache, the pools, and what was heard on the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::broadcast;

use super::backends::Fleet;
use super::bus_events::{self, Heard};
use super::redis_state::Pools;
use super::token_cache::TokenCache;
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::model::Command;
use crate::store::Store;

/// UpstreamEvent that may wait for a worker; it is told that it missed some beyond that.
const NEWS_LIMIT: usize = 4096;

/// The part of the app that a node has once.
pub struct Node {
    pub(super) config: OpenWebuiConfig,
    pub(super) fleet: Arc<Fleet>,
    pub(super) token_cache: Arc<TokenCache>,
    pub(super) pools: Pools,
    pub(super) metrics: Arc<Metrics>,
    /// Sockets that are gone and not yet cleaned up after.
    pub(super) departing: Arc<AtomicUsize>,
    heard: broadcast::Sender<Heard>,
    watched: AtomicBool,
}

impl Node {
    /// A node in front of the configured backends; `store` is their Redis.
    pub fn new(config: OpenWebuiConfig, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let pools = Pools::new(store, &config, Arc::clone(&metrics));
        Self {
            fleet: Arc::new(Fleet::new(&config)),
            token_cache: Arc::default(),
            pools,
            metrics,
            departing: Arc::default(),
            heard: broadcast::channel(NEWS_LIMIT).0,
            watched: AtomicBool::new(false),
            config,
        }
    }

    /// Whether nothing is left to be cleaned up after sockets that are gone.
    pub fn is_settled(&self) -> bool {
        self.departing.load(Ordering::Relaxed) == 0
    }

    /// Listens to what others command on the bus, in passing: cheap, and never waits.
    pub fn overhear(&self) -> impl Fn(&Command) + Send + Sync + 'static {
        let heard = self.heard.clone();
        move |command| {
            if let Some(news) = bus_events::news(command) {
                // A node that is starting has no workers yet.
                let _ = heard.send(news);
            }
        }
    }

    /// True once: one worker does what a node does once.
    pub(super) fn is_first_worker(&self) -> bool {
        !self.watched.swap(true, Ordering::Relaxed)
    }

    pub(super) fn heard(&self) -> broadcast::Receiver<Heard> {
        self.heard.subscribe()
    }
}
