//! Parses the events of browsers.
//!
//! Names and arguments are those of Open WebUI 0.12 (docs/open-webui.md). Events not listed here are passed to a
//! backend.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Payload;
use crate::model::elements::decode_string;

/// Prefixes of chats that exist only in one browser, and of channels. No other user can open them as a chat.
const UNSHARED: [&str; 3] = ["temporary:", "local:", "channel:"];

/// A parsed event.
#[derive(Debug, PartialEq)]
pub(super) enum BrowserRequest {
    /// `user-join`: logs in, and joins the rooms of the user and its channels.
    UserJoin { token: Option<String> },
    /// `join-channels`
    JoinChannels { token: Option<String> },
    /// `join-note`
    JoinNote { token: Option<String>, note: String },
    /// `heartbeat`
    Heartbeat,
    /// `usage`: a completion of this model is displayed.
    Usage { model: String },
    /// `events:channel`
    Channel {
        channel: String,
        /// Set for a typing event.
        typing: Option<ChannelTyping>,
    },
    /// `events:chat` of a chat that other users can open.
    Chat { chat: String, action: ChatAction },
    /// `events:chat` with an unusable chat or type, which is acknowledged by `false`.
    InvalidChat,
    /// `<user>:<socket>:<request>`: a chunk of a completion that a backend waits for.
    CompletionChunk { channel: String, data: String },
    /// Any other event.
    Other {
        /// Stock backends disconnect a socket without a user that sends this event.
        requires_user: bool,
    },
}

