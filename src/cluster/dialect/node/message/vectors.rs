//! What stock servers published, as `tests/vectors/node/record.mjs` recorded it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::MessageBody;
use crate::model::{Command, Payload, Selector};

/// A command of Redis that a server sent.
#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct RecordedCommand {
    pub(in super::super) dialect: String,
    pub(in super::super) step: String,
    pub(in super::super) cmd: String,
    /// The channel or stream of a message.
    pub(in super::super) channel: Option<String>,
    hex: Option<String>,
    #[serde(default)]
    pub(in super::super) fields: Vec<(String, String)>,
    #[serde(default)]
    pub(in super::super) options: Vec<String>,
    means: Option<Value>,
}

impl RecordedCommand {
    /// The records of messages in a file.
    pub(in super::super) fn messages(file: &str) -> Vec<Self> {
        let records: Vec<Self> = serde_json::from_str(file).unwrap();
        let messages = records.into_iter().filter(|record| record.means.is_some());
        messages.collect()
    }

    /// The published bytes.
    pub(in super::super) fn payload(&self) -> Bytes {
        let digits = self.hex.as_deref().unwrap().as_bytes();
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// The value of a field of a stream entry.
    pub(in super::super) fn field(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(field, _)| field == name);
        &field.unwrap().1
    }

    /// What the message means, `args` parsed.
    pub(in super::super) fn means(&self) -> Value {
        let mut means = self.means.clone().unwrap();
        let fields = means.as_object_mut().unwrap();
        fields.remove("exact");
        if let Some(args) = fields.get_mut("args") {
            *args = serde_json::from_str(args.as_str().unwrap()).unwrap();
        }
        means
    }

    /// Whether an equal message of this node has the same bytes.
    pub(in super::super) fn is_exact(&self) -> bool {
        self.means.as_ref().unwrap()["exact"] != false
    }
}

/// What a decoded message means, in the form of [`RecordedCommand::means`].
pub(in super::super) fn meaning(body: &MessageBody) -> Value {
    match body {
        MessageBody::Emit { emit, request, .. } => {
            let more = json!({"volatile": emit.volatile, "ack": request.is_some()});
            merged([selection("emit", &emit.to), payload(&emit.payload), more])
        }
        MessageBody::Change(Command::Join { selector, rooms }) => {
            merged([selection("join", selector), json!({"into": names(rooms)})])
        }
        MessageBody::Change(Command::Leave { selector, rooms }) => {
            merged([selection("leave", selector), json!({"into": names(rooms)})])
        }
        MessageBody::Change(Command::Disconnect { selector, close }) => {
            merged([selection("disconnect", selector), json!({"close": close})])
        }
        MessageBody::Fetch { selector, .. } => selection("fetch", selector),
        MessageBody::ServerEvent {
            payload: event,
            request,
        } => {
            let more = json!({"kind": "server event", "nsp": "/", "answer": request.is_some()});
            merged([payload(event), more])
        }
        MessageBody::Count { sockets, .. } => json!({"kind": "count", "clients": sockets}),
        MessageBody::Ack { payload: ack, .. } => merged([payload(ack), json!({"kind": "ack"})]),
        other => panic!("{other:?}"),
    }
}

pub(in super::super) fn names(rooms: &[crate::model::Room]) -> Vec<&str> {
    rooms.iter().map(|room| room.as_str()).collect()
}

pub(in super::super) fn selection(kind: &str, selector: &Selector) -> Value {
    json!({
        "kind": kind,
        "nsp": selector.namespace.as_str(),
        "rooms": names(&selector.rooms),
        "except": names(&selector.except),
    })
}

pub(in super::super) fn payload(payload: &Payload) -> Value {
    let hex = |bytes: &Bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let attachments: Vec<String> = payload.attachments().iter().map(hex).collect();
    let args: Value = serde_json::from_str(payload.json()).unwrap();
    json!({"args": args, "attachments": attachments})
}

pub(in super::super) fn merged<const N: usize>(parts: [Value; N]) -> Value {
    let fields = parts.into_iter().flat_map(|part| match part {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    });
    Value::Object(fields.collect())
}
