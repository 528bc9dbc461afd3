//! What must hold for the responses to backends: in time, complete or with the names of the nodes that they lack, and
//! nothing in them that was not so while they were collected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::backend::QUERY_TIME;
use super::fault::{Fault, Kind, SETTLING};
use super::history::{ApiRequest, ApiResponse, Connection, EmitId, History, Verb};
use super::oracle::end_of;
use super::world::{ROOMS, USERS};

/// Time that a response takes beside its time limits, in virtual time.
const SLACK: Duration = Duration::from_millis(100);
/// Time in which a query ends if every node responds.
const UNDISTURBED: Duration = Duration::from_millis(500);
/// Time that `call` takes to distinguish nodes from clients that do not respond.
const PROBE_TIME: Duration = Duration::from_millis(300);
/// Time in which nodes notice another one, by its heartbeats: one a second, late by 2 s if it stalls.
const DISCOVERY: Duration = Duration::from_secs(4);
/// Time in which a dead node is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(8);
/// Time until a request of a client has taken effect.
const EFFECT: Duration = SETTLING;

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, request) in history.api.iter().enumerate() {
        let died = history.died(request.node);
        let mut found = Vec::new();
        match &request.response {
            Some(response) if died.is_none_or(|died| died > response.at) => {
                Collected::new(history, request, response).check(&mut found);
            }
            None if died.is_none() => found.push("no response".to_owned()),
            _ => {}
        }
        wrong.extend(found.into_iter().map(|what| {
            let ApiRequest { node, verb, .. } = request;
            format!("a{number} to n{node}, {verb:?}: {what}")
        }));
    }
    wrong
}

/// Whose sockets a request selects.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    Everybody,
    Room(&'a str),
    User(&'a str),
}

impl History {
    pub fn died(&self, node: usize) -> Option<Duration> {
        let mut deaths = self.faults.iter().filter(|fault| fault.kind == Kind::Death);
        deaths
            .find(|fault| fault.node == node)
            .map(|fault| fault.begin)
    }

    fn faults_of(&self, node: usize) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.node == node)
    }

    fn by_sid(&self, sid: &str) -> Option<(usize, &Connection)> {
        let mut connections = self.connections.iter().enumerate();
        connections.find(|(_, connection)| connection.sid.as_deref() == Some(sid))
    }
}

impl Connection {
    /// Whether it was selected all the time from `from` to `to`, and before `from` for a moment at least.
    fn was_in(&self, target: Target<'_>, from: Duration, to: Duration) -> bool {
        let connected = self.connected.is_some_and(|at| at < from);
        let open = end_of(self).is_none_or(|end| end > to);
        connected
            && open
            && match target {
                Target::Everybody => true,
                Target::User(user) => self.user == user,
                Target::Room(room) => self.stays.iter().any(|stay| {
                    let joined = stay.joined.is_some_and(|joined| joined < from);
                    stay.room == room && joined && stay.left.is_none_or(|left| left > to)
                }),
            }
    }

    /// Whether it may have been selected at any time from `from` to `to`.
    fn may_be_in(&self, target: Target<'_>, from: Duration, to: Duration) -> bool {
        let overlaps = |begin: Duration, end: Option<Duration>| {
            begin <= to && end.is_none_or(|end| end + EFFECT >= from)
        };
        overlaps(self.began, self.ended)
            && match target {
                Target::Everybody => true,
                Target::User(user) => self.user == user,
                Target::Room(room) => self
                    .stays
                    .iter()
                    .any(|stay| stay.room == room && overlaps(stay.requested, stay.left)),
            }
    }

    fn reads_throughout(&self, from: Duration, to: Duration) -> bool {
        let mut paused = self.paused.iter();
        !paused.any(|(begin, end)| *begin <= to && *end + SETTLING >= from)
    }
}

/// A response, and what was the case while it was collected.
struct Collected<'a> {
    history: &'a History,
    request: &'a ApiRequest,
    body: &'a Value,
    status: u16,
    from: Duration,
    to: Duration,
    /// Numbers of the nodes that it names as missing.
    missing: Vec<usize>,
    /// Nodes that may be neither in the response nor missing.
    excused: BTreeSet<usize>,
}

