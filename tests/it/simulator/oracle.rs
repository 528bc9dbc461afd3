//! What must hold in every run, whatever its seed. Each oracle returns a description of every violation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backend::QUERY_TIME;
use super::history::{Connection, ConnectionId, EVERYBODY, Emit, History, Sender, Stay};

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
    let mut last: BTreeMap<(Sender, &str, bool), usize> = BTreeMap::new();
    let logged: BTreeSet<_> = history.appended.iter().filter_map(|it| it.emit).collect();
    let requests = history
        .connections
        .iter()
        .flat_map(|it| it.requests.values());
    let asks: BTreeSet<_> = requests.filter_map(|request| request.ask).collect();
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
    let (sender, sender_node) = match emit.sender {
        Sender::Client(sender) => {
            let connection = &history.connections[sender];
            (Some(connection), connection.node)
        }
        Sender::Api(node) | Sender::Call(node) => (None, node),
    };
    let after_query = match emit.sender {
        Sender::Call(_) => QUERY_TIME,
        _ => Duration::ZERO,
    };
    let arrived_by = emit.sent + after_query + DELIVERY;
    let open = |connection: &Connection| end_of(connection).is_none_or(|end| end > arrived_by);
    let faulty = |node| {
        let window = |fault: &super::fault::Fault| {
            fault.covers(node, emit.sent) || fault.covers(node, arrived_by)
        };
        history.faults.iter().any(window)
    };
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
        && sender.is_none_or(open)
        && !faulty(connection.node)
        && !faulty(sender_node)
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
