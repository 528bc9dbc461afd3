//! A server in Node with `createAdapter` of `@socket.io/redis-adapter`.

use std::collections::BTreeSet;

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link};
use serde_json::{Value, json};

use super::record::{ANNEX, ForeignSocket, Party, RequestKind};
use super::wire::{pack, unpack};
use super::{Server, texts};
use crate::simulator::history::{EVERYBODY, EmitId};

const EMITS: &str = "socket.io#/#";
const REQUESTS: &str = "socket.io-request#/#";
const RESPONSES: &str = "socket.io-response#/#";

/// The types of requests and responses.
mod kind {
    pub const IDS: u64 = 0;
    pub const ROOMS: u64 = 1;
    pub const JOIN: u64 = 2;
    pub const LEAVE: u64 = 3;
    pub const DISCONNECT: u64 = 4;
    pub const FETCH: u64 = 5;
    pub const SERVER_EVENT: u64 = 6;
    pub const EMIT: u64 = 7;
    pub const COUNT: u64 = 8;
    pub const ACK: u64 = 9;
}

impl Server {
    pub(super) fn subscribe_as_node(&self) {
        self.link
            .subscribe_patterns(vec![Channel::from("socket.io#/#*")]);
        let own = format!("{RESPONSES}{}#", self.uid);
        let channels = [REQUESTS, RESPONSES, &own].map(Channel::from);
        self.link.subscribe(channels.into());
    }

    fn packet(arguments: &Value) -> Value {
        let mut data = vec![json!("event")];
        data.extend(arguments.as_array().unwrap().iter().cloned());
        json!({"type": 2, "data": data, "nsp": "/"})
    }

    pub(super) fn broadcast(&self, id: EmitId) {
        let (rooms, except, arguments) = self.parts(id);
        let packet = Self::packet(&arguments);
        let options = json!({"rooms": rooms, "except": except, "flags": {}});
        let channel = match rooms.as_slice() {
            [room] => format!("{EMITS}{room}#"),
            _ => EMITS.to_owned(),
        };
        self.publish(&channel, pack(&json!([self.uid, packet, options])));
        self.deliver_packet(&packet, &options).unwrap();
    }

    pub(super) fn broadcast_with_ack(&self, id: EmitId, timeout: Option<u64>) {
        let (rooms, except, arguments) = self.parts(id);
        let packet = Self::packet(&arguments);
        let mut flags = json!({"expectSingleResponse": false});
        if let Some(timeout) = timeout {
            flags["timeout"] = json!(timeout);
        }
        let options = json!({"rooms": rooms, "except": except, "flags": flags});
        let request = self.new_request(RequestKind::Emit(id));
        let message = json!({
            "uid": self.uid,
            "requestId": request,
            "type": kind::EMIT,
            "packet": packet,
            "opts": options,
        });
        self.publish(REQUESTS, pack(&message));
        self.deliver_packet(&packet, &options).unwrap();
    }

    pub(super) fn fetch(&self, room: &str) {
        let rooms: &[&str] = match room {
            EVERYBODY => &[],
            _ => &[room],
        };
        let request = self.new_request(RequestKind::Fetch(room.to_owned()));
        let life = self.life;
        self.run
            .note(format_args!("f{life} {request}: fetches {room}"));
        self.publish_request(&json!({
            "uid": self.uid,
            "requestId": request,
            "type": kind::FETCH,
            "opts": {"rooms": rooms, "except": []},
        }));
    }

    pub(super) fn emit_to_servers(&self) {
        let request = self.new_request(RequestKind::ServerEvent);
        let life = self.life;
        self.run
            .note(format_args!("f{life} {request}: emits to servers"));
        self.publish_request(&json!({
            "uid": self.uid,
            "type": kind::SERVER_EVENT,
            "requestId": request,
            "data": ["ping", life],
        }));
    }

