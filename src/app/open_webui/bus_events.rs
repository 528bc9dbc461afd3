//! Commands of the backends on the bus that affect what this node caches about its sockets.
//!
//! A user was added to a channel: stock backends join only the sockets of the process that served the request
//! (docs/open-webui.md), so each socket of the user looks up its channels here. The access to a chat changed, or a
//! socket was removed from a chat: what was cached about it is dropped.

use crate::model::{Command, Emit, Payload, SocketId};

/// Maximum size in bytes of an event that is inspected. The relevant ones have a few hundred.
const MAX_SIZE: usize = 1024;

/// A relevant command of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BusEvent {
    /// The user was added to a new channel.
    ChannelCreated { user: String },
    /// The permissions of the socket in a chat changed.
    ChatAccess { socket: SocketId },
    /// A backend removed the socket from the chat.
    RemovedFromChat { socket: SocketId, chat: String },
}

impl BusEvent {
    /// Recognizes a relevant command of another process. Cheap, since each command on the bus is passed here.
    pub(super) fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Emit(Emit { to, payload, .. }) => {
                let [room] = to.rooms.as_slice() else {
                    return None;
                };
                if payload.size() > MAX_SIZE {
                    return None;
                }
                if let Some(user) = room.strip_prefix("user:") {
                    let is_relevant = is_event(payload, "events:channel", r#""channel:created""#);
                    let user = user.to_owned();
                    return is_relevant.then_some(Self::ChannelCreated { user });
                }
                let socket = SocketId::parse(room)?;
                is_event(payload, "events", r#""chat:access""#)
                    .then_some(Self::ChatAccess { socket })
            }
            Command::Leave { selector, rooms } => {
                let socket = selector.single_socket()?;
                let chat = rooms.first()?.strip_prefix("chat:")?.to_owned();
                Some(Self::RemovedFromChat { socket, chat })
            }
            _ => None,
        }
    }
}

/// Whether this is the event `name` and contains the JSON string `kind`. Its arguments are not parsed.
fn is_event(payload: &Payload, name: &str, kind: &str) -> bool {
    payload.event_name().as_deref() == Some(name) && payload.json().contains(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, Room, Selector};

    #[test]
    fn only_relevant_commands_are_recognized() {
        let node = NodeId::random(&OsRandom);
        let socket = SocketId::random(node, Default::default(), &OsRandom);
        let to = |room: &str| Selector::room(Namespace::main(), Room::from(room));
        let emit = |room: &str, json: &str| {
            Command::Emit(Emit {
                to: to(room),
                payload: Payload::text(json.to_owned()),
                volatile: false,
                ack: None,
                conflate: None,
            })
        };
        let created = r#"["events:channel",{"data":{"type":"channel:created"}}]"#;
        let access = r#"["events",{"chat_id":"c","data":{"type":"chat:access","data":{}}}]"#;
        let user = BusEvent::ChannelCreated { user: "u".into() };
        let cases = [
            (emit("user:u", created), Some(user)),
            (emit("channel:u", created), None),
            (
                emit("user:u", r#"["events",{"x":"channel:created"}]"#),
                None,
            ),
            (
                emit(socket.as_str(), access),
                Some(BusEvent::ChatAccess { socket }),
            ),
            (emit("chat:c", access), None),
            (
                Command::Leave {
                    selector: to(socket.as_str()),
                    rooms: vec![Room::from("chat:c")],
                },
                Some(BusEvent::RemovedFromChat {
                    socket,
                    chat: "c".into(),
                }),
            ),
        ];
        for (command, expected) in cases {
            assert_eq!(BusEvent::of(&command), expected, "{command:?}");
        }
    }
}