impl<'a> Collected<'a> {
    fn new(history: &'a History, request: &'a ApiRequest, response: &'a ApiResponse) -> Self {
        let mut collected = Self {
            history,
            request,
            body: &response.body,
            status: response.status,
            from: request.sent,
            to: response.at,
            missing: Vec::new(),
            excused: BTreeSet::new(),
        };
        let names = history.nodes.iter().map(|node| node.name.as_str());
        for missing in texts(&response.body["missing"]) {
            // A name that no node ever had is found by `check_missing`.
            let number = names.clone().position(|name| name == missing);
            collected.missing.push(number.unwrap_or(usize::MAX));
        }
        let nodes = 0..history.nodes.len();
        collected.excused = nodes.filter(|node| collected.is_excused(*node)).collect();
        collected
    }

    fn check(&self, wrong: &mut Vec<String>) {
        let store_away =
            matches!(self.request.verb, Verb::Named) && !self.is_healthy(self.request.node);
        if self.status == 503 && store_away {
            return;
        }
        if self.status != 200 {
            return wrong.push(format!("status {}: {}", self.status, self.body));
        }
        self.check_time(wrong);
        self.check_missing(wrong);
        match &self.request.verb {
            Verb::Sockets(room) => self.check_sockets(Some(Target::Room(room)), wrong),
            Verb::Everybody => self.check_sockets(Some(Target::Everybody), wrong),
            Verb::Socket(_) => self.check_sockets(None, wrong),
            Verb::Members(room) => self.check_members(room, wrong),
            Verb::Rooms => self.check_rooms(wrong),
            Verb::Users | Verb::Named => self.check_users(wrong),
            Verb::Info => self.check_info(wrong),
            Verb::Emit(emit) => self.check_emit(*emit, wrong),
            Verb::Call(emit, _) => self.check_call(*emit, wrong),
            Verb::Answers => self.check_answers(wrong),
            // `user_oracle` checks its effect.
            Verb::Revoke(_) => {}
        }
    }

    /// Whether nothing was wrong with a node, and nothing has been for a while.
    fn is_healthy(&self, node: usize) -> bool {
        let mut faults = self.history.faults_of(node);
        let old = self.history.nodes[node].started + DISCOVERY <= self.from;
        old && !faults.any(|fault| {
            fault.covers(node, self.from)
                || fault.overlaps(self.from.saturating_sub(DISCOVERY), self.to)
        })
    }

    /// Whether the node of the request need not know `node`, or `node` was not connected.
    fn is_excused(&self, node: usize) -> bool {
        let (history, ours) = (self.history, self.request.node);
        if node == ours {
            return false;
        }
        // Since when the node of the request has received nothing; before that it received everything for a while.
        let mut since = self.from;
        loop {
            let before = since.saturating_sub(DISCOVERY);
            let stopping = history.faults_of(ours).filter(|fault| fault.stops_time());
            let earlier = stopping
                .filter(|fault| fault.begin < since && fault.overlaps(before, since))
                .map(|fault| fault.begin)
                .min();
            match earlier {
                Some(begin) => since = begin,
                None => break,
            }
        }
        let before = since.saturating_sub(DISCOVERY);
        let young = [node, ours]
            .iter()
            .any(|number| history.nodes[*number].started > before);
        young
            || history.faults_of(node).any(|fault| {
                matches!(fault.kind, Kind::Partition | Kind::Death)
                    && fault.overlaps(before, self.to)
            })
    }