/// The parts of a typing event that are passed on, as JSON.
#[derive(Debug, PartialEq)]
pub(super) struct ChannelTyping {
    pub(super) message: String,
    pub(super) data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatAction {
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
    /// Any JSON; only a string is the id of a chat.
    #[serde(borrow)]
    chat_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct EventData {
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

/// The token in the auth payload of a CONNECT packet.
pub(super) fn token_of(auth: &str) -> Option<String> {
    serde_json::from_str::<Auth>(auth).ok()?.token
}

impl BrowserRequest {
    /// Parses an event; `user` is the id of the user the socket is logged in as.
    pub(super) fn parse(payload: &Payload, user: Option<&str>) -> Self {
        let mut elements = payload.elements();
        let name = elements.next().and_then(decode_string).unwrap_or_default();
        let argument = elements.next();
        let has_argument = argument.is_some();
        let argument = argument.unwrap_or("null");
        let other = Self::Other {
            requires_user: name.starts_with("encryption:")
                || has_three_parts(&name) && has_argument,
        };
        match &*name {
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
                // Stock backends check the user and then fail without a visible effect.
                Err(_) => Self::Heartbeat,
            },
            "events:channel" => channel(argument).unwrap_or(other),
            "events:chat" => chat(argument).unwrap_or(Self::Other {
                requires_user: true,
            }),
            name if is_completion_chunk(name, user) && has_argument => Self::CompletionChunk {
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

/// As the names of document events and of completion chunks, `<user>:<socket>:<request>`, have.
fn has_three_parts(name: &str) -> bool {
    name.matches(':').count() == 2
}

/// Whether the name is that of a completion chunk of this user.
fn is_completion_chunk(name: &str, user: Option<&str>) -> bool {
    let rest = user.and_then(|user| name.strip_prefix(user)?.strip_prefix(':'));
    rest.is_some_and(|rest| rest.matches(':').count() == 1)
}

fn kind(data: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<EventData>(data?.get()).ok()?.r#type
}

fn channel(argument: &str) -> Option<BrowserRequest> {
    let about: About<'_> = serde_json::from_str(argument).ok()?;
    let channel = about.channel_id?;
    let typing = (kind(about.data).as_deref() == Some("typing")).then(|| ChannelTyping {
        message: about.message_id.map_or("null", RawValue::get).to_owned(),
        data: about.data.map_or("null", RawValue::get).to_owned(),
    });
    Some(BrowserRequest::Channel { channel, typing })
}

/// `None` for an event that is passed to a backend.
fn chat(argument: &str) -> Option<BrowserRequest> {
    let about: About<'_> = serde_json::from_str(argument).ok()?;
    let kind = kind(about.data)?;
    if !["join", "leave", "typing"].contains(&kind.as_str()) {
        return None;
    }
    let chat = about.chat_id.map(RawValue::get);
    let chat = chat.and_then(|chat| serde_json::from_str::<String>(chat).ok());
    let Some(chat) = chat.filter(|chat| is_shareable(chat)) else {
        return Some(BrowserRequest::InvalidChat);
    };
    let action = match kind.as_str() {
        "join" => ChatAction::Join,
        "leave" => ChatAction::Leave,
        _ => {
            let data = about.data.map_or("null", RawValue::get);
            match serde_json::from_str::<TypingData>(data) {
                Ok(data) => ChatAction::Typing(data.data.typing),
                Err(_) => return Some(BrowserRequest::InvalidChat),
            }
        }
    };
    Some(BrowserRequest::Chat { chat, action })
}

fn is_shareable(chat: &str) -> bool {
    !chat.is_empty() && !UNSHARED.iter().any(|prefix| chat.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> BrowserRequest {
        BrowserRequest::parse(&Payload::text(json.to_owned()), Some("u1"))
    }

    fn token(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn sign_in_and_usage_events_are_parsed() {
        let cases = [
            (
                r#"["user-join",{"auth":{"token":"t"}}]"#,
                BrowserRequest::UserJoin { token: token("t") },
            ),
            (
                r#"["user-join",{"auth":null}]"#,
                BrowserRequest::UserJoin { token: None },
            ),
            (r#"["user-join"]"#, BrowserRequest::UserJoin { token: None }),
            (
                r#"["join-channels",{"auth":{"token":"t"}}]"#,
                BrowserRequest::JoinChannels { token: token("t") },
            ),
            (
                r#"["join-note",{"auth":{"token":"t"},"note_id":"n"}]"#,
                BrowserRequest::JoinNote {
                    token: token("t"),
                    note: "n".into(),
                },
            ),
            (r#"["heartbeat",{}]"#, BrowserRequest::Heartbeat),
            (
                r#"["usage",{"action":"chat","model":"m","chat_id":"c"}]"#,
                BrowserRequest::Usage { model: "m".into() },
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(parse(json), expected, "{json}");
        }
        assert_eq!(token_of(r#"{"token":"t"}"#), token("t"));
        assert_eq!((token_of(""), token_of("{}")), (None, None));
    }

    #[test]
    fn channel_events_are_parsed() {
        let typing = parse(
            r#"["events:channel",{"channel_id":"c","message_id":null,"data":{"type":"typing","data":{"typing":true}}}]"#,
        );
        let expected = BrowserRequest::Channel {
            channel: "c".into(),
            typing: Some(ChannelTyping {
                message: "null".into(),
                data: r#"{"type":"typing","data":{"typing":true}}"#.into(),
            }),
        };
        assert_eq!(typing, expected);
        let seen = parse(r#"["events:channel",{"channel_id":"c","data":{"type":"last_read_at"}}]"#);
        let expected = BrowserRequest::Channel {
            channel: "c".into(),
            typing: None,
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn chat_events_are_parsed() {
        let chat = |action| BrowserRequest::Chat {
            chat: "c".into(),
            action,
        };
        let other = BrowserRequest::Other {
            requires_user: true,
        };
        let typing = r#"{"chat_id":"c","data":{"type":"typing","data":{"typing":false}}}"#;
        let no_typing = r#"{"chat_id":"c","data":{"type":"typing","data":{"typing":1}}}"#;
        let cases = [
            (
                r#"{"chat_id":"c","data":{"type":"join"}}"#,
                chat(ChatAction::Join),
            ),
            (typing, chat(ChatAction::Typing(false))),
            (no_typing, BrowserRequest::InvalidChat),
            (
                r#"{"chat_id":"temporary:x","data":{"type":"join"}}"#,
                BrowserRequest::InvalidChat,
            ),
            (
                r#"{"chat_id":7,"data":{"type":"leave"}}"#,
                BrowserRequest::InvalidChat,
            ),
            (r#"{"chat_id":"c","data":{"type":"last_read_at"}}"#, other),
        ];
        for (argument, expected) in cases {
            let json = format!(r#"["events:chat",{argument}]"#);
            assert_eq!(parse(&json), expected, "{json}");
        }
    }

    #[test]
    fn completion_chunks_are_recognized_for_the_own_user_only() {
        let chunk = parse(r#"["u1:sid:r",{"choices":[1, 2]}]"#);
        let expected = BrowserRequest::CompletionChunk {
            channel: "u1:sid:r".into(),
            data: r#"{"choices":[1, 2]}"#.into(),
        };
        assert_eq!(chunk, expected);
        let cases = [
            ("u2:sid:r", true),
            ("u1:sid", false),
            ("u1:a:b:c", false),
            ("u1", false),
        ];
        for (name, requires_user) in cases {
            let request = parse(&format!(r#"["{name}",1]"#));
            let expected = BrowserRequest::Other { requires_user };
            assert_eq!(request, expected, "{name}");
        }
        let delegated = parse(r#"["ydoc:document:join",{}]"#);
        let expected = BrowserRequest::Other {
            requires_user: true,
        };
        assert_eq!(delegated, expected);
    }
}
