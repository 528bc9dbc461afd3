//! What must hold in every run, whatever its seed. Each oracle returns a description of every violation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backend::QUERY_TIME;
use super::foreign::record::{ANNEX, RequestKind};
use super::history::{Connection, ConnectionId, EVERYBODY, Emit, History, Sender, Stay};
use super::world::ROOMS;

/// Maximum time from emit to delivery without faults.
pub const DELIVERY: Duration = Duration::from_secs(3);
/// `roomwire:ask` waits for 10 s; a partition delays what it publishes, never the response.
const RESPONSE: Duration = Duration::from_secs(20);

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, connection) in history.connections.iter().enumerate() {
        in_order_and_once(history, number, connection, &mut wrong);
        nothing_missing(history, number, connection, &mut wrong);
        every_request_has_a_response(history, number, connection, &mut wrong);
        nothing_after_leaving(history, number, connection, &mut wrong);
        nothing_of_others(history, connection, number, &mut wrong);
    }
    wrong
}

/// Events of one sender to one room arrive in the order sent, none twice. Calls emit later than they are requested.
fn in_order_and_once(
    history: &History,
    number: ConnectionId,
    connection: &Connection,
    wrong: &mut Vec<String>,
) {
    let of_servers = history.foreign.requests.iter();
    let mut last: BTreeMap<(Sender, &str, bool), usize> = BTreeMap::new();
    let logged: BTreeSet<_> = history.appended.iter().filter_map(|it| it.emit).collect();
    let requests = history
        .connections
        .iter()
        .flat_map(|it| it.requests.values());
    let asks = requests.filter_map(|request| request.ask);
    let of_servers = of_servers.filter_map(|request| match request.kind {
        RequestKind::Emit(emit) | RequestKind::Call(emit) => Some(emit),
        RequestKind::Fetch(_) | RequestKind::ServerEvent => None,
    });
    let asks: BTreeSet<_> = asks.chain(of_servers).collect();
    let mut seen = BTreeSet::new();
    for received in &connection.received {
        let emit = &history.emits[received.emit];
        if logged.contains(&received.emit) {
            // `log_oracle` checks it.
            continue;
        }
        if !seen.insert(received.emit) {
            wrong.push(format!("c{number} received e{} twice", received.emit));
        }
        if matches!(emit.sender, Sender::Call(_)) {
            continue;
        }
        // An event with an ack has no position: it does not wait for those of the log.
        let is_ask = asks.contains(&received.emit);
        let before = last.insert((emit.sender, &emit.room, is_ask), received.emit);
        if let Some(before) = before.filter(|before| *before > received.emit) {
            wrong.push(format!(
                "c{number} received e{} after e{before}",
                received.emit
            ));
        }
    }
}

/// Every event sent while a connection was in the room, outside of faults, has arrived.
fn nothing_missing(
    history: &History,
    number: ConnectionId,
    connection: &Connection,
    wrong: &mut Vec<String>,
) {
    let received: BTreeSet<_> = connection
        .received
        .iter()
        .map(|received| received.emit)
        .collect();
    for (id, emit) in history.emits.iter().enumerate() {
        if !received.contains(&id) && must_receive(history, number, connection, emit) {
            wrong.push(format!(
                "c{number} lacks e{id}, sent to {} by {:?}",
                emit.room, emit.sender
            ));
        }
    }
}

/// When a connection ended. A client that did not read notices the end of its session only afterwards.
pub fn end_of(connection: &Connection) -> Option<Duration> {
    let mut ended = connection.ended?;
    loop {
        let covers = |(from, to): &&(Duration, Duration)| *from < ended && ended <= *to + DELIVERY;
        let Some((from, _)) = connection.paused.iter().find(covers) else {
            return Some(ended);
        };
        ended = *from;
    }
}

pub fn must_receive(
    history: &History,
    number: ConnectionId,
    connection: &Connection,
    emit: &Emit,
) -> bool {
    let arrived_by = arrived_by(emit);
    let open = |connection: &Connection| end_of(connection).is_none_or(|end| end > arrived_by);
    let member = connection.stays.iter().any(|stay| {
        let in_time = stay.joined.is_some_and(|joined| joined < emit.sent);
        stay.room == emit.room && in_time && stay.left.is_none_or(|left| left > arrived_by)
    });
    let user_room = emit.room.strip_prefix("user:");
    let addressed = connection.sid.as_ref() == Some(&emit.room)
        || user_room == Some(connection.user.as_str())
        || emit.room == EVERYBODY;
    let addressed = addressed && connection.connected.is_some_and(|at| at < emit.sent);
    let excepted = emit.except.is_some() && emit.except == connection.sid;
    !excepted
        && emit.sender != Sender::Client(number)
        && (member || addressed)
        && open(connection)
        && is_healthy(history, connection.node, emit.sent, arrived_by)
        && is_sent(history, emit)
}