    pub(super) fn request_move(&self, sid: &str, joins: bool) {
        self.moved(|socket| socket.sid == sid, joins);
        self.publish_request(&json!({
            "uid": self.uid,
            "type": if joins { kind::JOIN } else { kind::LEAVE },
            "opts": {"rooms": [sid], "except": []},
            "rooms": [ANNEX],
        }));
    }

    pub(super) fn request_disconnect(&self, sid: &str) {
        self.publish_request(&json!({
            "uid": self.uid,
            "type": kind::DISCONNECT,
            "opts": {"rooms": [sid], "except": []},
            "close": false,
        }));
    }

    fn publish_request(&self, request: &Value) {
        self.publish(REQUESTS, request.to_string());
    }

    /// The id of a new request, to which each other subscriber of the channel of requests responds.
    fn new_request(&self, kind: RequestKind) -> String {
        let number = self.requests.borrow().len();
        let id = format!("{}{number:03}", &self.uid[..3]);
        let subscribers = self.hub.subscribers(&Channel::from(REQUESTS)).into_iter();
        let parties = self.parties.borrow();
        let parties = subscribers.map(|member| parties[&member]);
        let others = parties.filter(|party| *party != Party::Foreign(self.life));
        self.begin_request(id.clone(), kind, others.collect());
        id
    }

    pub(super) fn receive_as_node(&self, channel: &str, message: &Bytes) -> Option<()> {
        if channel == REQUESTS {
            return match message.first()? {
                b'{' => self.receive_request(&serde_json::from_slice(message).ok()?),
                _ => self.receive_request(&unpack(message)?),
            };
        }
        if channel.starts_with(RESPONSES) {
            return match message.first()? {
                b'{' => self.receive_response(&serde_json::from_slice(message).ok()?),
                _ => self.receive_response(&unpack(message)?),
            };
        }
        let message = unpack(message)?;
        let [uid, packet, options] = message.as_array()?.as_slice() else {
            return None;
        };
        let uid = uid.as_str()?;
        if uid == self.uid {
            return Some(());
        }
        let data = packet["data"].as_array()?;
        if uid.starts_with("roomwire:") && self.is_of_server(data) {
            self.note_translation(uid)?;
        }
        self.deliver_packet(packet, options).map(|_| ())
    }

    /// Gives a packet to the selected clients; returns their ids.
    fn deliver_packet(&self, packet: &Value, options: &Value) -> Option<Vec<String>> {
        if packet["type"] != 2 || packet["nsp"] != "/" {
            return None;
        }
        let (rooms, except) = (texts(&options["rooms"])?, texts(&options["except"])?);
        self.deliver(packet["data"].as_array()?, &rooms, &except)
    }

