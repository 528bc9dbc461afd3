//! What must hold for events of rooms with a log: each is received once, in the order of the log, also by clients that
//! lose their connection and recover their session; or its loss is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::history::{Appended, EmitId, History, JoinedSince, Sender, Stay};
use super::journey::Journey;
use super::oracle::is_sent;

/// The events of the logs.
struct Logs<'a> {
    appended: &'a [Appended],
    /// Their places by emit.
    places: BTreeMap<EmitId, usize>,
}

impl<'a> Logs<'a> {
    fn new(history: &'a History, wrong: &mut Vec<String>) -> Self {
        let appended = &history.appended;
        let mut places = BTreeMap::new();
        for (place, event) in appended.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| &appended[before]);
            if let Some(before) = before.filter(|it| it.epoch == event.epoch)
                && before.n >= event.n
            {
                wrong.push(format!("the position {} follows {}", event.n, before.n));
            }
            if let Some(emit) = event.emit
                && places.insert(emit, place).is_some()
            {
                wrong.push(format!("e{emit} was appended twice"));
            }
        }
        Self { appended, places }
    }

    fn of(&self, emit: EmitId) -> Option<&'a Appended> {
        self.places.get(&emit).map(|place| &self.appended[*place])
    }

    /// What was in the log of a room at some time from `from`, also if a failover lost it later.
    fn of_room(&self, room: &str, from: Duration) -> Vec<&'a Appended> {
        let of_room = self
            .appended
            .iter()
            .filter(move |it| it.rooms.iter().any(|other| other == room));
        of_room
            .filter(|it| it.lost.is_none_or(|lost| lost >= from))
            .collect()
    }
}

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let logs = Logs::new(history, &mut wrong);
    appended_if_sent(history, &logs, &mut wrong);
    for journey in Journey::all(history) {
        once_and_for_it(&journey, &logs, &mut wrong);
        in_order(&journey, &logs, &mut wrong);
        complete(&journey, &logs, &mut wrong);
        for (_, connection) in &journey.connections {
            for stay in connection.stays.iter().filter(|stay| stay.since.is_some()) {
                replayed(&journey, stay, &logs, &mut wrong);
            }
        }
    }
    wrong
}

/// Whatever a client or a backend has certainly sent to a room with a log is in it. Events with acks are not logged.
fn appended_if_sent(history: &History, logs: &Logs<'_>, wrong: &mut Vec<String>) {
    let connections = history.connections.iter();
    let requests = connections.flat_map(|it| it.requests.values());
    let asks: BTreeSet<EmitId> = requests.filter_map(|request| request.ask).collect();
    for (id, emit) in history.emits.iter().enumerate() {
        let is_logged = match emit.sender {
            Sender::Client(_) => !asks.contains(&id),
            Sender::Api(_) => true,
            Sender::Call(_) | Sender::Foreign(_) => false,
        };
        let is_in_log = logs.of(id).is_some();
        if is_logged && !is_in_log && history.features.has_log(&emit.room) && is_sent(history, emit)
        {
            let (room, sent) = (&emit.room, emit.sent);
            wrong.push(format!("e{id}, sent to {room} at {sent:?}, is in no log"));
        }
    }
}

/// No event is received twice, and none that the session has sent, that excepts it, or that is of a room in which it
/// was not.
fn once_and_for_it(journey: &Journey<'_>, logs: &Logs<'_>, wrong: &mut Vec<String>) {
    let mut seen: BTreeMap<EmitId, usize> = BTreeMap::new();
    for (connection, received) in journey.received() {
        let (id, name) = (received.emit, journey.name());
        let emit = &journey.history.emits[id];
        let appended = logs.of(id);
        let requested = appended.map(|it| requested_by(journey, it, received.at));
        let times = seen.entry(id).or_insert(0);
        *times += 1;
        // A client can request what it has received before. Events without a position are not of logs.
        if requested
            .as_ref()
            .is_some_and(|it| *times > it.len() + 1 || *times > 1 && it.is_empty())
        {
            wrong.push(format!("{name} received e{id} again, by c{connection}"));
        }
        if journey.is_excepted(emit) && journey.has_all_ids() {
            wrong.push(format!("{name} received e{id}, which excepts it"));
        }
        let Some(appended) = appended else {
            continue;
        };
        if !journey.may_receive(appended) {
            wrong.push(format!(
                "{name} received e{id} of {}, in which it was not",
                emit.room
            ));
        }
        // What was requested of the past of a room has no position.
        let is_past = requested.is_some_and(|it| !it.is_empty()) && received.n.is_none();
        if journey.first().recovers && received.n != Some(appended.n) && !is_past {
            wrong.push(format!(
                "{name} received e{id} at {:?}, not {}",
                received.n, appended.n
            ));
        }
    }
}

