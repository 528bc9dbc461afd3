//! Responses to requests that read: sockets, members, rooms, users and nodes.

use super::*;
use crate::simulator::foreign::record::ANNEX;

impl Collected<'_> {
    pub(super) fn check_sockets(&self, target: Option<Target<'_>>, wrong: &mut Vec<String>) {
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
    pub(super) fn check_one(&self, number: usize, sids: &[&str], wrong: &mut Vec<String>) {
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

    pub(super) fn check_entry(
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
            if is_in && !self.may_be_in(connection, target)
                || !is_in && connection.was_in(target, from, to)
            {
                wrong.push(format!("c{number} has the rooms {rooms:?}"));
            }
        }
    }

    pub(super) fn check_members(&self, room: &str, wrong: &mut Vec<String>) {
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

    pub(super) fn check_rooms(&self, wrong: &mut Vec<String>) {
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
        let known: BTreeSet<&str> = known.chain([ANNEX]).collect();
        for room in counts.keys().filter(|room| !known.contains(*room)) {
            wrong.push(format!("the room {room}"));
        }
    }

    pub(super) fn check_users(&self, wrong: &mut Vec<String>) {
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

    pub(super) fn check_info(&self, wrong: &mut Vec<String>) {
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
            let most = own.filter(|connection| self.may_be_in(connection, Target::Everybody));
            let (least, most) = (least.count() as u64, most.count() as u64);
            let found = entry["sockets"].as_u64().unwrap_or(u64::MAX);
            if !(least..=most).contains(&found) {
                wrong.push(format!("{entry} has not {least} to {most} sockets"));
            }
        }
    }

    /// Checks that the nodes of the response and those that are missing are all that were alive and connected.
    pub(super) fn check_coverage(&self, names: &[&str], wrong: &mut Vec<String>) {
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
    pub(super) fn check_answers(&self, wrong: &mut Vec<String>) {
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
}