/// The time at which an emit has arrived everywhere if there are no faults.
pub fn arrived_by(emit: &Emit) -> Duration {
    let after_query = match emit.sender {
        Sender::Call(_) => QUERY_TIME,
        _ => Duration::ZERO,
    };
    emit.sent + after_query + DELIVERY
}

/// Whether a node had no fault at the beginning and the end of this period.
pub fn is_healthy(history: &History, node: usize, from: Duration, to: Duration) -> bool {
    let mut faults = history.faults.iter();
    !faults.any(|fault| fault.covers(node, from) || fault.covers(node, to))
}

/// Whether an emit was certainly published: its sender and the node on which it entered lived on, without faults.
pub fn is_sent(history: &History, emit: &Emit) -> bool {
    let arrived_by = arrived_by(emit);
    let node = match emit.sender {
        Sender::Client(sender) => {
            let sender = &history.connections[sender];
            if end_of(sender).is_some_and(|end| end <= arrived_by) {
                return false;
            }
            sender.node
        }
        Sender::Api(node) | Sender::Call(node) => node,
        Sender::Foreign(life) => {
            let life = &history.foreign.lives[life];
            return life.is_connected(emit.sent, arrived_by);
        }
    };
    is_healthy(history, node, emit.sent, arrived_by)
}

/// Every request gets a response while its connection lives.
fn every_request_has_a_response(
    history: &History,
    number: ConnectionId,
    connection: &Connection,
    wrong: &mut Vec<String>,
) {
    for (ack, request) in &connection.requests {
        let paused: Duration = connection.paused.iter().map(|(from, to)| *to - *from).sum();
        let due = request.sent + RESPONSE + paused;
        let late = match &request.response {
            Some((at, _)) => *at > due,
            None => end_of(connection).is_none_or(|end| end > due),
        };
        if late {
            let sent = request.sent;
            wrong.push(format!(
                "c{number}: request {ack} of {sent:?} has no response in time"
            ));
        }
        if let (Some(ask), Some((_, response))) = (request.ask, &request.response) {
            let emit = &history.emits[ask];
            let reached = history
                .connections
                .iter()
                .enumerate()
                .any(|(other, connection)| {
                    connection.paused.is_empty() && must_receive(history, other, connection, emit)
                });
            if reached && !response.contains(r#""ok":true"#) {
                wrong.push(format!(
                    "c{number}: ask e{ask} reached a member: {response}"
                ));
            }
        }
    }
}

/// Once a leave is acked, no event of the room arrives until it is joined again. Before that, requests that were made earlier
/// may be in progress, such as the join, whose replay takes long on a node that stalls.
fn nothing_after_leaving(
    history: &History,
    number: ConnectionId,
    connection: &Connection,
    wrong: &mut Vec<String>,
) {
    let left = |stay: &Stay| match stay.lost {
        true => stay.left,
        false => stay.left_acked,
    };
    // What a session missed as a member is recovered, also if it leaves the room while it catches up; `log_oracle` checks it.
    let missed: BTreeMap<_, _> = match connection.continues() {
        Some(_) => history
            .appended
            .iter()
            .filter_map(|it| Some((it.emit?, it.at)))
            .collect(),
        None => BTreeMap::new(),
    };
    for received in &connection.received {
        let emit = &history.emits[received.emit];
        let mut stays = connection
            .stays
            .iter()
            .filter(|stay| stay.room == emit.room)
            .peekable();
        let is_room = stays.peek().is_some();
        let at = missed.get(&received.emit).copied().unwrap_or(received.at);
        let within = |left: Option<Duration>| left.is_none_or(|left| at <= left);
        if is_room && !stays.any(|stay| within(left(stay))) {
            wrong.push(format!(
                "c{number} received e{} after it had left",
                received.emit
            ));
        }
    }
}

/// A client receives nothing of rooms that it has never been in, and nothing for other sockets and users.
fn nothing_of_others(
    history: &History,
    connection: &Connection,
    number: ConnectionId,
    wrong: &mut Vec<String>,
) {
    let former = std::iter::successors(Some(number), |it| history.connections[*it].resumes);
    let sids: BTreeSet<&str> = former
        .filter_map(|it| history.connections[it].sid.as_deref())
        .collect();
    for received in &connection.received {
        let room = history.emits[received.emit].room.as_str();
        let is_for_it = match room.strip_prefix("user:") {
            Some(user) => user == connection.user,
            None if ROOMS.contains(&room) => connection.stays.iter().any(|it| it.room == room),
            None => [EVERYBODY, ANNEX].contains(&room) || sids.contains(room),
        };
        if !is_for_it {
            let emit = received.emit;
            wrong.push(format!(
                "c{number} received e{emit} of {room}, in which it was not"
            ));
        }
    }
}