    /// A response ends at its time limit, and long before it if every node responds.
    fn check_time(&self, wrong: &mut Vec<String>) {
        let took = self.to - self.from;
        let limit = match self.request.verb {
            // A stalled node sends a command to the store late, and receives its result late.
            Verb::Revoke(_) | Verb::Named => 3 * QUERY_TIME,
            Verb::Call(_, time) => QUERY_TIME.min(time) + time + PROBE_TIME,
            _ => QUERY_TIME,
        };
        if took > limit + SLACK {
            wrong.push(format!("took {took:?}"));
        }
        let long_ago = self.from.saturating_sub(FORGOTTEN);
        let mut faults = self.history.faults.iter();
        let disturbed = faults.any(|fault| fault.overlaps(long_ago, self.to))
            || self.nodes().any(|node| !self.is_healthy(node));
        let waits_for_clients = matches!(self.request.verb, Verb::Call(..));
        if took > UNDISTURBED && !disturbed && !waits_for_clients {
            wrong.push(format!("took {took:?} without a reason"));
        }
    }

    /// Only nodes that could not respond are missing.
    fn check_missing(&self, wrong: &mut Vec<String>) {
        let (history, ours) = (self.history, self.request.node);
        let distinct: BTreeSet<_> = self.missing.iter().collect();
        if distinct.len() != self.missing.len() {
            wrong.push(format!("missing twice: {:?}", self.missing));
        }
        for node in &self.missing {
            if *node >= history.nodes.len() || *node == ours {
                wrong.push(format!("{} is missing", self.body["missing"]));
            } else if self.is_healthy(*node) && self.is_healthy(ours) {
                wrong.push(format!("n{node} is missing for no reason"));
            } else if let Some(died) = history.died(*node)
                && !matches!(self.request.verb, Verb::Socket(_))
            {
                let undisturbed = !history
                    .faults_of(ours)
                    .any(|fault| fault.overlaps(died.saturating_sub(SETTLING), self.to));
                let old = history.nodes[ours].started + FORGOTTEN <= self.from;
                if undisturbed && old && died + FORGOTTEN <= self.from {
                    wrong.push(format!("n{node} is missing since its death at {died:?}"));
                }
            }
        }
    }

    /// Nodes that were alive when the request began, by number.
    fn nodes(&self) -> impl Iterator<Item = usize> {
        let alive = |number: &usize| {
            let started = self.history.nodes[*number].started <= self.from;
            started && self.history.died(*number).is_none_or(|at| at > self.from)
        };
        (0..self.history.nodes.len()).filter(alive)
    }

    /// Whether what `node` has must be in the response.
    fn includes(&self, node: usize) -> bool {
        !self.missing.contains(&node) && !self.excused.contains(&node)
    }

    /// The least and the greatest possible number of sockets.
    fn bounds(&self, target: Target<'_>) -> (u64, u64) {
        let connections = self.history.connections.iter();
        let certain = connections.clone().filter(|connection| {
            self.includes(connection.node) && connection.was_in(target, self.from, self.to)
        });
        let possible = connections.filter(|connection| self.is_possible(connection, target));
        (certain.count() as u64, possible.count() as u64)
    }

    /// Whether a response can contain it: nothing of a missing node is in it.
    fn is_possible(&self, connection: &Connection, target: Target<'_>) -> bool {
        !self.missing.contains(&connection.node) && connection.may_be_in(target, self.from, self.to)
    }

    fn check_count(&self, what: &str, target: Target<'_>, found: &Value, wrong: &mut Vec<String>) {
        let (least, most) = self.bounds(target);
        let found = found.as_u64().unwrap_or(u64::MAX);
        if !(least..=most).contains(&found) {
            wrong.push(format!("{found} sockets of {what}, not {least} to {most}"));
        }
    }

    /// Checks that these are the selected sockets, each of them once.
    fn check_sids(&self, sids: &[&str], target: Target<'_>, wrong: &mut Vec<String>) {
        let distinct: BTreeSet<_> = sids.iter().copied().collect();
        if distinct.len() != sids.len() {
            wrong.push(format!("a socket twice: {sids:?}"));
        }
        for sid in &distinct {
            match self.history.by_sid(sid) {
                Some((_, connection)) if self.is_possible(connection, target) => {}
                Some((number, _)) => wrong.push(format!("c{number} is not one of {target:?}")),
                // The client has not received its id before it ended.
                None => {}
            }
        }
        for (number, connection) in self.history.connections.iter().enumerate() {
            let sid = connection.sid.as_deref().unwrap_or_default();
            let certain = connection.was_in(target, self.from, self.to);
            if certain && self.includes(connection.node) && !distinct.contains(sid) {
                let node = connection.node;
                wrong.push(format!("c{number} lacks, n{node} is not missing"));
            }
        }
    }

