//! Requests of foreign servers: one response of each subscriber, and no more acks than clients.

use std::collections::BTreeSet;

use super::*;
use crate::simulator::foreign::record::{Dialect, ForeignRequest, RequestKind};

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    for (number, request) in history.foreign.requests.iter().enumerate() {
        let mut found = Vec::new();
        match &request.kind {
            RequestKind::Emit(emit) => {
                check_responses(history, request, request.counts.len(), &mut found);
                check_counts(history, request, *emit, &mut found);
                check_acks(history, request, *emit, &mut found);
            }
            RequestKind::Call(emit) => check_acks(history, request, *emit, &mut found),
            RequestKind::Fetch(room) => {
                check_responses(history, request, request.fetched.len(), &mut found);
                check_fetched(history, request, room, &mut found);
            }
            RequestKind::ServerEvent => {
                check_responses(history, request, request.answers.len(), &mut found);
                let of_server = |answer: &&String| answer.starts_with("\"f");
                let others = request.answers.iter().filter(|answer| !of_server(answer));
                let unexpected: Vec<_> = others.filter(|answer| *answer != "null").collect();
                if !unexpected.is_empty() {
                    found.push(format!("answers {unexpected:?}"));
                }
            }
        }
        let ForeignRequest {
            life, kind, sent, ..
        } = request;
        let name = format!("request {number} of f{life} at {sent:?}, {kind:?}");
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
}

/// A server waits for one response from each subscriber; a surplus response would be mistaken for that of another.
fn check_responses(
    history: &History,
    request: &ForeignRequest,
    responses: usize,
    wrong: &mut Vec<String>,
) {
    let parties = &request.parties;
    if responses > parties.len() {
        wrong.push(format!("{responses} responses of {parties:?}"));
    }
    let server = &history.foreign.lives[request.life];
    if let Some(until) = response_time(server, request.sent) {
        let up = parties
            .iter()
            .filter(|party| is_up(history, **party, request.sent, until));
        let up = up.count();
        if responses < up {
            wrong.push(format!("{responses} responses, not {up} of {parties:?}"));
        }
    }
}

/// The numbers of sockets add up to those that received the event.
fn check_counts(
    history: &History,
    request: &ForeignRequest,
    emit: EmitId,
    wrong: &mut Vec<String>,
) {
    let server = &history.foreign.lives[request.life];
    let Some(until) = response_time(server, request.sent) else {
        return;
    };
    let is_up = |party: &Party| is_up(history, *party, request.sent, until);
    if !request.parties.iter().all(is_up) {
        return;
    }
    let event = &history.emits[emit];
    let excepted =
        |connection: &&Connection| event.except.is_some() && event.except == connection.sid;
    let of_parties = |node: usize| request.parties.contains(&Party::Node(node));
    let of_nodes = history.connections.iter().filter(|connection| {
        let (from, to) = (request.sent, until);
        of_parties(connection.node)
            && !excepted(connection)
            && (event.room == ANNEX || may_be_in(connection, &event.room, from, to))
    });
    let least = certain(history, emit).filter(|(_, connection)| of_parties(connection.node));
    let servers = request.parties.iter().filter_map(|party| match party {
        Party::Foreign(life) => Some(&history.foreign.lives[*life]),
        Party::Node(_) => None,
    });
    let sockets = servers.flat_map(|server| &server.sockets);
    let of_servers = sockets.clone().filter(|socket| socket.is_addressed(event));
    let in_annex = sockets.filter(|_| event.room == ANNEX);
    // The node that translates counts a single socket in Python, once that has acked (ADR 37).
    let in_python = history.foreign.by_sid(&event.room);
    let in_python =
        in_python.filter(|(life, _)| history.foreign.lives[*life].dialect == Dialect::Python);
    let (least, of_servers) = (least.count(), of_servers.count());
    let most = of_nodes.count() + of_servers + in_annex.count() + in_python.into_iter().count();
    let sum = request.counts.iter().sum::<u64>() as usize;
    if !(least + of_servers..=most).contains(&sum) {
        let (counts, least) = (&request.counts, least + of_servers);
        wrong.push(format!("the counts {counts:?}, not {least} to {most}"));
    }
    if sum < request.acks.len() {
        wrong.push(format!("{sum} sockets, and the acks {:?}", request.acks));
    }
}

