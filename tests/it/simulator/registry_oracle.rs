//! What must hold for the registry: the end of each socket is announced once, by its node or, if that was lost, by another
//! one. A node whose name another one has serves nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Kind;
use super::history::{Connection, Departure, History};

/// Time in which a change is in the registry, without faults.
const WRITTEN: Duration = Duration::from_secs(2);
/// What a failover loses, and the time in which nodes notice it.
const FAILOVER: Duration = Duration::from_secs(3);
/// Time in which a node closes its sessions after it has learned that another one has its name.
const FENCED: Duration = Duration::from_secs(3);

/// Checks the whole run, after all clients have left.
pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    if !history.features.presence {
        return wrong;
    }
    let mut departures: BTreeMap<&str, Vec<&Departure>> = BTreeMap::new();
    for departure in &history.departures {
        departures
            .entry(&departure.sid)
            .or_default()
            .push(departure);
    }
    for (number, connection) in history.connections.iter().enumerate() {
        let Some(sid) = &connection.sid else { continue };
        let found = departures.get(sid.as_str()).map_or(0, Vec::len);
        if found == 0 && is_known(history, connection) {
            wrong.push(format!("the end of c{number}, {sid}, is never announced"));
        }
    }
    for (sid, found) in departures {
        if found.len() > 1 && !is_repetition(history, sid, &found) {
            wrong.push(format!("the end of {sid} is announced as {found:?}"));
        }
    }
    fenced_nodes_serve_nobody(history, &mut wrong);
    wrong
}

/// Whether the node of a connection lives, or had the time to register it.
fn is_known(history: &History, connection: &Connection) -> bool {
    let Some(died) = end_of(history, connection.node) else {
        return true;
    };
    let connected = connection.connected.unwrap_or(Duration::MAX);
    has_written(history, connection.node, connected, died)
}

/// When a node died, or the fault began during which it lost its name.
fn end_of(history: &History, node: usize) -> Option<Duration> {
    let Some(fenced) = history.nodes[node].fenced else {
        return history.died(node);
    };
    let faults = history.faults.iter().filter(|it| it.node == node);
    let before = faults.map(|it| it.begin).filter(|begin| *begin < fenced);
    Some(before.max().unwrap_or(fenced))
}

/// Whether a node could write to the store for a while between these times.
fn has_written(history: &History, node: usize, from: Duration, to: Duration) -> bool {
    undisturbed(history, node, from, WRITTEN) <= to
}

/// The first time from `from` on at which a node has had no fault for `time`. Between two faults there may be no time at
/// all: a failover ends those that last, and begins others.
fn undisturbed(history: &History, node: usize, from: Duration, time: Duration) -> Duration {
    let faults = history.faults.iter();
    let faults = faults.filter(|it| it.node == node && it.kind != Kind::Death);
    let mut from = from;
    let mut faults: Vec<_> = faults.collect();
    faults.sort_by_key(|fault| fault.begin);
    for fault in faults {
        if fault.begin >= from.saturating_add(time) {
            break;
        }
        if fault.end.is_none_or(|end| end >= from) {
            from = fault.end.unwrap_or(Duration::MAX);
        }
    }
    from.saturating_add(time)
}

/// Whether an end could be announced again: the first announcement was lost with what a failover lost, or its node died or
/// lost its name before it could remove the socket from the registry.
fn is_repetition(history: &History, sid: &str, found: &[&Departure]) -> bool {
    let (first, again) = (found[0], found[1]);
    let mut failovers = history.failovers.iter();
    if failovers.any(|at| first.at <= *at + FAILOVER && *at <= again.at) {
        return true;
    }
    let owner = history.connections.iter();
    let owner = owner.filter(|connection| connection.sid.as_deref() == Some(sid));
    let node = owner
        .map(|connection| connection.node)
        .next()
        .unwrap_or(first.by);
    let ended = end_of(history, first.by).or_else(|| end_of(history, node));
    // Another node had its name by then, even if a failover has undone that since.
    let taken = again.lost.then_some(again.at);
    let ended = ended.into_iter().chain(taken).min();
    ended.is_some_and(|ended| !has_written(history, first.by, first.at, ended))
}

fn fenced_nodes_serve_nobody(history: &History, wrong: &mut Vec<String>) {
    for (number, node) in history.nodes.iter().enumerate() {
        let Some(fenced) = node.fenced else { continue };
        for (client, connection) in history.connections.iter().enumerate() {
            let received = connection.received.last().map(|received| received.at);
            let serves =
                received.is_some_and(|at| at > fenced + FENCED) || connection.ended.is_none();
            if connection.node == number && serves && connection.paused.is_empty() {
                wrong.push(format!(
                    "n{number} serves c{client} after its name was taken"
                ));
            }
        }
    }
    // It learns that it has lost its name as soon as it reaches the store again.
    let lost = history.departures.iter().filter(|departure| departure.lost);
    for departure in lost {
        let owner = history.connections.iter();
        let mut owner = owner.filter(|it| it.sid.as_deref() == Some(&departure.sid));
        let Some(connection) = owner.next() else {
            continue;
        };
        let time = history.features.lease / 3 + FENCED;
        let until = undisturbed(history, connection.node, departure.at, time);
        let mut failovers = history.failovers.iter();
        if failovers.any(|at| departure.at <= *at && *at <= departure.at + FAILOVER) {
            // The announcement is lost, and the node has its name again.
            continue;
        }
        let served = connection
            .received
            .iter()
            .any(|received| received.at > until);
        if served && connection.paused.is_empty() {
            wrong.push(format!(
                "{} receives events after it was announced as lost at {:?}",
                departure.sid, departure.at
            ));
        }
    }
}
