//! The events that members of a room receive.

use serde_json::{Value, json};

use super::rules::parse_store_name;
use crate::model::{Command, Emit, Payload, Room, Selector, SocketId};

/// Data of a user, as it was set.
fn data_of(data: Option<&str>) -> Value {
    data.and_then(|data| serde_json::from_str(data).ok())
        .unwrap_or(Value::Null)
}

/// An event for the members of a room, except `except`; `room` is the name of the room in the store.
fn event(name: &str, room: &str, body: &Value, except: Option<SocketId>) -> Option<Command> {
    let (namespace, room) = parse_store_name(room)?;
    let mut to = Selector::room(namespace, room);
    if let Some(socket) = except {
        to = to.except(Room::from(socket.as_str()));
    }
    Some(Command::Emit(Emit {
        to,
        payload: Payload::event(name, [&*body.to_string()]),
        volatile: false,
        ack: None,
        conflate: None,
    }))
}

fn room_of(room: &str) -> String {
    parse_store_name(room).map_or_else(String::new, |(_, room)| room.to_string())
}

/// `presence:join` or `presence:update`.
pub(super) fn present(
    name: &str,
    room: &str,
    (user, data): (&str, Option<&str>),
    version: u64,
    except: Option<SocketId>,
) -> Option<Command> {
    let mut body = json!({"room": room_of(room), "user": user, "version": version});
    if data.is_some() {
        body["data"] = data_of(data);
    }
    event(name, room, &body, except)
}

/// `presence:leave`
pub(super) fn departed(room: &str, user: &str, version: u64) -> Option<Command> {
    let body = json!({"room": room_of(room), "user": user, "version": version});
    event("presence:leave", room, &body, None)
}

/// `presence:count`
pub(super) fn counted(room: &str, count: u64, version: u64) -> Option<Command> {
    let body = json!({"room": room_of(room), "count": count, "version": version});
    event("presence:count", room, &body, None)
}
