//! Empties a node: refuses new sessions, tells those there to go in paced slices, waits until they are gone.
//!
//! Clients are not told to stay away, so they reconnect, to another node. Called by `Server::drain`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::Addr;
use log::{info, warn};

use super::Server;
use super::drain_plan::{self, Plan};
use crate::config::DrainConfig;
use crate::health::Phase;
use crate::logging;
use crate::transport::worker_router::{BeginDrain, EndSome, Occupant, WorkerRouter};

/// Those due within this time are told together: a slice.
const SLICE: Duration = Duration::from_millis(50);
/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// After the last one was told and what it had under way was waited for, a client has this long to hear of it.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Somebody who occupies the node, and the gate to reach them by.
type Target = (usize, Occupant);

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
    let gates = server.gates.all();
    let targets = occupants(gates).await;
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
        let emptied = follow(server, plan, gates, &config);
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

/// Everybody who is there when new ones begin to be refused.
async fn occupants(gates: &[Addr<WorkerRouter>]) -> Vec<Target> {
    let asked = gates.iter().map(|gate| gate.send(BeginDrain));
    let answers = futures_util::future::join_all(asked).await;
    let known = answers.into_iter().enumerate();
    known
        .flat_map(|(worker, answer)| {
            // A worker that is gone took its sessions along.
            let occupants = answer.unwrap_or_default();
            occupants.into_iter().map(move |one| (worker, one))
        })
        .collect()
}

async fn follow(
    server: &Server,
    mut plan: Plan<Target>,
    gates: &[Addr<WorkerRouter>],
    config: &DrainConfig,
) {
    let mut patience_ends = None;
    let mut next_line = crate::clock::now() + PROGRESS_INTERVAL;
    loop {
        let now = crate::clock::now();
        tell(server, plan.due(now), gates, config.ack_timeout);
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

fn tell(server: &Server, due: Vec<Target>, gates: &[Addr<WorkerRouter>], patience: Duration) {
    server.metrics.drain_closed_total.add(due.len() as u64);
    let mut by_worker = vec![Vec::new(); gates.len()];
    for (worker, occupant) in due {
        by_worker[worker].push(occupant);
    }
    for (gate, occupants) in gates.iter().zip(by_worker) {
        if !occupants.is_empty() {
            gate.do_send(EndSome {
                occupants,
                patience,
            });
        }
    }
}
