//! What must hold for sessions that can be recovered: each is, or its client learns why not, for a reason that there was.

use std::time::Duration;

use super::fault::Kind;
use super::features::WINDOW;
use super::history::{Connection, ConnectionId, History, SessionStart};
use super::oracle::DELIVERY;

/// Time until a record is in the store.
const WRITTEN: Duration = Duration::from_secs(1);
/// What a failover loses, and the time in which nodes notice it.
const FAILOVER: Duration = Duration::from_secs(3);

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, connection) in history.connections.iter().enumerate() {
        let Some(session) = connection.session.as_ref() else {
            continue;
        };
        match (connection.resumes, session.reason.as_deref()) {
            (_, Some(reason)) if session.recovered => {
                wrong.push(format!("c{number} is recovered, with the gap {reason}"));
            }
            (None, Some(reason)) => {
                wrong.push(format!("c{number} has lost nothing, and {reason}"));
            }
            (Some(_), None) if !session.recovered => {
                wrong.push(format!("c{number} is not recovered, for no reason"));
            }
            (Some(former), Some(reason))
                if !is_justified(history, (former, connection), session, reason) =>
            {
                wrong.push(format!("c{number} is not recovered: {reason}"));
            }
            _ => {}
        }
    }
    wrong
}

fn is_justified(
    history: &History,
    (former, connection): (ConnectionId, &Connection),
    session: &SessionStart,
    reason: &str,
) -> bool {
    let faulty = |node: usize, from: Duration, to: Duration| {
        let mut faults = history.faults.iter();
        faults.any(|fault| {
            let of_store = fault.kind != Kind::Deaf;
            fault.node == node && of_store && fault.overlaps(from.saturating_sub(DELIVERY), to)
        })
    };
    let (began, at) = (connection.began, session.at);
    let former = &history.connections[former];
    let ended = former.ended.unwrap_or_default();
    match reason {
        "unavailable" => faulty(connection.node, began, at),
        "unknown" => {
            let is_over = ended + WINDOW < at + WRITTEN;
            // Its record may never have been written, or not for long enough.
            let unwritten = faulty(former.node, former.began, ended + WRITTEN);
            let died = history.died(former.node);
            let young = died.is_some_and(|died| died <= former.began + WRITTEN);
            let lost = history
                .failovers
                .iter()
                .any(|failover| former.began <= *failover + FAILOVER && *failover <= at);
            is_over || unwritten || young || lost || former.is_final
        }
        // The logs keep fewer events than there were.
        "trimmed" | "too_much" => {
            let appended = history.appended.iter().filter(|it| it.at <= at);
            appended.count() >= history.features.length
        }
        // The server had lost everything.
        "epoch" => history.failovers.iter().any(|failover| *failover <= at),
        _ => false,
    }
}
