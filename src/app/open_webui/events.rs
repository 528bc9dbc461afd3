//! Rooms and events in the format of the stock backends.

use serde_json::{Value, json};

use super::requests::ChannelTyping;
use super::user::User;
use crate::model::{Command, Emit, Namespace, Payload, Room, Selector, SocketId};

/// The room of all sockets of a user.
pub(super) fn user_room(user: &str) -> Room {
    Room::from(format!("user:{user}"))
}

/// The room of a channel.
pub(super) fn channel_room(channel: &str) -> Room {
    Room::from(format!("channel:{channel}"))
}

/// The room of all sockets that have the chat open.
pub(super) fn chat_room(chat: &str) -> Room {
    Room::from(format!("chat:{chat}"))
}

/// The room of all sockets that have the note open.
pub(super) fn note_room(note: &str) -> Room {
    Room::from(format!("note:{note}"))
}

/// Selects a single socket.
pub(super) fn single_socket(socket: SocketId) -> Selector {
    Selector::room(Namespace::main(), Room::from(socket.as_str()))
}

/// A user types in a channel. Delivered to the sender too.
pub(super) fn channel_typing(channel: &str, user: &User, typing: &ChannelTyping) -> Command {
    let sender = json!({"id": user.id, "name": user.name, "role": user.role});
    let event = format!(
        r#"{{"channel_id":{},"message_id":{},"data":{},"user":{sender}}}"#,
        Value::from(channel),
        typing.message,
        typing.data,
    );
    emit("events:channel", channel_room(channel), None, &event)
}

/// A user types in a chat. Not delivered to the sender.
pub(super) fn chat_typing(chat: &str, user: &User, typing: bool, sender: SocketId) -> Command {
    let event = json!({
        "chat_id": chat,
        "user_id": user.id,
        "user": {"id": user.id, "name": user.name},
        "shared": true,
        "data": {"type": "typing", "data": {"typing": typing}},
    });
    emit("events", chat_room(chat), Some(sender), &event.to_string())
}

/// The users present in a chat.
pub(super) fn chat_presence(chat: &str, users: &Value) -> Command {
    let event = json!({
        "chat_id": chat,
        "shared": true,
        "data": {"type": "chat:presence", "data": {"users": users}},
    });
    emit("events", chat_room(chat), None, &event.to_string())
}

fn emit(name: &str, room: Room, except: Option<SocketId>, event: &str) -> Command {
    let mut to = Selector::room(Namespace::main(), room);
    if let Some(socket) = except {
        to = to.except(Room::from(socket.as_str()));
    }
    Command::Emit(Emit {
        to,
        payload: Payload::event(name, [event]),
        volatile: false,
        ack: None,
        conflate: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn json(command: &Command) -> &str {
        match command {
            Command::Emit(emit) => emit.payload.json(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_have_the_format_of_stock_backends() {
        let user = User {
            id: "u".into(),
            name: "Bob \"B\"".into(),
            role: "user".into(),
            channels: true,
            notes: true,
            snapshot: "{".into(),
        };
        let typing = ChannelTyping {
            message: "null".into(),
            data: r#"{"type":"typing","data":{"typing":true}}"#.into(),
        };
        let command = channel_typing("c", &user, &typing);
        assert_eq!(
            json(&command),
            r#"["events:channel",{"channel_id":"c","message_id":null,"data":{"type":"typing","data":{"typing":true}},"user":{"id":"u","name":"Bob \"B\"","role":"user"}}]"#
        );
        let node = NodeId::random(&OsRandom);
        let socket = SocketId::random(node, Default::default(), &OsRandom);
        let command = chat_typing("c", &user, true, socket);
        let Command::Emit(Emit { to, .. }) = &command else {
            panic!("an emit");
        };
        assert_eq!(to.rooms[0].as_str(), "chat:c");
        assert_eq!(to.except[0].as_str(), socket.as_str());
        let event: Value = serde_json::from_str(json(&command)).unwrap();
        let expected = json!({"type": "typing", "data": {"typing": true}});
        assert_eq!(event[1]["data"], expected);
        let command = chat_presence("c", &json!([{"id": "u", "name": "N"}]));
        assert!(json(&command).contains(r#""users":[{"id":"u","name":"N"}]"#));
    }
}
