//! Drains a node: rejects new sessions, closes the existing ones at the rate of the plan, and waits until they have
//! ended.
//!
//! Sessions are closed in a way after which stock clients reconnect, to another node. Called by `Server::drain`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};

use super::Server;
use super::drain_plan::{self, Plan};
use crate::config::DrainConfig;
use crate::health::{BusState, Phase};
use crate::logging;
use crate::transport::routing::{BeginDrain, DrainTarget, EndTargets, RouterHandle};

/// Interval at which the sessions that are due are closed.
const SLICE: Duration = Duration::from_millis(50);
/// Interval between two log lines that report progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// After the last close has begun and `drain.ack_timeout` has passed, time in which clients can receive the end of
/// their sessions.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// A session or remote websocket to close, with the index of its worker.
type Target = (usize, DrainTarget);

/// Drains the node. Returns when no session is left, or at the latest after `drain.timeout`.
pub(super) async fn drain(server: &Server) {
    let config = DrainConfig::clone(&server.blueprint.reloadable.drain.read());
    let start = crate::clock::now();
    let deadline = start + config.timeout;
    server.blueprint.health.set_phase(Phase::Draining);
    let latest = SystemTime::now() + config.timeout;
    let since_epoch = latest.duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline_metric = &server.metrics().drain_deadline_timestamp_seconds;
    deadline_metric.set(since_epoch.as_secs() as i64);
    let routers = server.blueprint.routers.all();
    let targets = all_targets(routers).await;
    let is_alone = server.blueprint.health.bus() == BusState::Off;
    let rate = drain_plan::rate(&config, targets.len(), is_alone);
    info!(
        node:% = server.node(),
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
        let followed = follow(server, plan, routers, &config);
        // The timeout holds even if the plan takes longer.
        let _elapsed = tokio::time::timeout_at(deadline.into(), followed).await;
    }
    let (left, seconds) = (server.open_sessions(), logging::seconds(start.elapsed()));
    server.metrics().drain_sessions_left.set(left);
    if left == 0 {
        info!(node:% = server.node(), seconds; "drained");
    } else {
        warn!(
            node:% = server.node(), left, seconds;
            "drain ends with sessions left, which are closed at once"
        );
    }
}

/// Rejects new sessions from now on. Returns all existing sessions and remote websockets.
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
            targets.into_iter().map(move |target| (worker, target))
        })
        .collect()
}

/// Closes the targets at their times, and waits until they have ended.
async fn follow(
    server: &Server,
    mut plan: Plan<Target>,
    routers: &[RouterHandle],
    config: &DrainConfig,
) {
    let mut last_wait = None;
    let mut next_line = crate::clock::now() + PROGRESS_INTERVAL;
    loop {
        let now = crate::clock::now();
        end(server, plan.due(now), routers, config.ack_timeout);
        let left = server.open_sessions();
        server.metrics().drain_sessions_left.set(left);
        if left == 0 {
            return;
        }
        if now >= next_line {
            next_line = now + PROGRESS_INTERVAL;
            info!(left, pending = plan.left(); "draining");
        }
        if plan.next().is_none() {
            let ends = *last_wait.get_or_insert_with(|| now + config.ack_timeout + CLOSE_TIME);
            if now >= ends {
                return;
            }
        }
        tokio::time::sleep(SLICE).await;
    }
}

/// Closes targets, each after waiting for its pending acks for at most `ack_timeout`.
fn end(server: &Server, due: Vec<Target>, routers: &[RouterHandle], ack_timeout: Duration) {
    server.metrics().drain_closed_total.add(due.len() as u64);
    let mut by_worker = vec![Vec::new(); routers.len()];
    for (worker, target) in due {
        by_worker[worker].push(target);
    }
    for (router, targets) in routers.iter().zip(by_worker) {
        if !targets.is_empty() {
            router.end.do_send(EndTargets {
                targets,
                ack_timeout,
            });
        }
    }
}
