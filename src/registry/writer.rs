//! Copies the table of a node into the store: changes in batches, and everything after a failure.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::entry::RegistryKeys;
use super::table::RegistryTable;
use crate::metrics::Metrics;
use crate::model::{NodeId, SocketId};
use crate::store::{Store, StoreError, Tenure};

/// Time for which changes are collected.
const INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of changes of a worker in a command.
const BATCH: usize = 500;

/// Writes the registry of a node.
pub(super) struct RegistryWriter {
    pub(super) node: NodeId,
    pub(super) table: Arc<RegistryTable>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: RegistryKeys,
    pub(super) tenure: Arc<Tenure>,
    pub(super) metrics: Arc<Metrics>,
}

impl RegistryWriter {
    /// Writes until it is dropped. `connects` changes when the store may have lost what was written.
    pub(super) async fn run(&self, mut connects: watch::Receiver<u64>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_complete = false;
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            if connects.has_changed().unwrap_or(false) {
                connects.mark_unchanged();
                is_complete = false;
            }
            // Another node may be reading the registry as that of a lost node.
            if !self.tenure.is_certain() {
                is_complete = false;
                self.table.await_rewrite();
                continue;
            }
            let written = match is_complete {
                true => self.write_changes().await,
                false => self.write_all().await,
            };
            is_complete = written.is_ok();
            self.metrics
                .registry_pending_changes
                .set(self.table.pending() as i64);
            match written {
                Ok(()) if is_failing => info!("sockets of this node are registered again"),
                Ok(()) => {}
                Err(error) => {
                    self.table.await_rewrite();
                    self.metrics.registry_write_failures_total.increment();
                    if !is_failing {
                        warn!(error:%; "sockets of this node not registered; retrying until the store responds");
                    }
                }
            }
            is_failing = !is_complete;
        }
    }

    /// Writes every socket, and removes those that are gone.
    async fn write_all(&self) -> Result<(), StoreError> {
        self.tenure.expose();
        let node = vec![(self.node.to_string(), self.node.to_string().into())];
        self.store.hash_set(&self.keys.nodes(), node).await?;
        self.table.begin_rewrite();
        self.write_changes().await?;
        let key = self.keys.sockets(self.node);
        let written = self.store.hash_scan(&key).await?;
        let is_gone = |field: &String| {
            !SocketId::parse(field).is_some_and(|socket| self.table.contains(socket))
        };
        let gone: Vec<String> = written.into_iter().map(|(field, _)| field).collect();
        let gone: Vec<String> = gone.into_iter().filter(is_gone).collect();
        for batch in gone.chunks(BATCH) {
            self.store.hash_delete(&key, batch.to_vec()).await?;
        }
        Ok(())
    }

    async fn write_changes(&self) -> Result<(), StoreError> {
        let key = self.keys.sockets(self.node);
        loop {
            let changes = self.table.take(BATCH);
            if changes.set.is_empty() && changes.removed.is_empty() {
                return Ok(());
            }
            let set = changes.set.into_iter();
            let set = set.map(|(socket, entry)| (socket.to_string(), entry.encode()));
            let removed = changes.removed.iter().map(SocketId::to_string);
            let (set, removed) = (set.collect(), removed.collect());
            // Both are under way before either response is awaited.
            let set = self.store.hash_set(&key, set);
            let removed = self.store.hash_delete(&key, removed);
            let (set, removed) = tokio::join!(set, removed);
            set?;
            removed?;
        }
    }

    /// Removes the registry of a node that stops, whose sessions have all ended.
    pub(super) async fn remove(&self) -> Result<(), StoreError> {
        self.store.delete(&self.keys.sockets(self.node)).await?;
        let node = vec![self.node.to_string()];
        self.store.hash_delete(&self.keys.nodes(), node).await?;
        Ok(())
    }
}