    fn check_sockets(&self, target: Option<Target<'_>>, wrong: &mut Vec<String>) {
        let listed = list(&self.body["sockets"]);
        let sids: Vec<&str> = listed.iter().map(|entry| text(&entry["socket"])).collect();
        if self.body["total"] != sids.len() {
            wrong.push(format!("a total of {} of {sids:?}", self.body["total"]));
        }
        match (target, &self.request.verb) {
            (Some(target), _) => self.check_sids(&sids, target, wrong),
            (None, Verb::Socket(number)) => self.check_one(*number, &sids, wrong),
            _ => {}
        }
        for entry in listed {
            if let Some((number, connection)) = self.history.by_sid(text(&entry["socket"])) {
                self.check_entry(number, connection, entry, wrong);
            }
        }
    }

    /// Checks the response about one socket, for which only its node is responsible.
    fn check_one(&self, number: usize, sids: &[&str], wrong: &mut Vec<String>) {
        let connection = &self.history.connections[number];
        let sid = connection.sid.as_deref().unwrap_or_default();
        if sids.iter().any(|found| *found != sid) || sids.len() > 1 {
            wrong.push(format!("{sids:?} instead of {sid}"));
        }
        let alive = connection.was_in(Target::Everybody, self.from, self.to);
        if alive && sids.is_empty() && !self.missing.contains(&connection.node) {
            wrong.push(format!("c{number} lacks"));
        }
    }

    fn check_entry(
        &self,
        number: usize,
        connection: &Connection,
        entry: &Value,
        wrong: &mut Vec<String>,
    ) {
        let node = &self.history.nodes[connection.node].name;
        if entry["node"] != node.as_str() || entry["user"] != connection.user.as_str() {
            wrong.push(format!("c{number} is described as {entry}"));
        }
        let rooms = texts(&entry["rooms"]);
        let own = format!("user:{}", connection.user);
        for room in ROOMS.into_iter().chain([own.as_str()]) {
            let target = target_of(room);
            let (from, to) = (self.from, self.to);
            let is_in = rooms.contains(&room);
            if is_in && !connection.may_be_in(target, from, to)
                || !is_in && connection.was_in(target, from, to)
            {
                wrong.push(format!("c{number} has the rooms {rooms:?}"));
            }
        }
    }

    fn check_members(&self, room: &str, wrong: &mut Vec<String>) {
        let mut sids = Vec::new();
        let mut users = BTreeSet::new();
        for member in list(&self.body["members"]) {
            let user = text(&member["user"]);
            if !users.insert(user) {
                wrong.push(format!("{user} twice"));
            }
            for sid in texts(&member["sockets"]) {
                let owner = self.history.by_sid(sid);
                if owner.is_some_and(|(_, connection)| connection.user != user) {
                    wrong.push(format!("{sid} is not of {user}"));
                }
                sids.push(sid);
            }
        }
        if self.body["total"] != sids.len() {
            wrong.push(format!("a total of {} of {sids:?}", self.body["total"]));
        }
        self.check_sids(&sids, Target::Room(room), wrong);
    }

    fn check_rooms(&self, wrong: &mut Vec<String>) {
        let rooms = list(&self.body["rooms"]);
        let counts: BTreeMap<&str, &Value> = rooms
            .iter()
            .map(|entry| (text(&entry["room"]), &entry["sockets"]))
            .collect();
        if counts.len() != rooms.len() {
            wrong.push(format!("a room twice: {}", self.body));
        }
        let users = USERS.map(|user| format!("user:{user}"));
        let known = ROOMS.into_iter().chain(users.iter().map(String::as_str));
        let none = Value::from(0);
        for room in known.clone() {
            let found = counts.get(room).copied().unwrap_or(&none);
            self.check_count(room, target_of(room), found, wrong);
        }
        let known: BTreeSet<&str> = known.collect();
        for room in counts.keys().filter(|room| !known.contains(*room)) {
            wrong.push(format!("the room {room}"));
        }
    }

