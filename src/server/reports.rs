//! What a node reports to backends besides requests of its apps: notices, and the disconnects of lost nodes.

use std::sync::Arc;

use super::notices::start_notices;
use super::registry::RegistryPlan;
use super::reloadable::ReloadableParts;
use crate::broker::Directory;
use crate::config::Config;
use crate::model::Random;
use crate::notices::{Intake, Notices};
use crate::registry::{Registry, RegistryTable};
use crate::store::Store;

/// The reports of a running node.
pub(super) struct Reports {
    notices: Option<Notices>,
    registry: Option<(Registry, Arc<RegistryTable>)>,
}

/// What the workers of a node need of its reports.
pub(super) struct WorkerReports {
    pub(super) notices: Option<Arc<Intake>>,
    pub(super) registry: Option<Arc<RegistryTable>>,
}

impl Reports {
    /// Starts what the configuration requests; `store` is that of the bus.
    pub(super) fn start(
        config: &Config,
        (reloadable, directory, random): (&ReloadableParts, &Arc<Directory>, &Arc<dyn Random>),
        store: Option<Arc<dyn Store>>,
        plan: Option<RegistryPlan>,
    ) -> Self {
        let tenure = plan.as_ref().map(|plan| &plan.tenure);
        let shared = (reloadable, directory, random);
        let notices = start_notices(config, shared, store.clone(), tenure);
        let registry = plan.zip(store).map(|(plan, store)| {
            let started = plan.start(config, reloadable, directory, store, notices.as_ref());
            (started, plan.table)
        });
        Self { notices, registry }
    }

    /// What the workers need.
    pub(super) fn for_workers(&self) -> WorkerReports {
        let notices = self.notices.as_ref();
        let registry = self.registry.as_ref();
        WorkerReports {
            notices: notices.map(|notices| Arc::clone(notices.intake())),
            registry: registry.map(|(_, table)| Arc::clone(table)),
        }
    }

    /// Sends what waits, then removes the node from the registry. Called after its last session has ended.
    pub(super) async fn stop(self) {
        if let Some(notices) = self.notices {
            notices.stop().await;
        }
        if let Some((registry, _)) = self.registry {
            registry.stop().await;
        }
    }
}
