//! What a browser may ask, read from its event.
//!
//! Names and forms of Open WebUI 0.12 (docs/open-webui.md). What is not listed here is a backend's business.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Payload;

/// Chats that exist nowhere but in a browser, and those that are channels: nobody else can open them.
const UNSAVED: [&str; 3] = ["temporary:", "local:", "channel:"];

/// An event that is served here.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// `user-join`: who am I, and my channels.
    UserJoin { token: Option<String> },
    /// `join-channels`
    JoinChannels { token: Option<String> },
    /// `join-note`
    JoinNote { token: Option<String>, note: String },
    /// `heartbeat`
    Heartbeat,
    /// `usage`: a reply of this model is being watched.
    Usage { model: String },
    /// `events:channel`
    Channel {
        channel: String,
        /// `Some`: it says that somebody types, by this event's payload.
        typing: Option<ChannelTyping>,
    },
    /// `events:chat` of a chat that others can open too.
    Chat { chat: String, wish: ChatWish },
    /// `events:chat` with a chat or a word of no use; answered `false`.
    NoChat,
    /// `<user>:<socket>:<request>`, a piece of a model's answer that a backend waits for.
    Piece { channel: String, data: String },
    /// Whatever else. `needs_session`: stock backends end sockets that say this without a user.
    Other { needs_session: bool },
}

