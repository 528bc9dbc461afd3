//! What a client receives.

use std::time::Duration;

use serde_json::Value;

use super::{Client, Loss, parse};
use crate::simulator::history::{
    Connection, ConnectionId, EmitId, History, NamedGap, Received, SessionStart, Stay, View,
};
use crate::simulator::mutation::Mutation;

impl Client {
    /// Receives a packet, unless a mutation does something else with it.
    pub(super) fn receive_mutated(&self, packet: &str) {
        let mutator = &self.run.mutator;
        let is_event = packet.starts_with("42") && packet.contains(r#"["event","#);
        let is_lost = is_event && mutator.strikes(Mutation::LoseEvent)
            || packet.starts_with("43") && mutator.strikes(Mutation::LoseAck)
            || packet.contains(r#"["presence:"#) && mutator.is(Mutation::LosePresence)
            || packet.contains(r#"["roomwire:gap","#) && mutator.is(Mutation::HideGap);
        if is_lost {
            return;
        }
        if is_event && mutator.strikes(Mutation::RepeatEvent) {
            self.receive(packet);
        }
        if is_event && mutator.strikes(Mutation::SwapEvents) {
            let before = self.held.replace(Some(packet.to_owned()));
            return before.iter().for_each(|packet| self.receive(packet));
        }
        if packet.contains(r#"["roomwire:session","#) && mutator.is(Mutation::DenyRecovery) {
            return self.receive(&packet.replace(r#""recovered":true"#, r#""recovered":false"#));
        }
        self.receive(packet);
        let held = self.held.borrow_mut().take_if(|_| is_event);
        held.iter().for_each(|packet| self.receive(packet));
    }

    pub(super) fn receive(&self, packet: &str) {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        if packet == "2" {
            self.send("3".to_owned());
        } else if packet == "41" {
            self.end_stays(|_| true);
            self.finish("disconnected");
            self.with(|connection| connection.is_final = true);
            self.send("1".to_owned());
        } else if let Some(data) = packet.strip_prefix("40") {
            let data = parse(data);
            let text = |name: &str| data[name].as_str().map(str::to_owned);
            let now = self.run.now();
            *self.pid.borrow_mut() = text("pid");
            self.with(|connection| {
                connection.sid = text("sid");
                connection.connected = Some(now);
            });
        } else if let Some(event) = packet.strip_prefix("42") {
            let (ack, event) = event.split_at(digits(event));
            self.receive_event(ack, &parse(event));
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (number, ack) = ack.split_at(digits(ack));
            self.receive_ack(number.parse().unwrap(), ack);
        }
    }

    fn receive_event(&self, ack: &str, event: &Value) {
        let arguments = event.as_array().unwrap();
        // The stock client keeps the last argument if it is a text; calls carry none.
        let position = arguments.last().and_then(Value::as_str);
        let position = position.filter(|_| self.recovers && ack.is_empty() && arguments.len() > 1);
        if let Some(position) = position {
            *self.offset.borrow_mut() = Some(position.to_owned());
        }
        match event[0].as_str().unwrap() {
            "event" => self.receive_emit(ack, event, position),
            "roomwire:session" => self.receive_session(&event[1]),
            "roomwire:gap" => self.receive_gap(&event[1]),
            name => {
                // Also a notice of the server, such as that its session is revoked.
                self.run.note(format_args!(
                    "c{} receives {name} {}",
                    self.connection,
                    without_version(&event[1])
                ));
                if name.starts_with("presence:") {
                    self.receive_presence(name, &event[1]);
                }
            }
        }
    }

    fn receive_emit(&self, ack: &str, event: &Value, position: Option<&str>) {
        let emit = event[1].as_u64().unwrap() as EmitId;
        let at = self.run.now();
        let n = position.and_then(|position| position.split_once('-')?.1.parse().ok());
        self.run.note(format_args!(
            "c{} receives e{emit} {}",
            self.connection,
            position.unwrap_or_default()
        ));
        self.with(|connection| connection.received.push(Received { emit, at, n }));
        if self.run.mutator.strikes(Mutation::LeakEvent) {
            let connections = &mut self.run.history.borrow_mut().connections;
            let other = (self.connection + 1) % connections.len();
            connections[other].received.push(Received { emit, at, n });
        }
        if !ack.is_empty() {
            self.send(format!("43{ack}[{}]", self.connection));
        }
        if let Some(left) = self.loses_after.get() {
            self.loses_after.set(left.checked_sub(1));
            if left == 0 && self.is_open() {
                self.lose(Loss::Silent);
            }
        }
    }

    fn receive_session(&self, body: &Value) {
        let at = self.run.now();
        let reason = body["gap"]["reason"].as_str().map(str::to_owned);
        let recovered = body["recovered"] == true;
        self.run
            .note(format_args!("c{} has the session {body}", self.connection));
        let mut history = self.run.history.borrow_mut();
        history.connections[self.connection].session = Some(SessionStart {
            at,
            recovered,
            reason,
        });
        if recovered {
            continue_stays(&mut history, self.connection);
        }
    }

    fn receive_gap(&self, body: &Value) {
        self.run
            .note(format_args!("c{} has the gap {body}", self.connection));
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let gap = NamedGap {
            at: self.run.now(),
            room: text("room"),
            between: text("after").zip(text("before")),
        };
        self.with(|connection| connection.gaps.push(gap));
    }

    fn receive_presence(&self, name: &str, body: &Value) {
        let (room, user) = (body["room"].as_str().unwrap(), body["user"].as_str());
        let version = body["version"].as_u64().unwrap();
        let present = name != "presence:leave";
        self.with(|connection| {
            let Some(view) = connection.views.get_mut(room) else {
                return;
            };
            let known = view.users.entry(user.unwrap().to_owned()).or_default();
            if version > known.0 {
                *known = (version, present);
            }
        });
    }

    fn receive_ack(&self, number: u64, ack: &str) {
        let now = self.run.now();
        let json = parse(ack);
        self.run.note(format_args!(
            "c{} ack {number}: {}",
            self.connection,
            without_version(&json[0])
        ));
        let listed = self.with(|connection| {
            let request = connection.requests.get_mut(&number).unwrap();
            assert!(request.response.is_none(), "a second ack: {ack}");
            request.response = Some((now, ack.to_owned()));
            let room = json[0]["room"].as_str()?;
            let leaves = request.leaves;
            note_room(connection, room, &json[0], (leaves, now));
            let is_join = json[0].get("transport").is_some() && json[0]["ok"] == true;
            is_join.then(|| room.to_owned())
        });
        let features = self.run.history.borrow().features;
        if let Some(room) = listed.filter(|room| features.has_presence(room)) {
            self.with(|connection| connection.views.insert(room.clone(), View::default()));
            self.list_members(&room);
        }
    }
}

/// Notes the response to a request that names a room.
fn note_room(
    connection: &mut Connection,
    room: &str,
    ack: &Value,
    (leaves, now): (bool, Duration),
) {
    if ack["ok"] != true {
        return;
    }
    let mut stays = connection.stays.iter_mut().rev();
    if ack.get("transport").is_some() {
        let open = |stay: &&mut Stay| stay.room == room && stay.left.is_none();
        if let Some(stay) = stays.find(open) {
            if ack["degraded"] != true {
                stay.joined.get_or_insert(now);
            }
            if stay.since.is_some() {
                stay.replay = Some(ack.clone());
            }
        }
    } else if let Some(users) = ack["users"].as_array() {
        let version = ack["version"].as_u64().unwrap_or(0);
        if let Some(view) = connection.views.get_mut(room) {
            view.listed = Some(now);
            for user in users {
                let user = user["user"].as_str().unwrap().to_owned();
                view.users.entry(user).or_default();
            }
            for (user, known) in &mut view.users {
                if version > known.0 {
                    *known = (version, users.iter().any(|it| it["user"] == **user));
                }
            }
        }
    } else if leaves {
        // Responses arrive in the order of the requests.
        let mut stays = connection.stays.iter_mut();
        let awaits = |stay: &&mut Stay| {
            stay.room == room && stay.left.is_some() && stay.left_acked.is_none()
        };
        if let Some(stay) = stays.find(awaits) {
            stay.left_acked = Some(now);
        }
    }
}

/// A session that continues is in the rooms in which it was. Of those that it requested to leave or to join without a
/// response, it may be in either.
fn continue_stays(history: &mut History, number: ConnectionId) {
    let former = history.connections[number].resumes.unwrap();
    let former = &history.connections[former];
    let is_saved = |left: &Duration| !history.is_unsaved(former.node, *left);
    let open = |stay: &&Stay| {
        stay.lost || stay.left.is_some() && !stay.left_acked.is_some_and(|left| is_saved(&left))
    };
    let views = former.views.clone();
    let failovers = history.failovers.clone();
    let is_rolled_back = |stay: &Stay| {
        let past = History {
            failovers: failovers.clone(),
            ..History::default()
        };
        past.is_rolled_back(stay)
    };
    let stays: Vec<Stay> = former.stays.iter().filter(open).cloned().collect();
    let connection = &mut history.connections[number];
    let (began, now) = (connection.began, connection.session.as_ref().unwrap().at);
    connection.views = views;
    connection.stays = stays
        .into_iter()
        .map(|stay| Stay {
            requested: began,
            joined: (stay.lost && stay.joined.is_some() && !is_rolled_back(&stay)).then_some(now),
            left: None,
            left_acked: None,
            lost: false,
            since: None,
            replay: None,
            ..stay
        })
        .collect();
}

/// The same without versions, which are times of the system's clock.
fn without_version(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("version");
    }
    body
}
