//! Checks foreign servers: their clients receive each emit once, also translated ones, and every request receives the
//! responses that a stock server expects.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::{Fault, Kind, SETTLING};
use super::foreign::record::{ANNEX, ForeignLife, ForeignSocket, LifeId, Party};
use super::history::{Connection, Emit, EmitId, History, NodeLife, Sender};
use super::oracle::{self, DELIVERY, arrived_by, end_of, is_healthy, is_sent};

mod annex;
mod requests;

/// Time after a fault during which possibly no node translates: a lease of 2 s, and the time to acquire it.
const HANDOVER: Duration = Duration::from_secs(4);

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = history.foreign.malformed.clone();
    for (life, server) in history.foreign.lives.iter().enumerate() {
        for socket in &server.sockets {
            let name = format!("f{life} {}", socket.sid);
            once_and_for_it(history, socket, &name, &mut wrong);
            nothing_missing(history, (life, socket), &name, &mut wrong);
        }
    }
    requests::check(history, &mut wrong);
    annex::check(history, &mut wrong);
    wrong
}

fn once_and_for_it(history: &History, socket: &ForeignSocket, name: &str, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (emit, _) in &socket.received {
        if !seen.insert(emit) {
            wrong.push(format!("{name} received e{emit} twice"));
        }
        let received = &history.emits[*emit];
        if received.room != ANNEX && !socket.is_addressed(received) {
            wrong.push(format!("{name} received e{emit}, which is not for it"));
        }
    }
}

fn nothing_missing(
    history: &History,
    (life, socket): (LifeId, &ForeignSocket),
    name: &str,
    wrong: &mut Vec<String>,
) {
    let received: BTreeSet<EmitId> = socket.received.iter().map(|(emit, _)| *emit).collect();
    for (id, emit) in history.emits.iter().enumerate() {
        if !received.contains(&id) && must_receive(history, (life, socket), emit) {
            let (room, sender) = (&emit.room, emit.sender);
            wrong.push(format!("{name} lacks e{id}, sent to {room} by {sender:?}"));
        }
    }
}

/// Whether an emit must have arrived at a client of a foreign server.
fn must_receive(history: &History, (life, socket): (LifeId, &ForeignSocket), emit: &Emit) -> bool {
    let receiver = &history.foreign.lives[life];
    let arrives = match emit.sender {
        Sender::Foreign(sender) => reaches(history, (sender, life), emit.sent),
        _ => true,
    };
    socket.is_addressed(emit)
        && is_sent(history, emit)
        && receiver.is_connected(emit.sent, arrived_by(emit))
        && arrives
}

/// Whether what a foreign server publishes certainly arrives at another one: a node must translate it if they are of
/// different kinds.
fn reaches(history: &History, (from, to): (LifeId, LifeId), at: Duration) -> bool {
    let lives = &history.foreign.lives;
    lives[from].dialect == lives[to].dialect || is_translated(history, at)
}

/// Whether a node certainly translates at this time: no node has had a fault for a while, or the last one to translate
/// has had none and still translates afterwards. A node that stops hands over, so nothing is lost.
fn is_translated(history: &History, at: Duration) -> bool {
    let until = at + DELIVERY;
    let faults = |from: Duration| {
        let faults = history.faults.iter();
        faults.filter(move |fault| disturbs(history, fault, from, until))
    };
    let lives_on = |(number, node): (usize, &NodeLife)| {
        let died = history.died(number).is_some_and(|died| died <= until);
        let stopped = node.stopped.is_some_and(|stopped| stopped <= until);
        node.started + HANDOVER <= at && !died && !stopped
    };
    let mut nodes = history.nodes.iter().enumerate();
    if nodes.any(lives_on) && faults(at.saturating_sub(HANDOVER)).next().is_none() {
        return true;
    }
    let translated = history.foreign.translated.iter();
    let before = translated.clone().rfind(|(when, _)| *when < at);
    let after = translated.clone().find(|(when, _)| *when > until);
    let (Some((since, node)), Some((_, next))) = (before, after) else {
        return false;
    };
    // Another node may have had a turn in between and have died in it.
    node == next && faults(*since).all(|fault| fault.node != *node && fault.kind != Kind::Death)
}

/// Whether a fault may keep a node from translating between these times.
fn disturbs(history: &History, fault: &Fault, from: Duration, until: Duration) -> bool {
    let stopped = history.nodes[fault.node].stopped;
    if stopped.is_some_and(|stopped| stopped <= fault.begin) {
        return false;
    }
    match fault.kind {
        Kind::Death => (from..=until).contains(&fault.begin),
        _ => fault.overlaps(from.saturating_sub(SETTLING), until),
    }
}

/// Whether a receiver of a request is certainly alive and connected.
fn is_up(history: &History, party: Party, from: Duration, to: Duration) -> bool {
    match party {
        Party::Node(node) => is_healthy(history, node, from, to),
        Party::Foreign(life) => history.foreign.lives[life].is_connected(from, to),
    }
}

/// Whether a connection may be in the target of an emit at some time from `from` to `to`.
fn may_be_in(connection: &Connection, room: &str, from: Duration, to: Duration) -> bool {
    let overlaps = |begin: Duration, end: Option<Duration>| {
        begin <= to && end.is_none_or(|end| end + 20 * SETTLING >= from)
    };
    let mut stays = connection.stays.iter();
    let is_in = room == super::history::EVERYBODY
        || connection.sid.as_deref() == Some(room)
        || stays.any(|stay| {
            let left = if stay.lost {
                connection.ended
            } else {
                stay.left_acked
            };
            stay.room == room && overlaps(stay.requested, left)
        });
    is_in && overlaps(connection.began, connection.ended)
}

/// Whether the client reads all the time, so that it acknowledges what it receives.
fn reads(connection: &Connection, from: Duration, to: Duration) -> bool {
    let mut paused = connection.paused.iter();
    let open = end_of(connection).is_none_or(|end| end > to);
    open && !paused.any(|(begin, end)| *begin <= to && *end + SETTLING >= from)
}

/// The time in which a request and its responses arrive.
fn response_time(server: &ForeignLife, sent: Duration) -> Option<Duration> {
    let until = sent + 2 * DELIVERY;
    server.is_connected(sent, until).then_some(until)
}

/// Connections that certainly received an emit and responded.
fn certain(history: &History, emit: EmitId) -> impl Iterator<Item = (usize, &Connection)> {
    let emit = &history.emits[emit];
    let until = emit.sent + 2 * DELIVERY;
    let connections = history.connections.iter().enumerate();
    connections.filter(move |(number, connection)| {
        oracle::must_receive(history, *number, connection, emit)
            && is_healthy(history, connection.node, emit.sent, until)
            && reads(connection, emit.sent, until)
    })
}
