//! Commands on their way to the shards of a node.

use std::time::Instant;

use super::directory::Directory;
use super::messages::{Dispatch, DispatchAll, weight};
use crate::model::Workers;

/// Dispatches for other threads, held back until the end of a turn so that a burst crosses to each thread once.
#[derive(Debug, Default)]
pub struct PendingDispatches {
    by_worker: Vec<Vec<Dispatch>>,
    /// When the first of them was dispatched, or received from the bus.
    since: Option<Instant>,
}

impl PendingDispatches {
    /// Adds a dispatch for each of `workers`, whose backlogs grow by it.
    pub fn stage(
        &mut self,
        dispatch: &Dispatch,
        workers: Workers,
        since: Instant,
        directory: &Directory,
    ) {
        if workers.is_empty() {
            return;
        }
        let weight = weight(&dispatch.command);
        self.since.get_or_insert(since);
        self.by_worker
            .resize_with(self.by_worker.len().max(directory.shards().len()), Vec::new);
        for worker in workers.iter() {
            if let Some(dispatches) = self.by_worker.get_mut(worker) {
                directory.backlog_grew(worker, weight);
                dispatches.push(dispatch.clone());
            }
        }
    }

    /// Sends each shard what was added for it.
    pub fn send(&mut self, directory: &Directory) {
        let Some(since) = self.since.take() else {
            return;
        };
        for (dispatches, shard) in self.by_worker.iter_mut().zip(directory.shards()) {
            if !dispatches.is_empty() {
                let dispatches = std::mem::take(dispatches);
                shard.do_send(DispatchAll { dispatches, since });
            }
        }
    }
}