/// Each ack comes from a different client that has received the event, and none is missing.
fn check_acks(history: &History, request: &ForeignRequest, emit: EmitId, wrong: &mut Vec<String>) {
    let acks = &request.acks;
    let mut seen = BTreeSet::new();
    for ack in acks {
        let received = match ack.parse::<usize>() {
            Ok(number) => history.connections.get(number).is_some_and(|connection| {
                let mut received = connection.received.iter();
                received.any(|received| received.emit == emit)
            }),
            Err(_) => history.foreign.by_sid(ack).is_some_and(|(life, socket)| {
                life != request.life && socket.received.iter().any(|(it, _)| *it == emit)
            }),
        };
        if !received || !seen.insert(ack.as_str()) {
            wrong.push(format!("the ack {ack} among {acks:?}"));
        }
    }
    let server = &history.foreign.lives[request.life];
    let Some(until) = response_time(server, request.sent) else {
        return;
    };
    for (number, _) in certain(history, emit) {
        if !seen.contains(number.to_string().as_str()) {
            wrong.push(format!("no ack of c{number}"));
        }
    }
    let event = &history.emits[emit];
    for (life, other) in history.foreign.lives.iter().enumerate() {
        // Servers in Python report no numbers, so the acks of their rooms cannot be returned to servers in Node.
        let responds = other.dialect == Dialect::Node || server.dialect == Dialect::Python;
        let arrives = reaches(history, (request.life, life), request.sent)
            && reaches(history, (life, request.life), request.sent + DELIVERY);
        let sockets = other.sockets.iter();
        for socket in sockets.filter(|socket| socket.is_addressed(event)) {
            if life != request.life
                && responds
                && arrives
                && other.is_connected(request.sent, until)
                && !seen.contains(socket.sid.as_str())
            {
                wrong.push(format!("no ack of {}", socket.sid));
            }
        }
    }
}

fn check_fetched(history: &History, request: &ForeignRequest, room: &str, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let until = request.sent + 2 * DELIVERY;
    for (sid, rooms) in request.fetched.iter().flatten() {
        if !seen.insert(sid.as_str()) {
            wrong.push(format!("{sid} twice"));
        }
        if !rooms.contains(sid) {
            wrong.push(format!("{sid} is only in {rooms:?}"));
        }
        let mut connections = history.connections.iter();
        let connection = connections.find(|it| it.sid.as_ref() == Some(sid));
        // A response may arrive late.
        let late = history.surveyed;
        if let Some(connection) = connection
            && room != ANNEX
            && !may_be_in(connection, room, request.sent, late)
        {
            wrong.push(format!("{sid} is not in {room}"));
        }
    }
    let server = &history.foreign.lives[request.life];
    if response_time(server, request.sent).is_none() {
        return;
    }
    // What an emit to the room would have reached.
    let emit = Emit {
        sender: Sender::Foreign(request.life),
        room: room.to_owned(),
        sent: request.sent,
        except: None,
    };
    for (number, connection) in history.connections.iter().enumerate() {
        let certain = oracle::must_receive(history, number, connection, &emit)
            && is_healthy(history, connection.node, request.sent, until);
        let sid = connection.sid.as_deref().unwrap_or_default();
        if certain && !seen.contains(sid) {
            wrong.push(format!("c{number} lacks"));
        }
    }
    for party in &request.parties {
        let Party::Foreign(life) = party else {
            continue;
        };
        let other = &history.foreign.lives[*life];
        let sockets = other.sockets.iter();
        for socket in sockets.filter(|socket| socket.is_addressed(&emit)) {
            if other.is_connected(request.sent, until) && !seen.contains(socket.sid.as_str()) {
                wrong.push(format!("{} lacks", socket.sid));
            }
        }
    }
}