    fn receive_request(&self, request: &Value) -> Option<()> {
        let uid = request["uid"].as_str()?;
        if uid == self.uid {
            return Some(());
        }
        let id = request["requestId"].as_str();
        match request["type"].as_u64()? {
            joins @ (kind::JOIN | kind::LEAVE) => {
                let rooms = texts(&request["opts"]["rooms"])?;
                let except = texts(&request["opts"]["except"])?;
                if texts(&request["rooms"])?.contains(ANNEX) {
                    let is_selected = |socket: &ForeignSocket| socket.is_selected(&rooms, &except);
                    self.moved(is_selected, joins == kind::JOIN);
                }
            }
            kind::DISCONNECT => {
                texts(&request["opts"]["rooms"])?;
                request["close"].as_bool()?;
            }
            kind @ (kind::IDS | kind::ROOMS | kind::FETCH) => {
                self.respond_to_query(kind, id?, request)?;
            }
            kind::SERVER_EVENT => {
                request["data"].as_array()?;
                if let Some(id) = id {
                    let answer = json!(format!("f{}", self.life));
                    let response =
                        json!({"type": kind::SERVER_EVENT, "requestId": id, "data": answer});
                    self.publish(RESPONSES, response.to_string());
                }
            }
            kind::EMIT => {
                let (id, packet) = (id?, &request["packet"]);
                if uid.starts_with("roomwire:") && self.is_of_server(packet["data"].as_array()?) {
                    self.note_translation(uid)?;
                }
                let sids = self.deliver_packet(packet, &request["opts"])?;
                let count =
                    json!({"type": kind::COUNT, "requestId": id, "clientCount": sids.len()});
                self.publish(RESPONSES, count.to_string());
                for sid in sids {
                    let ack = json!({"type": kind::ACK, "requestId": id, "packet": sid});
                    self.publish(RESPONSES, pack(&ack));
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Responds to a request for ids of sockets, rooms or sockets.
    fn respond_to_query(&self, kind: u64, id: &str, request: &Value) -> Option<()> {
        let response = match kind {
            kind::IDS => {
                let sockets = self.described(&texts(&request["rooms"])?);
                let ids: Vec<&Value> = sockets.iter().map(|socket| &socket["id"]).collect();
                json!({"requestId": id, "sockets": ids})
            }
            kind::ROOMS => {
                let sockets = self.described(&BTreeSet::new());
                let rooms = sockets.iter().filter_map(|socket| texts(&socket["rooms"]));
                let rooms: BTreeSet<String> = rooms.flatten().collect();
                json!({"requestId": id, "rooms": rooms})
            }
            _ => {
                let sockets = self.described(&texts(&request["opts"]["rooms"])?);
                json!({"requestId": id, "sockets": sockets})
            }
        };
        self.publish(RESPONSES, response.to_string());
        Some(())
    }

    fn described(&self, rooms: &BTreeSet<String>) -> Vec<Value> {
        let history = self.run.history.borrow();
        let sockets = history.foreign.lives[self.life].sockets.iter();
        let selected = sockets.filter(|socket| socket.is_selected(rooms, &Default::default()));
        let described = selected.map(|socket| {
            let mut rooms = vec![socket.sid.clone()];
            rooms.extend(socket.rooms.iter().cloned());
            rooms.extend(socket.is_in_annex.then(|| ANNEX.to_owned()));
            json!({"id": socket.sid, "handshake": {}, "rooms": rooms, "data": {}})
        });
        described.collect()
    }

    /// Servers receive the responses to all others.
    fn receive_response(&self, response: &Value) -> Option<()> {
        let id = response["requestId"].as_str()?;
        if !self.requests.borrow().contains_key(id) {
            return Some(());
        }
        match response["type"].as_u64() {
            Some(kind::COUNT) => {
                let count = response["clientCount"].as_u64()?;
                self.respond(id, |request| request.counts.push(count));
            }
            Some(kind::ACK) => {
                let ack = match response.get("packet")? {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.respond(id, |request| request.acks.push(ack));
            }
            Some(kind::SERVER_EVENT) => {
                let answer = response.get("data")?.to_string();
                self.respond(id, |request| request.answers.push(answer));
            }
            None => {
                let sockets = response["sockets"].as_array()?.iter();
                let sockets: Option<Vec<_>> = sockets.map(described_socket).collect();
                let sockets = sockets?;
                self.respond(id, |request| request.fetched.push(sockets));
            }
            _ => return None,
        }
        Some(())
    }
}

/// The id and rooms of a socket in a response. A stock server reads all of these fields.
fn described_socket(socket: &Value) -> Option<(String, Vec<String>)> {
    let handshake = socket["handshake"].as_object()?;
    let is_of_stock = handshake.is_empty();
    let fields = ["headers", "query", "auth"];
    if !is_of_stock
        && !fields
            .iter()
            .all(|field| handshake.get(*field).is_some_and(Value::is_object))
    {
        return None;
    }
    socket.get("data")?;
    let rooms = texts(&socket["rooms"])?;
    Some((
        socket["id"].as_str()?.to_owned(),
        rooms.into_iter().collect(),
    ))
}
