//! Observes the sockets of one worker.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::entry::RegisteredSocket;
use super::table::RegistryTable;
use crate::broker::Observer;
use crate::model::{SocketChange, SocketEvent, WorkerIndex};

/// Notes the sockets of a worker in the table of its node.
pub struct RegistryObserver {
    worker: WorkerIndex,
    table: Arc<RegistryTable>,
}

impl RegistryObserver {
    /// The observer of one worker.
    pub fn new(worker: WorkerIndex, table: Arc<RegistryTable>) -> Self {
        Self { worker, table }
    }
}

impl Observer for RegistryObserver {
    fn on_event(&self, event: &SocketEvent) {
        match &event.change {
            SocketChange::Connected { identity } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let entry = RegisteredSocket {
                    namespace: event.namespace.clone(),
                    user: identity.as_ref().map(|identity| identity.user.clone()),
                    connected_at: now.unwrap_or_default().as_secs(),
                };
                self.table.insert(self.worker, event.socket, entry);
            }
            SocketChange::Identified { identity } => {
                self.table
                    .identify(self.worker, event.socket, &identity.user);
            }
            SocketChange::Disconnected { .. } => self.table.remove(self.worker, event.socket),
            SocketChange::Joined(_) | SocketChange::Left(_) => {}
        }
    }
}