/// Events of a log are received in its order. Events of all logs are, by sessions that can be recovered: the position
/// of the last one stands for all of them. What is requested from a log is in the order of that log.
fn in_order(journey: &Journey<'_>, logs: &Logs<'_>, wrong: &mut Vec<String>) {
    let mut last: BTreeMap<(&str, Option<Duration>), usize> = BTreeMap::new();
    let all: Vec<EmitId> = journey.received().map(|(_, it)| it.emit).collect();
    for (index, (_, received)) in journey.received().enumerate() {
        let Some(place) = logs.places.get(&received.emit).copied() else {
            continue;
        };
        let appended = &logs.appended[place];
        let requests = requested_by(journey, appended, received.at);
        if journey.has_named(appended) || requests.len() > 1 {
            // It was announced as lost, or is in the order of one of the requests.
            continue;
        }
        // Until the join is executed, the client may receive what it has not read of an earlier stay in the room; the join
        // then repeats it.
        let is_repeated = all[index + 1..].contains(&received.emit);
        let requested = requests.first().copied().filter(|_| !is_repeated);
        let mut keys: Vec<&str> = appended.rooms.iter().map(String::as_str).collect();
        if journey.first().recovers && requests.is_empty() && !journey.was_late(appended) {
            keys.push("all logs");
        }
        for key in keys {
            let before = last
                .insert((key, requested), place)
                .filter(|before| *before > place);
            if let Some(before) = before {
                wrong.push(format!(
                    "{} received e{} after e{:?}, in {key}",
                    journey.name(),
                    received.emit,
                    logs.appended[before].emit
                ));
            }
        }
    }
}

/// When the joins were requested, before it was received, that requested a part of the log with this event.
fn requested_by(journey: &Journey<'_>, appended: &Appended, received: Duration) -> Vec<Duration> {
    let connections = journey.connections.iter();
    let stays = connections.flat_map(|(_, connection)| &connection.stays);
    let requests = stays.filter(|stay| {
        let concerns = stay.since.is_some() && appended.rooms.contains(&stay.room);
        let acked = stay.joined.unwrap_or(Duration::MAX);
        concerns && appended.at <= acked && received >= stay.requested
    });
    requests.map(|stay| stay.requested).collect()
}

/// Everything that was appended while the session was in the room has been received, or its loss was named.
fn complete(journey: &Journey<'_>, logs: &Logs<'_>, wrong: &mut Vec<String>) {
    let received: BTreeSet<EmitId> = journey.received().map(|(_, it)| it.emit).collect();
    for appended in logs.appended.iter().filter(|it| it.lost.is_none()) {
        let Some(emit) = appended.emit.filter(|emit| !received.contains(emit)) else {
            continue;
        };
        let is_for_it = !journey.is_excepted(&journey.history.emits[emit]);
        if is_for_it && journey.must_receive(appended) {
            wrong.push(format!(
                "{} lacks e{emit}, appended to {:?} at {:?} ({})",
                journey.name(),
                appended.rooms,
                appended.at,
                appended.n
            ));
        }
    }
}

/// A join receives what it requested of the log, or that something is missing.
fn replayed(journey: &Journey<'_>, stay: &Stay, logs: &Logs<'_>, wrong: &mut Vec<String>) {
    let (Some(ack), Some(joined)) = (&stay.replay, stay.joined) else {
        return;
    };
    if ack["gap"] != false {
        return;
    }
    let received: BTreeSet<EmitId> = journey.received().map(|(_, it)| it.emit).collect();
    let events = logs.of_room(&stay.room, stay.requested).into_iter();
    let events = events.filter(|it| it.at < joined);
    // What is newer than the position in the response follows live. A client that does not read on does not receive it.
    let end = journey.certain_end();
    let offset = ack["offset"].as_str().and_then(|it| it.split_once('-'));
    let is_replayed = |it: &Appended| {
        offset.is_some_and(|(epoch, n)| it.epoch == epoch && it.n <= n.parse::<u64>().unwrap())
    };
    let requested: Vec<&Appended> = match stay.since.as_ref().unwrap() {
        JoinedSince::Last(number) => events.rev().take(*number).collect(),
        JoinedSince::Position(position) => {
            let (epoch, n) = position.split_once('-').unwrap();
            let n: u64 = n.parse().unwrap();
            let follows = |it: &&Appended| it.epoch != epoch || it.n > n;
            events.filter(follows).collect()
        }
    };
    let requested = requested.into_iter().filter(|it| {
        let is_followed = end.is_none_or(|end| it.at < end);
        it.lost.is_none_or(|lost| lost > joined) && (is_replayed(it) || is_followed)
    });
    for emit in requested.filter_map(|it| it.emit) {
        let is_for_it = !journey.is_excepted(&journey.history.emits[emit]);
        if is_for_it && !received.contains(&emit) {
            wrong.push(format!(
                "{} joined {} with {:?} and lacks e{emit}: {ack}",
                journey.name(),
                stay.room,
                stay.since
            ));
        }
    }
}
