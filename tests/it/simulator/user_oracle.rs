//! What must hold for users: a revocation ends the session, and where one session per user is the policy, one remains.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Kind;
use super::history::{ApiRequest, ConnectionId, History, Verb};
use super::oracle::end_of;
use super::world::USERS;

/// Time in which a revocation takes effect on another node without faults.
const ENFORCED: Duration = Duration::from_secs(1);
/// How long a failover and what it loses can concern a change.
const FAILOVER: Duration = Duration::from_secs(2);

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for request in &history.api {
        if let Verb::Revoke(connection) = request.verb {
            revoked_sessions_end(history, request, connection, &mut wrong);
        }
    }
    if history.one_session {
        one_session_remains(history, &mut wrong);
    }
    wrong
}

/// A revocation is enforced within a second where nothing is wrong, and wherever it is known in the end: on every node,
/// if the one that received the request lives on, or if the store had it and did not lose it.
fn revoked_sessions_end(
    history: &History,
    request: &ApiRequest,
    number: ConnectionId,
    wrong: &mut Vec<String>,
) {
    let Some(response) = request.response.as_ref().filter(|it| it.status == 200) else {
        return;
    };
    let connection = &history.connections[number];
    let due = response.at + ENFORCED;
    let fault = |node: usize| {
        let mut faults = history.faults.iter();
        faults.any(|fault| fault.covers(node, request.sent) || fault.covers(node, due))
    };
    let ended = end_of(connection);
    let in_time = ended.is_some_and(|ended| ended <= due);
    if !in_time && !fault(request.node) && !fault(connection.node) {
        wrong.push(format!(
            "c{number} is not closed {ENFORCED:?} after it was revoked"
        ));
    }
    let lost = history.failovers.iter().any(|at| {
        let at = *at + FAILOVER;
        at >= request.sent && at <= response.at + 2 * FAILOVER
    });
    let kept = response.body["stored"] == true && !lost;
    let lives = history.died(request.node).is_none();
    // A node that was cut off when the revocation was announced loads it from the store, where it may arrive late.
    let stalled = history.faults.iter().any(|fault| {
        fault.kind == Kind::Stall && fault.node == request.node && fault.covers(request.node, due)
    });
    if ended.is_none() && (lives || kept) && !(stalled && fault(connection.node)) {
        wrong.push(format!("c{number} was revoked and is never closed"));
    }
}

/// After quiet no user has two sessions.
fn one_session_remains(history: &History, wrong: &mut Vec<String>) {
    let mut open: BTreeMap<&str, Vec<ConnectionId>> = BTreeMap::new();
    for (number, connection) in history.connections.iter().enumerate() {
        if connection.sid.is_some() && connection.ended.is_none() {
            open.entry(&connection.user).or_default().push(number);
        }
    }
    for user in USERS {
        let sessions = open.get(user).map_or(0, Vec::len);
        if sessions > 1 {
            wrong.push(format!("{user} has the sessions {:?}", open[user]));
        }
    }
}