    fn check_users(&self, wrong: &mut Vec<String>) {
        let users = list(&self.body["users"]);
        let states: BTreeMap<&str, &Value> = users
            .iter()
            .map(|entry| (text(&entry["user"]), entry))
            .collect();
        if states.len() != users.len() {
            wrong.push(format!("a user twice: {}", self.body));
        }
        let none = Value::from(0);
        for user in USERS {
            let state = states.get(user);
            let found = state.map_or(&none, |state| &state["sockets"]);
            self.check_count(user, Target::User(user), found, wrong);
            if state.is_some_and(|state| state["online"] != (*found != none)) {
                wrong.push(format!("{user} is not online as counted: {}", self.body));
            }
        }
        if states.keys().any(|user| !USERS.contains(user)) {
            wrong.push(format!("unknown users: {}", self.body));
        }
    }

    fn check_info(&self, wrong: &mut Vec<String>) {
        let nodes = list(&self.body["nodes"]);
        let names: Vec<&str> = nodes.iter().map(|entry| text(&entry["node"])).collect();
        self.check_coverage(&names, wrong);
        for entry in nodes {
            let named = |node: usize| self.history.nodes[node].name == text(&entry["node"]);
            let connections = self.history.connections.iter();
            let own = connections.filter(|connection| named(connection.node));
            let (from, to) = (self.from, self.to);
            let least = own
                .clone()
                .filter(|connection| connection.was_in(Target::Everybody, from, to));
            let most = own.filter(|connection| connection.may_be_in(Target::Everybody, from, to));
            let (least, most) = (least.count() as u64, most.count() as u64);
            let found = entry["sockets"].as_u64().unwrap_or(u64::MAX);
            if !(least..=most).contains(&found) {
                wrong.push(format!("{entry} has not {least} to {most} sockets"));
            }
        }
    }

    /// Checks that the nodes of the response and those that are missing are all that were alive and connected.
    fn check_coverage(&self, names: &[&str], wrong: &mut Vec<String>) {
        let numbers = names.iter().filter_map(|name| {
            let mut nodes = self.history.nodes.iter();
            nodes.position(|node| node.name == *name)
        });
        let numbers: Vec<usize> = numbers.collect();
        let distinct: BTreeSet<_> = numbers.iter().copied().collect();
        if numbers.len() != names.len() || distinct.len() != names.len() {
            wrong.push(format!("unknown or repeated nodes: {names:?}"));
        }
        for node in 0..self.history.nodes.len() {
            let (is_in, is_missing) = (distinct.contains(&node), self.missing.contains(&node));
            if is_in && is_missing {
                wrong.push(format!("n{node} responded and is missing"));
            }
            let dead = self.history.died(node).is_some_and(|died| died < self.from);
            if is_in && dead {
                wrong.push(format!("n{node} responded after its death"));
            }
            let alive = self.nodes().any(|alive| alive == node);
            if alive && !is_in && !is_missing && !self.excused.contains(&node) {
                wrong.push(format!("n{node} neither responded nor is missing"));
            }
        }
    }

    /// Each worker of the own node and each other node responds once.
    fn check_answers(&self, wrong: &mut Vec<String>) {
        let senders = texts(&self.body["senders"]);
        let distinct: BTreeSet<&str> = senders.iter().copied().collect();
        for sender in &distinct {
            let life = self.history.nodes.iter().enumerate();
            let mut life = life.filter(|(_, node)| node.name == **sender);
            let answers = senders.iter().filter(|other| *other == sender).count();
            let expected = match life.next() {
                Some((number, node)) if number == self.request.node => node.workers,
                _ => 1,
            };
            if answers != expected {
                wrong.push(format!("{answers} answers of {sender}, not {expected}"));
            }
        }
        let distinct: Vec<&str> = distinct.into_iter().collect();
        self.check_coverage(&distinct, wrong);
    }

