//! What the workers of a node share: the backends, the token cache, the state in Redis, and events of the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::broadcast;

use super::backends::BackendSet;
use super::bus_events::BusEvent;
use super::redis_state::RedisState;
use super::token_cache::TokenCache;
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::model::Command;
use crate::store::Store;

/// Bus events that may wait for a worker. Beyond that the oldest are dropped, which the worker logs.
const EVENT_QUEUE: usize = 4096;

/// The part of the app that exists once per node.
pub struct Node {
    pub(super) config: OpenWebuiConfig,
    pub(super) backend_set: Arc<BackendSet>,
    pub(super) token_cache: Arc<TokenCache>,
    pub(super) redis: RedisState,
    pub(super) metrics: Arc<Metrics>,
    /// Disconnected sockets whose entries in Redis have not been removed yet.
    pub(super) pending_cleanups: Arc<AtomicUsize>,
    events: broadcast::Sender<BusEvent>,
    has_first_worker: AtomicBool,
}

impl Node {
    /// A node in front of the configured backends; `store` is their Redis.
    pub fn new(config: OpenWebuiConfig, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let redis = RedisState::new(store, &config, Arc::clone(&metrics));
        Self {
            backend_set: Arc::new(BackendSet::new(&config)),
            token_cache: Arc::default(),
            redis,
            metrics,
            pending_cleanups: Arc::default(),
            events: broadcast::channel(EVENT_QUEUE).0,
            has_first_worker: AtomicBool::new(false),
            config,
        }
    }

    /// Whether all entries of disconnected sockets have been removed from Redis.
    pub fn is_settled(&self) -> bool {
        self.pending_cleanups.load(Ordering::Relaxed) == 0
    }

    /// A callback for each command of other processes on the bus. Cheap, and never waits.
    pub fn command_observer(&self) -> impl Fn(&Command) + Send + Sync + 'static {
        let events = self.events.clone();
        move |command| {
            if let Some(event) = BusEvent::of(command) {
                // Fails while the node starts and has no worker yet.
                let _ = events.send(event);
            }
        }
    }

    /// Returns true to the first caller only: one worker runs the tasks that a node needs once.
    pub(super) fn claim_first_worker(&self) -> bool {
        !self.has_first_worker.swap(true, Ordering::Relaxed)
    }

    /// The bus events from now on.
    pub(super) fn bus_events(&self) -> broadcast::Receiver<BusEvent> {
        self.events.subscribe()
    }
}