/// What of a typing event goes on to the others, as JSON.
#[derive(Debug, PartialEq)]
pub(super) struct ChannelTyping {
    pub(super) message: String,
    pub(super) data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatWish {
    Join,
    Leave,
    Typing(bool),
}

#[derive(Deserialize)]
struct WithAuth {
    auth: Option<Auth>,
    note_id: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    token: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    model: String,
}

#[derive(Deserialize)]
struct About<'a> {
    channel_id: Option<String>,
    /// Any JSON: what is no text names no chat.
    #[serde(borrow)]
    chat_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct TypingData {
    data: Typing,
}

#[derive(Deserialize)]
struct Typing {
    typing: bool,
}

/// The token in what a client sends along when it connects.
pub(super) fn token_of(auth: &str) -> Option<String> {
    serde_json::from_str::<Auth>(auth).ok()?.token
}

impl Request {
    /// Reads an event; `user` is the id of the socket's user.
    pub(super) fn read(payload: &Payload, user: Option<&str>) -> Self {
        let elements = payload.elements();
        let name: String = elements
            .first()
            .and_then(|name| serde_json::from_str(name).ok())
            .unwrap_or_default();
        let argument = elements.get(1).copied().unwrap_or("null");
        let other = Self::Other {
            needs_session: name.starts_with("encryption:")
                || has_three_parts(&name) && elements.len() > 1,
        };
        match name.as_str() {
            "user-join" => Self::UserJoin {
                token: auth(argument).and_then(|with| with.auth?.token),
            },
            "join-channels" => Self::JoinChannels {
                token: auth(argument).and_then(|with| with.auth?.token),
            },
            "join-note" => match auth(argument) {
                Some(WithAuth {
                    auth,
                    note_id: Some(note),
                }) => Self::JoinNote {
                    token: auth.and_then(|auth| auth.token),
                    note,
                },
                _ => Self::JoinNote {
                    token: None,
                    note: String::new(),
                },
            },
            "heartbeat" => Self::Heartbeat,
            "usage" => match serde_json::from_str::<Usage>(argument) {
                Ok(usage) => Self::Usage { model: usage.model },
                // Stock backends fail on it after they have checked the user: the same, without the failure.
                Err(_) => Self::Heartbeat,
            },
            "events:channel" => channel(argument).unwrap_or(other),
            "events:chat" => chat(argument).unwrap_or(Self::Other {
                needs_session: true,
            }),
            name if is_piece(name, user) && elements.len() > 1 => Self::Piece {
                channel: name.to_owned(),
                data: argument.to_owned(),
            },
            _ => other,
        }
    }
}

fn auth(argument: &str) -> Option<WithAuth> {
    serde_json::from_str(argument).ok()
}

/// As the events of documents, and as pieces of answers, `<user>:<socket>:<request>`.
fn has_three_parts(name: &str) -> bool {
    name.matches(':').count() == 2
}

/// Whether it is named for a request of this user.
fn is_piece(name: &str, user: Option<&str>) -> bool {
    let rest = user.and_then(|user| name.strip_prefix(user)?.strip_prefix(':'));
    rest.is_some_and(|rest| rest.matches(':').count() == 1)
}

fn kind(data: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<Kind>(data?.get()).ok()?.r#type
}

fn channel(argument: &str) -> Option<Request> {
    let about: About<'_> = serde_json::from_str(argument).ok()?;
    let channel = about.channel_id?;
    let typing = (kind(about.data).as_deref() == Some("typing")).then(|| ChannelTyping {
        message: about.message_id.map_or("null", RawValue::get).to_owned(),
        data: about.data.map_or("null", RawValue::get).to_owned(),
    });
    Some(Request::Channel { channel, typing })
}

/// `None`: not served here.
fn chat(argument: &str) -> Option<Request> {
    let about: About<'_> = serde_json::from_str(argument).ok()?;
    let kind = kind(about.data)?;
    if !["join", "leave", "typing"].contains(&kind.as_str()) {
        return None;
    }
    let chat = about.chat_id.map(RawValue::get);
    let chat = chat.and_then(|chat| serde_json::from_str::<String>(chat).ok());
    let Some(chat) = chat.filter(|chat| is_saved(chat)) else {
        return Some(Request::NoChat);
    };
    let wish = match kind.as_str() {
        "join" => ChatWish::Join,
        "leave" => ChatWish::Leave,
        _ => {
            let data = about.data.map_or("null", RawValue::get);
            match serde_json::from_str::<TypingData>(data) {
                Ok(data) => ChatWish::Typing(data.data.typing),
                Err(_) => return Some(Request::NoChat),
            }
        }
    };
    Some(Request::Chat { chat, wish })
}

fn is_saved(chat: &str) -> bool {
    !chat.is_empty() && !UNSAVED.iter().any(|prefix| chat.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Request {
        Request::read(&Payload::text(json.to_owned()), Some("u1"))
    }

    fn token(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn sign_in_and_lookups() {
        let cases = [
            (
                r#"["user-join",{"auth":{"token":"t"}}]"#,
                Request::UserJoin { token: token("t") },
            ),
            (
                r#"["user-join",{"auth":null}]"#,
                Request::UserJoin { token: None },
            ),
            (r#"["user-join"]"#, Request::UserJoin { token: None }),
            (
                r#"["join-channels",{"auth":{"token":"t"}}]"#,
                Request::JoinChannels { token: token("t") },
            ),
            (
                r#"["join-note",{"auth":{"token":"t"},"note_id":"n"}]"#,
                Request::JoinNote {
                    token: token("t"),
                    note: "n".into(),
                },
            ),
            (r#"["heartbeat",{}]"#, Request::Heartbeat),
            (
                r#"["usage",{"action":"chat","model":"m","chat_id":"c"}]"#,
                Request::Usage { model: "m".into() },
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(read(json), expected, "{json}");
        }
        assert_eq!(token_of(r#"{"token":"t"}"#), token("t"));
        assert_eq!((token_of(""), token_of("{}")), (None, None));
    }

    #[test]
    fn events_of_channels() {
        let typing = read(
            r#"["events:channel",{"channel_id":"c","message_id":null,"data":{"type":"typing","data":{"typing":true}}}]"#,
        );
        let expected = Request::Channel {
            channel: "c".into(),
            typing: Some(ChannelTyping {
                message: "null".into(),
                data: r#"{"type":"typing","data":{"typing":true}}"#.into(),
            }),
        };
        assert_eq!(typing, expected);
        let seen = read(r#"["events:channel",{"channel_id":"c","data":{"type":"last_read_at"}}]"#);
        let expected = Request::Channel {
            channel: "c".into(),
            typing: None,
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn events_of_chats() {
        let chat = |wish| Request::Chat {
            chat: "c".into(),
            wish,
        };
        let other = Request::Other {
            needs_session: true,
        };
        let typing = r#"{"chat_id":"c","data":{"type":"typing","data":{"typing":false}}}"#;
        let no_typing = r#"{"chat_id":"c","data":{"type":"typing","data":{"typing":1}}}"#;
        let cases = [
            (
                r#"{"chat_id":"c","data":{"type":"join"}}"#,
                chat(ChatWish::Join),
            ),
            (typing, chat(ChatWish::Typing(false))),
            (no_typing, Request::NoChat),
            (
                r#"{"chat_id":"temporary:x","data":{"type":"join"}}"#,
                Request::NoChat,
            ),
            (r#"{"chat_id":7,"data":{"type":"leave"}}"#, Request::NoChat),
            (r#"{"chat_id":"c","data":{"type":"last_read_at"}}"#, other),
        ];
        for (argument, expected) in cases {
            let json = format!(r#"["events:chat",{argument}]"#);
            assert_eq!(read(&json), expected, "{json}");
        }
    }

    #[test]
    fn pieces_are_those_of_the_users_own_requests() {
        let piece = read(r#"["u1:sid:r",{"choices":[1, 2]}]"#);
        let expected = Request::Piece {
            channel: "u1:sid:r".into(),
            data: r#"{"choices":[1, 2]}"#.into(),
        };
        assert_eq!(piece, expected);
        let cases = [
            ("u2:sid:r", true),
            ("u1:sid", false),
            ("u1:a:b:c", false),
            ("u1", false),
        ];
        for (name, needs_session) in cases {
            let read = read(&format!(r#"["{name}",1]"#));
            let expected = Request::Other { needs_session };
            assert_eq!(read, expected, "{name}");
        }
        let delegated = read(r#"["ydoc:document:join",{}]"#);
        let expected = Request::Other {
            needs_session: true,
        };
        assert_eq!(delegated, expected);
    }
}
