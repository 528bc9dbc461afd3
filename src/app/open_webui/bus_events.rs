//! What the backends say to browsers, heard in passing, where it changes what this node knows.
//!
//! A user was put into a channel: stock backends join only the sockets of the very process that served the request
//! (docs/open-webui.md), here every socket of the user looks for its channels. A chat's access changed, or a socket
//! was put out of a chat: what was believed about it is forgotten.

use std::rc::Rc;

use log::warn;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::sockets::Sockets;
use crate::model::{Command, Emit, SocketId};

/// Bytes of the largest event that is looked at; those in question have some hundred.
const LARGEST: usize = 1024;

/// Something that passed on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// This user is in a channel that was not there before.
    ChannelCreated { user: String },
    /// Who may do what in this chat has changed for the socket.
    ChatAccess { socket: SocketId },
    /// A backend took the socket out of the chat.
    PutOut { socket: SocketId, chat: String },
}

/// What is news to this app in a command of somebody else.
pub(super) fn news(command: &Command) -> Option<Heard> {
    match command {
        Command::Emit(Emit { to, payload, .. }) => {
            let [room] = to.rooms.as_slice() else {
                return None;
            };
            if payload.json.len() > LARGEST {
                return None;
            }
            if let Some(user) = room.strip_prefix("user:") {
                let is_it = payload.json.starts_with(r#"["events:channel","#)
                    && payload.json.contains(r#""channel:created""#);
                let user = user.to_owned();
                return is_it.then_some(Heard::ChannelCreated { user });
            }
            let socket = SocketId::parse(room)?;
            let is_it = payload.json.starts_with(r#"["events","#)
                && payload.json.contains(r#""chat:access""#);
            is_it.then_some(Heard::ChatAccess { socket })
        }
        Command::Leave { selector, rooms } => {
            let socket = selector.single_socket()?;
            let chat = rooms.first()?.strip_prefix("chat:")?.to_owned();
            Some(Heard::PutOut { socket, chat })
        }
        _ => None,
    }
}

/// Acts on what is heard, for the sockets of one worker.
pub(super) async fn listen(sockets: Rc<Sockets>, mut heard: Receiver<Heard>) {
    loop {
        match heard.recv().await {
            Ok(Heard::ChannelCreated { user }) => {
                let sockets = Rc::clone(&sockets);
                actix_rt::spawn(async move { sockets.find_channels(&user).await });
            }
            Ok(Heard::ChatAccess { socket }) => sockets.doubt_chats(socket),
            Ok(Heard::PutOut { socket, chat }) => sockets.put_out(socket, &chat),
            Err(RecvError::Lagged(missed)) => {
                warn!(
                    count = missed;
                    "news from the backends missed, clients may lack a channel until they reload"
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, Payload, Room, Selector};

    #[test]
    fn only_what_matters_is_news() {
        let node = NodeId::random(&OsRandom);
        let socket = SocketId::random(node, Default::default(), &OsRandom);
        let to = |room: &str| Selector::room(Namespace::main(), Room::from(room));
        let emit = |room: &str, json: &str| {
            Command::Emit(Emit {
                to: to(room),
                payload: Payload::text(json.to_owned()),
                volatile: false,
                ack: None,
            })
        };
        let created = r#"["events:channel",{"data":{"type":"channel:created"}}]"#;
        let access = r#"["events",{"chat_id":"c","data":{"type":"chat:access","data":{}}}]"#;
        let user = Heard::ChannelCreated { user: "u".into() };
        let cases = [
            (emit("user:u", created), Some(user)),
            (emit("channel:u", created), None),
            (
                emit("user:u", r#"["events",{"x":"channel:created"}]"#),
                None,
            ),
            (
                emit(socket.as_str(), access),
                Some(Heard::ChatAccess { socket }),
            ),
            (emit("chat:c", access), None),
            (
                Command::Leave {
                    selector: to(socket.as_str()),
                    rooms: vec![Room::from("chat:c")],
                },
                Some(Heard::PutOut {
                    socket,
                    chat: "c".into(),
                }),
            ),
        ];
        for (command, expected) in cases {
            assert_eq!(news(&command), expected, "{command:?}");
        }
    }
}
