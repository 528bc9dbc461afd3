//! Encodes broadcasts, requests and responses with the bytes of the stock adapter.

use rmp::encode::{write_array_len, write_bool, write_map_len, write_uint};
use serde_json::{Value, json};

use super::request::kind;
use crate::cluster::dialect::node::socket_details;
use crate::model::{Command, Emit, Payload, Room, Selector, SocketDetails};
use crate::msgpack::{string, write_value, written};

/// Bytes of a broadcast besides names and payload.
const OVERHEAD: usize = 128;

/// The rooms of a selector, each once: servers hold them in a set.
pub(super) fn unique(rooms: &[Room]) -> Vec<&Room> {
    let mut unique: Vec<&Room> = Vec::with_capacity(rooms.len());
    for room in rooms {
        if !unique.contains(&room) {
            unique.push(room);
        }
    }
    unique
}

/// A broadcast: the id of the sender, the packet and its options.
pub(super) fn broadcast(uid: &str, emit: &Emit) -> Vec<u8> {
    let mut out = Vec::with_capacity(emit.payload.size() + OVERHEAD);
    written(write_array_len(&mut out, 3));
    string(uid, &mut out);
    packet(emit, &mut out);
    options(emit, &mut out);
    out
}

/// An emit that requests acks of clients.
pub(super) fn emit_request(uid: &str, request: &str, emit: &Emit) -> Vec<u8> {
    let mut out = Vec::with_capacity(emit.payload.size() + OVERHEAD);
    written(write_map_len(&mut out, 5));
    string("uid", &mut out);
    string(uid, &mut out);
    string("requestId", &mut out);
    string(request, &mut out);
    string("type", &mut out);
    written(write_uint(&mut out, kind::EMIT));
    string("packet", &mut out);
    packet(emit, &mut out);
    string("opts", &mut out);
    options(emit, &mut out);
    out
}

fn packet(emit: &Emit, out: &mut Vec<u8>) {
    let payload = &emit.payload;
    written(write_map_len(out, 3));
    string("type", out);
    written(write_uint(out, 2));
    string("data", out);
    write_value(payload.json(), payload.attachments(), out);
    string("nsp", out);
    string(&emit.to.namespace, out);
}

fn options(emit: &Emit, out: &mut Vec<u8>) {
    written(write_map_len(out, 3));
    for (name, rooms) in [("rooms", &emit.to.rooms), ("except", &emit.to.except)] {
        string(name, out);
        let rooms = unique(rooms);
        written(write_array_len(out, rooms.len() as u32));
        rooms.iter().for_each(|room| string(room, out));
    }
    string("flags", out);
    written(write_map_len(out, u32::from(emit.volatile)));
    if emit.volatile {
        string("volatile", out);
        written(write_bool(out, true));
    }
}

/// A change of rooms, or a disconnect; `None` for an emit.
pub(super) fn change(uid: &str, command: &Command) -> Option<String> {
    let request = |kind: u64, selector: &Selector, more: &str| {
        let uid = Value::from(uid);
        let (rooms, except) = (names(&selector.rooms), names(&selector.except));
        format!(
            r#"{{"uid":{uid},"type":{kind},"opts":{{"rooms":{rooms},"except":{except}}},{more}}}"#
        )
    };
    let into = |rooms: &[Room]| format!(r#""rooms":{}"#, names(rooms));
    Some(match command {
        Command::Emit(_) => return None,
        Command::Join { selector, rooms } => request(kind::JOIN, selector, &into(rooms)),
        Command::Leave { selector, rooms } => request(kind::LEAVE, selector, &into(rooms)),
        Command::CloseRoom { namespace, room } => {
            let members = Selector::room(namespace.clone(), room.clone());
            request(kind::LEAVE, &members, &into(std::slice::from_ref(room)))
        }
        Command::Disconnect { selector, close } => {
            request(kind::DISCONNECT, selector, &format!(r#""close":{close}"#))
        }
    })
}

/// A request for the ids of all sockets of these rooms; the selector has no exceptions.
pub(super) fn ids_request(uid: &str, request: &str, selector: &Selector) -> String {
    let (uid, request) = (Value::from(uid), Value::from(request));
    let (kind, rooms) = (kind::SOCKETS, names(&selector.rooms));
    format!(r#"{{"uid":{uid},"requestId":{request},"type":{kind},"rooms":{rooms}}}"#)
}

/// A request for sockets with all details.
pub(super) fn fetch_request(uid: &str, request: &str, selector: &Selector) -> String {
    let (uid, request) = (Value::from(uid), Value::from(request));
    let (rooms, except) = (names(&selector.rooms), names(&selector.except));
    let kind = kind::FETCH;
    format!(
        r#"{{"uid":{uid},"requestId":{request},"type":{kind},"opts":{{"rooms":{rooms},"except":{except}}}}}"#
    )
}

/// How many sockets received an emit.
pub(super) fn count(request: &str, sockets: u64) -> String {
    let (kind, request) = (kind::COUNT, Value::from(request));
    format!(r#"{{"type":{kind},"requestId":{request},"clientCount":{sockets}}}"#)
}

/// The ack of a client: its first argument.
pub(super) fn ack(request: &str, ack: &Payload) -> Vec<u8> {
    let argument = ack.elements().next();
    let mut out = Vec::with_capacity(ack.size() + OVERHEAD);
    written(write_map_len(&mut out, 2 + u32::from(argument.is_some())));
    string("type", &mut out);
    written(write_uint(&mut out, kind::ACK));
    string("requestId", &mut out);
    string(request, &mut out);
    if let Some(argument) = argument {
        string("packet", &mut out);
        write_value(argument, ack.attachments(), &mut out);
    }
    out
}

/// The ids of sockets.
pub(super) fn ids<'a>(request: &str, sockets: impl Iterator<Item = &'a str>) -> String {
    let sockets: Vec<&str> = sockets.collect();
    let (request, sockets) = (Value::from(request), json!(sockets));
    format!(r#"{{"requestId":{request},"sockets":{sockets}}}"#)
}

/// The rooms that sockets are in, including the room of each socket itself.
pub(super) fn rooms(request: &str, sockets: &[SocketDetails]) -> String {
    let mut rooms: Vec<&str> = sockets
        .iter()
        .flat_map(|details| details.rooms.iter().map(Room::as_str))
        .chain(sockets.iter().map(|details| details.socket.as_str()))
        .collect();
    rooms.sort_unstable();
    rooms.dedup();
    let (request, rooms) = (Value::from(request), json!(rooms));
    format!(r#"{{"requestId":{request},"rooms":{rooms}}}"#)
}

/// Sockets with all details, and these headers of their handshakes.
pub(super) fn sockets(request: &str, sockets: &[SocketDetails], headers: &[String]) -> String {
    let (request, sockets) = (Value::from(request), socket_details::list(sockets, headers));
    format!(r#"{{"requestId":{request},"sockets":{sockets}}}"#)
}

/// The answer to an event for servers, a JSON value.
pub(super) fn server_event_answer(request: &str, answer: &str) -> String {
    let (kind, request) = (kind::SERVER_EVENT, Value::from(request));
    format!(r#"{{"type":{kind},"requestId":{request},"data":{answer}}}"#)
}

/// A change of one socket was made.
pub(super) fn done(request: &str) -> String {
    format!(r#"{{"requestId":{}}}"#, Value::from(request))
}

fn names(rooms: &[Room]) -> Value {
    json!(
        unique(rooms)
            .into_iter()
            .map(Room::as_str)
            .collect::<Vec<_>>()
    )
}
