//! What must hold for the responses to backends: in time, complete or with the names of the nodes that they lack, and
//! nothing in them that was not so while they were collected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::backend::QUERY_TIME;
use super::fault::{Fault, Kind, SETTLING};
use super::history::{
    ApiRequest, ApiResponse, Appended, Connection, EmitId, History, Sender, Verb,
};
use super::oracle::end_of;
use super::world::{ROOMS, USERS};

mod emits;
mod reads;
mod servers;

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
/// Time in which a node notices that a client is gone without notice.
const ABANDONED: Duration = Duration::from_secs(50);
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

    /// The node on which an emit entered, unless a foreign server sent it.
    fn sender_node(&self, emit: EmitId) -> Option<usize> {
        match self.emits[emit].sender {
            Sender::Client(sender) => Some(self.connections[sender].node),
            Sender::Api(node) | Sender::Call(node) => Some(node),
            Sender::Foreign(_) => None,
        }
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
    /// The response has `servers` in its list `missing`.
    lacks_servers: bool,
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
            lacks_servers: false,
        };
        let names = history.nodes.iter().map(|node| node.name.as_str());
        for missing in texts(&response.body["missing"]) {
            if missing == "servers" {
                collected.lacks_servers = true;
                continue;
            }
            // A name that no node ever had is found by `check_missing`.
            let number = names.clone().position(|name| name == missing);
            collected.missing.push(number.unwrap_or(usize::MAX));
        }
        let nodes = 0..history.nodes.len();
        collected.excused = nodes.filter(|node| collected.is_excused(*node)).collect();
        collected
    }

    fn check(&self, wrong: &mut Vec<String>) {
        let of_store = match &self.request.verb {
            Verb::Named => true,
            Verb::Members(room) => self.history.features.has_presence(room),
            _ => false,
        };
        let store_away = of_store && !self.is_healthy(self.request.node);
        if self.status == 503 && store_away {
            return;
        }
        if self.status != 200 {
            return wrong.push(format!("status {}: {}", self.status, self.body));
        }
        self.check_time(wrong);
        self.check_missing(wrong);
        self.check_servers(wrong);
        match &self.request.verb {
            Verb::Sockets(room) => self.check_sockets(Some(Target::Room(room)), wrong),
            Verb::Everybody => self.check_sockets(Some(Target::Everybody), wrong),
            Verb::Socket(_) => self.check_sockets(None, wrong),
            // `presence_oracle` checks it.
            Verb::Members(room) if self.history.features.has_presence(room) => {}
            Verb::Members(room) => self.check_members(room, wrong),
            Verb::Rooms => self.check_rooms(wrong),
            Verb::Users | Verb::Named => self.check_users(wrong),
            Verb::Info => self.check_info(wrong),
            Verb::Emit(emit) => self.check_emit(*emit, wrong),
            Verb::Call(emit, _) => self.check_call(*emit, wrong),
            Verb::Answers => self.check_answers(wrong),
            // `user_oracle` checks its effect.
            Verb::Revoke(_) => {}
            // `oracle` and `log_oracle` check it.
            Verb::Publish(_) => {}
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
        let recently = self.from.saturating_sub(DISCOVERY);
        let mut of_ours = history.faults_of(ours);
        if of_ours.any(|it| it.kind == Kind::Pause && it.overlaps(recently, self.to)) {
            // It has received many heartbeats at once.
            return true;
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
                matches!(fault.kind, Kind::Partition | Kind::Pause | Kind::Death)
                    && fault.overlaps(before, self.to)
            })
    }

    /// A response ends at its time limit, and long before it if every node responds.
    fn check_time(&self, wrong: &mut Vec<String>) {
        let took = self.to - self.from;
        let limit = match self.request.verb {
            // A stalled node sends a command to the store late, and receives its result late.
            Verb::Revoke(_) | Verb::Named => 3 * QUERY_TIME,
            Verb::Members(ref room) if self.history.features.has_presence(room) => 3 * QUERY_TIME,
            Verb::Call(_, time) => QUERY_TIME.min(time) + time + PROBE_TIME,
            _ => QUERY_TIME,
        };
        // What a paused process was about to do, it does afterwards.
        let paused = self.history.faults_of(self.request.node).any(|fault| {
            let begin = self.from.saturating_sub(SETTLING);
            fault.kind == Kind::Pause && fault.overlaps(begin, self.to)
        });
        if took > limit + SLACK && !paused {
            wrong.push(format!("took {took:?}"));
        }
        let long_ago = self.from.saturating_sub(FORGOTTEN);
        let mut faults = self.history.faults.iter();
        let disturbed = faults.any(|fault| fault.overlaps(long_ago, self.to))
            || self.nodes().any(|node| !self.is_healthy(node))
            || !self.servers_are_healthy();
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
            } else if self.is_healthy(*node) && self.is_healthy(ours) && !self.is_held_back(*node) {
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

    /// Whether the answer of `node` may have waited behind a logged event: the server of a bus delivers these in the order of
    /// their logs, so an event of a node that stalls delays those after it, and an event for a socket of the node of the
    /// request delays what `node` publishes on the channel of that node.
    fn is_held_back(&self, node: usize) -> bool {
        let history = self.history;
        let stalls = history.faults.iter().any(|fault| {
            let recently = self.from.saturating_sub(SETTLING);
            fault.kind == Kind::Stall && fault.overlaps(recently, self.to)
        });
        let delays = |appended: &Appended| {
            let sender = appended.emit.and_then(|emit| history.sender_node(emit));
            let owners = appended
                .rooms
                .iter()
                .filter_map(|room| history.by_sid(room));
            let mut owners = owners.map(|(_, connection)| connection.node);
            let recent = appended.at + SETTLING >= self.from && appended.at <= self.to;
            recent && sender == Some(node) && owners.any(|owner| owner == self.request.node)
        };
        stalls && history.appended.iter().any(delays)
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

    /// Whether a connection may have been selected at any time while the response was collected.
    fn may_be_in(&self, connection: &Connection, target: Target<'_>) -> bool {
        let overlaps = |begin: Duration, end: Option<Duration>| {
            begin <= self.to && end.is_none_or(|end| end.saturating_add(EFFECT) >= self.from)
        };
        let ended = connection
            .ended
            .map(|end| self.end_noticed(connection, end));
        overlaps(connection.began, ended)
            && match target {
                Target::Everybody => true,
                Target::User(user) => connection.user == user,
                Target::Room(room) => connection.stays.iter().any(|stay| {
                    // The requests before a leave may take long, and so does a leave whose node is paused.
                    let left = match stay.lost {
                        true => ended,
                        false => stay.left_acked.or(ended),
                    };
                    stay.room == room && overlaps(stay.requested, left)
                }),
            }
    }

    /// When the node of a connection notices its end: late if the client has abandoned it, and not while it is paused.
    fn end_noticed(&self, connection: &Connection, end: Duration) -> Duration {
        let mut noticed = match connection.abandoned {
            true => end + ABANDONED,
            false => end,
        };
        let pauses = self.history.faults_of(connection.node);
        for pause in pauses.filter(|fault| fault.kind == Kind::Pause) {
            if pause.overlaps(noticed, noticed.saturating_add(EFFECT)) {
                noticed = noticed.max(pause.end.unwrap_or(Duration::MAX));
            }
        }
        noticed
    }

    /// Whether a response can contain it: nothing of a missing node is in it.
    fn is_possible(&self, connection: &Connection, target: Target<'_>) -> bool {
        !self.missing.contains(&connection.node) && self.may_be_in(connection, target)
    }

    fn check_count(&self, what: &str, target: Target<'_>, found: &Value, wrong: &mut Vec<String>) {
        let (least, most) = self.bounds(target);
        let of_servers = self.of_servers(target);
        let (least, most) = (
            least + of_servers.0.len() as u64,
            most + of_servers.1.len() as u64,
        );
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
        for sid in self.of_servers(target).0 {
            if !distinct.contains(sid) {
                wrong.push(format!("{sid} of a server lacks"));
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
