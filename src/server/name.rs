//! The node's name in the cluster, leased if Redis can be reached.

use std::sync::Arc;
use std::time::Duration;

use super::BusHandles;
use super::reports::ReportPlan;
use crate::config::Config;
use crate::model::{EngineId, NodeId, Random, WorkerIndex};
use crate::store::lease::{Holder, Lease};

/// Attempts to find a free name; with 16 million names the first is nearly always free.
const NAME_ATTEMPTS: usize = 5;
/// How long the start of the node waits for a response of Redis.
const NAME_TIME: Duration = Duration::from_secs(1);

/// A name for this node, leased if Redis can be reached; and the plan of what it reports.
pub(super) async fn claim_name(
    bus: Option<&BusHandles>,
    config: &Config,
    random: &dyn Random,
) -> (NodeId, Option<Lease>, ReportPlan) {
    let mut node = NodeId::random(random);
    let Some(bus) = bus else {
        return (node, None, ReportPlan::of(config, None));
    };
    let owner = EngineId::random(node, WorkerIndex::default(), random);
    let host = rustix::system::uname();
    let bind = &config.server.bind;
    let holder = Holder {
        id: owner.as_str().to_owned(),
        place: format!("{} {bind}", host.nodename().to_string_lossy()),
        app: config.app.kind.name().to_owned(),
    };
    let lease = |node| {
        let store = Arc::clone(&bus.store);
        let prefix = &config.bus.channel_prefix;
        Lease::new(store, prefix, (node, &holder), config.bus.lease)
    };
    let mut claimed = lease(node);
    for _ in 0..NAME_ATTEMPTS {
        // A Redis that does not respond must not keep the node from serving its own clients.
        if tokio::time::timeout(NAME_TIME, claimed.claim())
            .await
            .unwrap_or(true)
        {
            break;
        }
        node = NodeId::random(random);
        claimed = lease(node);
    }
    let plan = ReportPlan::of(config, Some((bus, claimed.tenure())));
    (node, Some(claimed), plan)
}
