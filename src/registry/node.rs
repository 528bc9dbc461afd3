//! The registry of a node: started with it, and removed when it stops.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::entry::RegistryKeys;
use super::lost_nodes::{LostNodeListener, LostNodes};
use super::table::RegistryTable;
use super::writer::RegistryWriter;
use crate::broker::Directory;
use crate::store::{Store, Tenure};

/// Time within which a node that stops removes its registry.
const REMOVAL_TIME: Duration = Duration::from_secs(1);

/// What a registry needs from its node.
pub struct RegistryParts {
    pub directory: Arc<Directory>,
    /// The store that the cluster shares.
    pub store: Arc<dyn Store>,
    /// `bus.channel_prefix`
    pub prefix: String,
    pub tenure: Arc<Tenure>,
    /// The sockets of the node; changed by the observers of its workers.
    pub table: Arc<RegistryTable>,
    pub listeners: Vec<Rc<dyn LostNodeListener>>,
}

/// The registry of a running node. Lives on the thread that started it.
pub struct Registry {
    writer: Rc<RegistryWriter>,
    tasks: Vec<JoinHandle<()>>,
}

impl Registry {
    /// Starts to register the sockets of the node, and to look for lost nodes. Must run inside an actix system.
    pub fn start(parts: RegistryParts) -> Self {
        let RegistryParts {
            directory,
            store,
            prefix,
            tenure,
            table,
            listeners,
        } = parts;
        let keys = RegistryKeys::new(&prefix);
        let writer = Rc::new(RegistryWriter {
            node: directory.node(),
            table,
            store: Arc::clone(&store),
            keys: keys.clone(),
            tenure: Arc::clone(&tenure),
            metrics: Arc::clone(directory.metrics()),
        });
        let connects = directory.watch_connects();
        let lost_nodes = LostNodes {
            metrics: Arc::clone(directory.metrics()),
            directory,
            store,
            prefix,
            keys,
            tenure,
            listeners,
        };
        let writing = (Rc::clone(&writer), connects.clone());
        let tasks = vec![
            actix_rt::spawn(async move { writing.0.run(writing.1).await }),
            actix_rt::spawn(async move { lost_nodes.run(connects).await }),
        ];
        Self { writer, tasks }
    }

    /// Removes the node from the registry. Called after its last session has ended and was announced, and before its
    /// name is released.
    pub async fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
        if self.writer.tenure.has_ended() {
            return;
        }
        match timeout(REMOVAL_TIME, self.writer.remove()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                warn!("the sockets of this node stay registered until another node removes them");
            }
        }
    }
}
