//! Empties a node: refuses new sessions, tells those there to go in paced slices, waits until they are gone.
//!
//! Clients are not told to stay away, so they reconnect, to another node. Called by `Server::drain`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};

use super::Server;
use super::drain_plan::{self, Plan};
use crate::config::DrainConfig;
use crate::health::Phase;
use crate::logging;
use crate::transport::routing::{BeginDrain, DrainTarget, EndTargets, RouterHandle};

/// Those due within this time are told together: a slice.
const SLICE: Duration = Duration::from_millis(50);
/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// After the last one was told and what it had under way was waited for, a client has this long to hear of it.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// What a drain ends, with the index of its worker.
type Target = (usize, DrainTarget);

/// Empties the node; returns when nobody is left, or the time is up.
pub(super) async fn drain(server: &Server) {
    let config = DrainConfig::clone(&server.blueprint.reloadable.drain.read());
    let start = crate::clock::now();
    let deadline = start + config.timeout;
    server.health.set_phase(Phase::Draining);
    let latest = SystemTime::now() + config.timeout;
    let since_epoch = latest.duration_since(UNIX_EPOCH).unwrap_or_default();
    let shown = &server.metrics.drain_deadline_timestamp_seconds;
    shown.set(since_epoch.as_secs() as i64);
    let routers = server.routers.all();
    let targets = all_targets(routers).await;
    let rate = drain_plan::rate(&config, targets.len());
    info!(
        node:% = server.node,
        left = targets.len(),
        rate = rate.round() as u64,
        grace:? = config.grace,
        timeout:? = config.timeout;
        "draining"
    );
    if !targets.is_empty() {
        let plan = Plan::new(
            targets,
            rate,
            start + config.grace,
            &*server.blueprint.random,
        );
        let emptied = follow(server, plan, routers, &config);
        // Bounded whatever the plan says: the caller has to end.
        let _late = tokio::time::timeout_at(deadline.into(), emptied).await;
    }
    let (left, seconds) = (server.occupants(), logging::seconds(start.elapsed()));
    server.metrics.drain_sessions_left.set(left);
    if left == 0 {
        info!(node:% = server.node, seconds; "drained");
    } else {
        warn!(
            node:% = server.node, left, seconds;
            "drain ends with sessions left, which are closed at once"
        );
    }
}

/// All sessions and remote websockets, once new ones are refused.
async fn all_targets(routers: &[RouterHandle]) -> Vec<Target> {
    let requests = routers
        .iter()
        .map(|router| router.begin_drain.send(BeginDrain));
    let responses = futures_util::future::join_all(requests).await;
    let workers = responses.into_iter().enumerate();
    workers
        .flat_map(|(worker, response)| {
            // A worker that has ended has no sessions.
            let targets = response.unwrap_or_default();
            targets.into_iter().map(move |one| (worker, one))
        })
        .collect()
}

async fn follow(
    server: &Server,
    mut plan: Plan<Target>,
    routers: &[RouterHandle],
    config: &DrainConfig,
) {
    let mut patience_ends = None;
    let mut next_line = crate::clock::now() + PROGRESS_INTERVAL;
    loop {
        let now = crate::clock::now();
        end(server, plan.due(now), routers, config.ack_timeout);
        let left = server.occupants();
        server.metrics.drain_sessions_left.set(left);
        if left == 0 {
            return;
        }
        if now >= next_line {
            next_line = now + PROGRESS_INTERVAL;
            info!(left, untold = plan.left(); "draining");
        }
        if plan.next().is_none() {
            let ends =
                *patience_ends.get_or_insert_with(|| now + config.ack_timeout + FAREWELL_TIME);
            if now >= ends {
                return;
            }
        }
        tokio::time::sleep(SLICE).await;
    }
}

fn end(server: &Server, due: Vec<Target>, routers: &[RouterHandle], grace: Duration) {
    server.metrics.drain_closed_total.add(due.len() as u64);
    let mut by_worker = vec![Vec::new(); routers.len()];
    for (worker, target) in due {
        by_worker[worker].push(target);
    }
    for (router, targets) in routers.iter().zip(by_worker) {
        if !targets.is_empty() {
            router.end.do_send(EndTargets { targets, grace });
        }
    }
}
