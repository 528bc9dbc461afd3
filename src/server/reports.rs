//! What a node reports to backends besides requests of its apps: notices, and the disconnects of lost nodes.

use std::sync::Arc;

use super::BusHandles;
use super::notices::start_notices;
use super::registry::RegistryPlan;
use super::reloadable::ReloadableParts;
use crate::broker::Directory;
use crate::config::Config;
use crate::model::Random;
use crate::notices::{Intake, Notices};
use crate::presence::{Presence, PresenceParts, PresenceRooms};
use crate::registry::{Registry, RegistryTable};
use crate::store::{MemoryStore, Store, Tenure};

/// What a node is going to report, before its parts are started.
pub(super) struct ReportPlan {
    registry: Option<RegistryPlan>,
    /// The rooms with presence, if there are any.
    pub(super) presence: Option<Arc<PresenceRooms>>,
}

impl ReportPlan {
    /// By the configuration; with a bus, its store and the name of the node.
    pub(super) fn of(config: &Config, bus: Option<(&BusHandles, &Arc<Tenure>)>) -> Self {
        let store: Arc<dyn Store> = match bus {
            Some((bus, _)) => Arc::clone(&bus.store),
            None => Arc::new(MemoryStore::default()),
        };
        let prefix = &config.bus.channel_prefix;
        Self {
            registry: bus.and_then(|(_, tenure)| RegistryPlan::of(config, tenure)),
            presence: PresenceRooms::new((&config.presence, &config.app), store, prefix),
        }
    }

    /// The name of the node, if other nodes may announce the end of its sessions.
    pub(super) fn tenure(&self) -> Option<&Arc<Tenure>> {
        self.registry.as_ref().map(|plan| &plan.tenure)
    }
}

/// The reports of a running node.
pub(super) struct Reports {
    notices: Option<Notices>,
    registry: Option<(Registry, Option<Arc<RegistryTable>>)>,
    presence: Option<(Presence, Arc<PresenceRooms>)>,
}

/// What the workers of a node need of its reports.
pub(super) struct WorkerReports {
    pub(super) notices: Option<Arc<Intake>>,
    /// Set if the disconnects of its sockets are reported.
    pub(super) registry: Option<Arc<RegistryTable>>,
    pub(super) presence: Option<Arc<PresenceRooms>>,
}

impl Reports {
    /// Starts what the configuration requests; `store` is that of the bus.
    pub(super) fn start(
        config: &Config,
        (reloadable, directory, random): (&ReloadableParts, &Arc<Directory>, &Arc<dyn Random>),
        store: Option<Arc<dyn Store>>,
        plan: ReportPlan,
    ) -> Self {
        let tenure = plan.tenure();
        let shared = (reloadable, directory, random);
        let notices = start_notices(config, shared, store.clone(), tenure);
        let presence = plan.presence.as_ref().map(|rooms| {
            let parts = PresenceParts {
                directory: Arc::clone(directory),
                rooms: Arc::clone(rooms),
                tenure: tenure.cloned(),
            };
            (Presence::start(parts), Arc::clone(rooms))
        });
        let registry = plan.registry.zip(store).map(|(plan, store)| {
            let listeners = (notices.as_ref(), presence.as_ref().map(|(it, _)| it));
            let started = plan.start(config, reloadable, directory, store, listeners);
            (started, plan.table)
        });
        Self {
            notices,
            registry: registry.map(|(registry, table)| {
                let reports = config.reports_disconnects();
                (registry, reports.then_some(table))
            }),
            presence,
        }
    }

    /// What the workers need.
    pub(super) fn for_workers(&self) -> WorkerReports {
        let notices = self.notices.as_ref();
        let registry = self.registry.as_ref();
        WorkerReports {
            notices: notices.map(|notices| Arc::clone(notices.intake())),
            registry: registry.and_then(|(_, table)| table.clone()),
            presence: self.presence.as_ref().map(|(_, rooms)| Arc::clone(rooms)),
        }
    }

    /// Sends what waits, then removes the node from the registry. Called after its last session has ended.
    pub(super) async fn stop(self) {
        if let Some(notices) = self.notices {
            notices.stop().await;
        }
        if let Some((presence, _)) = self.presence {
            presence.stop().await;
        }
        if let Some((registry, _)) = self.registry {
            registry.stop().await;
        }
    }
}
