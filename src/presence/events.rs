//! The events that members of a room receive.

use serde_json::{Value, json};

use super::rules::{PresenceEvents, parse_store_name};
use crate::model::{Command, Emit, Payload, Room, Selector, SocketId};
use crate::store::{PresenceDeparture, PresenceEvent, PresenceOutcome};

/// Data of a user, as it was set.
fn data_of(data: Option<&str>) -> Value {
    data.and_then(|data| serde_json::from_str(data).ok())
        .unwrap_or(Value::Null)
}

/// An event for the members of a room, except `except`; `room` is the name of the room in the store.
fn event(payload: Payload, room: &str, except: Option<SocketId>) -> Option<Command> {
    let (namespace, room) = parse_store_name(room)?;
    let mut to = Selector::room(namespace, room);
    if let Some(socket) = except {
        to = to.except(Room::from(socket.as_str()));
    }
    Some(Command::Emit(Emit {
        to,
        payload,
        volatile: false,
        ack: None,
        conflate: None,
    }))
}

fn room_of(room: &str) -> String {
    parse_store_name(room).map_or_else(String::new, |(_, room)| room.to_string())
}

/// The event about a user who has come or has other data; `socket` is the one that caused it. `None` if members receive
/// none.
pub(super) fn present(
    events: PresenceEvents,
    room: &str,
    user: &str,
    outcome: &PresenceOutcome,
    socket: Option<SocketId>,
) -> Option<Command> {
    let data = outcome.data.as_deref();
    let (name, except) = match (events, outcome.event?) {
        (PresenceEvents::Native, PresenceEvent::Joined) => ("presence:join", socket),
        (PresenceEvents::Native, PresenceEvent::Updated) => ("presence:update", None),
        (PresenceEvents::Echo, PresenceEvent::Joined) => {
            return event(
                echo_event("presence:joining", room, user, data),
                room,
                socket,
            );
        }
        (PresenceEvents::Echo, PresenceEvent::Updated) => return None,
    };
    let mut body = json!({"room": room_of(room), "user": user, "version": outcome.version});
    if data.is_some() {
        body["data"] = data_of(data);
    }
    event(Payload::event(name, [&*body.to_string()]), room, except)
}

/// `presence:leave` or `presence:leaving`
pub(super) fn departed(events: PresenceEvents, departure: &PresenceDeparture) -> Option<Command> {
    let PresenceDeparture {
        room,
        user,
        version,
        data,
        ..
    } = departure;
    let payload = match events {
        PresenceEvents::Native => {
            let body = json!({"room": room_of(room), "user": user, "version": version});
            Payload::event("presence:leave", [&*body.to_string()])
        }
        PresenceEvents::Echo => echo_event("presence:leaving", room, user, data.as_deref()),
    };
    event(payload, room, None)
}

/// `presence:count`
pub(super) fn counted(room: &str, count: u64, version: u64) -> Option<Command> {
    let body = json!({"room": room_of(room), "count": count, "version": version});
    let payload = Payload::event("presence:count", [&*body.to_string()]);
    event(payload, room, None)
}

/// An event as Laravel Echo receives it: the channel, then the member.
fn echo_event(name: &str, room: &str, user: &str, data: Option<&str>) -> Payload {
    let channel = Value::from(room_of(room)).to_string();
    Payload::event(name, [&*channel, &*echo_member(user, data)])
}

/// A member of a presence channel of Laravel Echo: the data of the user as its backend encoded it.
pub fn echo_member(user: &str, data: Option<&str>) -> String {
    match data {
        Some(data) => data.to_owned(),
        // The store has lost it.
        None => json!({"user_id": user, "user_info": {}}).to_string(),
    }
}
