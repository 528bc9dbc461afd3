//! Encodes messages for servers, with the bytes of the stock adapters.
//!
//! A server crashes on a message without the data that its type requires, so each message is built here as a whole.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::kind;
use crate::cluster::dialect::node::socket_details;
use crate::model::{Attachments, Command, Emit, Room, Selector, SocketDetails};
use crate::msgpack::write_value;

/// The type and data of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Data {
    pub(in super::super) kind: u64,
    /// With a placeholder for each attachment.
    json: String,
    attachments: Attachments,
}

impl Data {
    fn new(kind: u64, json: String) -> Self {
        let attachments = Attachments::new();
        Self {
            kind,
            json,
            attachments,
        }
    }

    /// An emit. With the id of a request, servers respond with the number of their sockets that receive it, and with acks
    /// until `timeout` has passed.
    pub(in super::super) fn emit(
        emit: &Emit,
        request: Option<&str>,
        timeout: Option<Duration>,
    ) -> Self {
        let mut json = String::with_capacity(emit.payload.json().len() + 128);
        json.push_str(r#"{"packet":{"type":2,"data":"#);
        json.push_str(emit.payload.json());
        json.push('}');
        if let Some(request) = request {
            json.push_str(r#","requestId":"#);
            push_text(&mut json, request);
        }
        let mut flags = Vec::new();
        if emit.volatile {
            flags.push(r#""volatile":true"#.to_owned());
        }
        if let Some(timeout) = timeout {
            flags.push(format!(r#""timeout":{}"#, timeout.as_millis()));
        }
        json.push(',');
        push_options(&mut json, &emit.to, &flags.join(","));
        json.push('}');
        Self {
            attachments: emit.payload.attachments().into(),
            ..Self::new(kind::BROADCAST, json)
        }
    }

    /// A command that requests no acks.
    pub(in super::super) fn command(command: &Command) -> Self {
        let mut json = "{".to_owned();
        let kind = match command {
            Command::Emit(emit) => return Self::emit(emit, None, None),
            Command::Join { selector, rooms } => {
                push_options(&mut json, selector, "");
                push_rooms(&mut json, rooms);
                kind::JOIN
            }
            Command::Leave { selector, rooms } => {
                push_options(&mut json, selector, "");
                push_rooms(&mut json, rooms);
                kind::LEAVE
            }
            Command::CloseRoom { namespace, room } => {
                let members = Selector::room(namespace.clone(), room.clone());
                push_options(&mut json, &members, "");
                push_rooms(&mut json, std::slice::from_ref(room));
                kind::LEAVE
            }
            Command::Disconnect { selector, close } => {
                push_options(&mut json, selector, "");
                json.push_str(&format!(r#","close":{close}"#));
                kind::DISCONNECT
            }
        };
        json.push('}');
        Self::new(kind, json)
    }

    /// A request for sockets.
    pub(in super::super) fn fetch(request: &str, selector: &Selector) -> Self {
        let mut json = "{".to_owned();
        push_options(&mut json, selector, "");
        json.push_str(r#","requestId":"#);
        push_text(&mut json, request);
        json.push('}');
        Self::new(kind::FETCH, json)
    }

    /// The response to a request for sockets, with these headers of their handshakes.
    pub(in super::super) fn sockets(
        request: &str,
        sockets: &[SocketDetails],
        headers: &[String],
    ) -> Self {
        let mut json = request_id(request);
        json.push_str(r#","sockets":"#);
        json.push_str(&socket_details::list(sockets, headers));
        json.push('}');
        Self::new(kind::SOCKETS, json)
    }

    /// The answer to an event for servers, a JSON value.
    pub(in super::super) fn server_event_answer(request: &str, answer: &str) -> Self {
        let json = request_id(request);
        Self::new(
            kind::SERVER_EVENT_ANSWER,
            format!(r#"{json},"packet":{answer}}}"#),
        )
    }

    /// How many sockets received an emit.
    pub(in super::super) fn count(request: &str, sockets: u64) -> Self {
        let json = request_id(request);
        Self::new(kind::COUNT, format!(r#"{json},"clientCount":{sockets}}}"#))
    }

    /// The ack of a client: the first of its arguments, each as JSON.
    pub(in super::super) fn ack(
        request: &str,
        argument: Option<&str>,
        attachments: &[Bytes],
    ) -> Self {
        let mut json = request_id(request);
        if let Some(argument) = argument {
            json.push_str(r#","packet":"#);
            json.push_str(argument);
        }
        json.push('}');
        let has_binary = argument.is_some_and(|argument| argument.contains(r#""_placeholder""#));
        Self {
            attachments: attachments.iter().filter(|_| has_binary).cloned().collect(),
            ..Self::new(kind::ACK, json)
        }
    }

    /// Whether it must be encoded as msgpack.
    pub(in super::super) fn has_binary(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// The data alone as JSON text; only without binary values.
    pub(in super::super) fn json(&self) -> &str {
        &self.json
    }

    /// The data alone as msgpack.
    pub(in super::super) fn to_msgpack(&self) -> Vec<u8> {
        self.msgpack(&self.json)
    }

    /// The whole message as JSON text; only without binary values.
    pub(in super::super) fn message_json(&self, uid: &str, namespace: &str) -> String {
        let Self { kind, json, .. } = self;
        let mut message = String::with_capacity(json.len() + uid.len() + namespace.len() + 48);
        message.push_str(&format!(r#"{{"type":{kind},"data":"#));
        message.push_str(json);
        message.push_str(r#","uid":"#);
        push_text(&mut message, uid);
        message.push_str(r#","nsp":"#);
        push_text(&mut message, namespace);
        message.push('}');
        message
    }

    /// The whole message as msgpack.
    pub(in super::super) fn message_msgpack(&self, uid: &str, namespace: &str) -> Vec<u8> {
        self.msgpack(&self.message_json(uid, namespace))
    }

    fn msgpack(&self, json: &str) -> Vec<u8> {
        let binary: usize = self.attachments.iter().map(Bytes::len).sum();
        let mut bytes = Vec::with_capacity(json.len() + binary);
        write_value(json, &self.attachments, &mut bytes);
        bytes
    }
}

/// `{"requestId":…`, without the closing brace.
fn request_id(request: &str) -> String {
    let mut json = r#"{"requestId":"#.to_owned();
    push_text(&mut json, request);
    json
}

fn push_text(json: &mut String, text: &str) {
    json.push_str(&Value::from(text).to_string());
}

fn push_list(json: &mut String, rooms: &[Room]) {
    json.push('[');
    for (index, room) in rooms.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_text(json, room);
    }
    json.push(']');
}

fn push_rooms(json: &mut String, rooms: &[Room]) {
    json.push_str(r#","rooms":"#);
    push_list(json, rooms);
}

fn push_options(json: &mut String, selector: &Selector, flags: &str) {
    json.push_str(r#""opts":{"rooms":"#);
    push_list(json, &selector.rooms);
    json.push_str(r#","except":"#);
    push_list(json, &selector.except);
    json.push_str(r#","flags":{"#);
    json.push_str(flags);
    json.push_str("}}");
}
