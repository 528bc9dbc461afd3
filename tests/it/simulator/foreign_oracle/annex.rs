//! Checks disconnects by foreign servers, and the annex: a room whose members are put there by foreign servers only.

use super::*;
use crate::simulator::foreign::record::Move;

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    for (number, connection) in history.connections.iter().enumerate() {
        for (id, emit) in history.emits.iter().enumerate() {
            if emit.room == ANNEX {
                check_emit(history, (number, connection), (id, emit), wrong);
            }
        }
    }
    for (life, server) in history.foreign.lives.iter().enumerate() {
        for socket in &server.sockets {
            check_moves(history, (life, socket), wrong);
        }
    }
    check_disconnects(history, wrong);
}

fn moves_of<'a>(history: &'a History, sid: &str) -> Vec<&'a Move> {
    let moves = history.foreign.moves.iter();
    moves.filter(|change| change.sid == sid).collect()
}

/// A client that the servers have put into the annex receives what is emitted there; others do not.
fn check_emit(
    history: &History,
    (number, connection): (usize, &Connection),
    (id, emit): (EmitId, &Emit),
    wrong: &mut Vec<String>,
) {
    let received = connection.received.iter().find(|it| it.emit == id);
    let former = std::iter::successors(Some(number), |number| history.connections[*number].resumes);
    let sids = former.filter_map(|number| history.connections[number].sid.as_deref());
    let moves: Vec<&Move> = sids.flat_map(|sid| moves_of(history, sid)).collect();
    let joined = |at: Duration| moves.iter().any(|it| it.joins && it.at <= at);
    if let Some(received) = received.filter(|received| !joined(received.at)) {
        let at = received.at;
        return wrong.push(format!(
            "c{number} received e{id} at {at:?}, never in {ANNEX}"
        ));
    }
    let sid = connection.sid.as_deref().unwrap_or_default();
    let own = moves_of(history, sid);
    if connection.resumes.is_some() || !own.iter().all(|it| is_certain(history, connection, it)) {
        return;
    }
    let until = received.map_or_else(|| arrived_by(emit), |received| received.at);
    let recent = |it: &&&Move| it.at + DELIVERY > emit.sent && it.at <= until;
    if own.iter().any(|it| recent(&it)) {
        return;
    }
    let is_in = own
        .iter()
        .rfind(|it| it.at <= emit.sent)
        .is_some_and(|it| it.joins);
    let arrived_by = arrived_by(emit);
    let is_open = end_of(connection).is_none_or(|end| end > arrived_by);
    let must_receive = is_open
        && (emit.except.is_none() || emit.except != connection.sid)
        && is_healthy(history, connection.node, emit.sent, arrived_by)
        && is_sent(history, emit);
    match received {
        Some(_) if !is_in => wrong.push(format!("c{number} received e{id} after it had left")),
        None if is_in && must_receive => wrong.push(format!("c{number} lacks e{id} of {ANNEX}")),
        _ => {}
    }
}

/// Whether the node of a connection has certainly made a change.
fn is_certain(history: &History, connection: &Connection, change: &Move) -> bool {
    let server = &history.foreign.lives[change.life];
    let until = change.at + DELIVERY;
    let connected = connection.connected.is_some_and(|at| at < change.at);
    connected
        && server.is_connected(change.at, until)
        && is_healthy(history, connection.node, change.at, until)
}

/// Requests to move a client of a foreign server arrive there once.
fn check_moves(
    history: &History,
    (life, socket): (LifeId, &ForeignSocket),
    wrong: &mut Vec<String>,
) {
    let server = &history.foreign.lives[life];
    let moves = moves_of(history, &socket.sid);
    let (arrived, sent) = (socket.moved.len(), moves.len());
    let is_certain = |change: &&&Move| {
        let until = change.at + DELIVERY;
        let from = &history.foreign.lives[change.life];
        change.life == life
            || from.is_connected(change.at, until)
                && server.is_connected(change.at, until)
                && reaches(history, (change.life, life), change.at)
    };
    let certain = moves.iter().filter(is_certain).count();
    if !(certain..=sent).contains(&arrived) {
        let sid = &socket.sid;
        wrong.push(format!(
            "f{life} {sid}: {arrived} of {sent} moves arrived, {certain} of them certainly"
        ));
    }
}

/// A socket that a foreign server disconnects is disconnected.
fn check_disconnects(history: &History, wrong: &mut Vec<String>) {
    for disconnect in &history.foreign.disconnects {
        let (at, until) = (disconnect.at, disconnect.at + DELIVERY);
        for (number, connection) in history.connections.iter().enumerate() {
            let server = &history.foreign.lives[disconnect.life];
            let is_certain = connection.sid.as_ref() == Some(&disconnect.sid)
                && connection.connected.is_some_and(|connected| connected < at)
                && server.is_connected(at, until)
                && is_healthy(history, connection.node, at, until)
                && reads(connection, at, at);
            if is_certain && end_of(connection).is_none_or(|end| end > until) {
                wrong.push(format!("c{number} is not disconnected, as of {at:?}"));
            }
        }
    }
}