    fn check_emit(&self, emit: EmitId, wrong: &mut Vec<String>) {
        let target = Target::Room(&self.history.emits[emit].room);
        self.check_count("the room", target, &self.body["sockets"], wrong);
        let connections = self.history.connections.iter();
        let nodes = |certain: bool| {
            let nodes = connections.clone().filter(|connection| match certain {
                true => {
                    self.includes(connection.node) && connection.was_in(target, self.from, self.to)
                }
                false => self.is_possible(connection, target),
            });
            let nodes: BTreeSet<usize> = nodes.map(|connection| connection.node).collect();
            nodes.len() as u64
        };
        let found = self.body["nodes"].as_u64().unwrap_or(u64::MAX);
        if !(nodes(true)..=nodes(false)).contains(&found) {
            wrong.push(format!("sent to {found} nodes"));
        }
    }

    fn check_call(&self, emit: EmitId, wrong: &mut Vec<String>) {
        let target = Target::Room(&self.history.emits[emit].room);
        let acks = list(&self.body["acks"]);
        let acked: Vec<&str> = acks.iter().map(|ack| text(&ack["socket"])).collect();
        for ack in acks {
            let owner = self.history.by_sid(text(&ack["socket"]));
            let number = ack["args"][0].as_u64().unwrap_or(u64::MAX) as usize;
            if owner.is_some_and(|(owner, _)| owner != number) {
                wrong.push(format!("the ack {ack} of another client"));
            }
            let received = self.history.connections.get(number).is_some_and(|client| {
                let mut received = client.received.iter();
                received.any(|received| received.emit == emit)
            });
            if !received {
                wrong.push(format!("the ack {ack} of an event that was not received"));
            }
        }
        let mut sids = acked.clone();
        sids.extend(texts(&self.body["unanswered"]));
        self.check_acked(&acked, &sids, target, wrong);
    }

    fn check_acked(
        &self,
        acked: &[&str],
        sids: &[&str],
        target: Target<'_>,
        wrong: &mut Vec<String>,
    ) {
        let connections = self.history.connections.iter();
        let selected = |connection: &&Connection| connection.may_be_in(target, self.from, self.to);
        let stable = connections.clone().filter(selected).all(|connection| {
            connection.was_in(target, self.from, self.to)
                && connection.reads_throughout(self.from, self.to)
        });
        let healthy = self.nodes().all(|node| self.is_healthy(node));
        for (number, connection) in self.history.connections.iter().enumerate() {
            let sid = connection.sid.as_deref().unwrap_or_default();
            let (node, certain) = (
                connection.node,
                connection.was_in(target, self.from, self.to),
            );
            if certain && self.includes(node) && !sids.contains(&sid) {
                wrong.push(format!("c{number} lacks, n{node} is not missing"));
            }
            if certain && stable && healthy && !acked.contains(&sid) {
                wrong.push(format!("c{number} has not acknowledged"));
            }
            // Its node died while the call waited for it.
            let died = self.history.died(node).filter(|died| *died <= self.to);
            let lost = died.is_some_and(|died| {
                let before = died.saturating_sub(SLACK);
                before > self.from && connection.was_in(target, self.from, before)
            });
            let awaited = sids.contains(&sid) && !acked.contains(&sid);
            if lost && awaited && !self.missing.contains(&node) {
                wrong.push(format!("n{node} died and is not missing"));
            }
        }
        let distinct: BTreeSet<&str> = sids.iter().copied().collect();
        if distinct.len() != sids.len() {
            wrong.push(format!("a socket twice: {}", self.body));
        }
    }
}

fn target_of(room: &str) -> Target<'_> {
    room.strip_prefix("user:")
        .map_or(Target::Room(room), Target::User)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |values| values)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}
