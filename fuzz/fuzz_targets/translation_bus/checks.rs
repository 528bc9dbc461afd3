//! What a node that translates may publish.

use std::collections::BTreeSet;

use bytes::Bytes;
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::{Inbound, StreamedCommand};
use roomwire::model::{Attachments, Command, Emit, Payload, Room};
use roomwire::msgpack::Reader;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Bus, DEPTH, LIMIT};

impl Bus {
    /// The emit that a program which is not of the cluster receives with this message.
    pub(super) fn emit_in(&self, channel: &Channel, message: &Bytes) -> Option<Emit> {
        match self.decode(channel, message)? {
            Inbound::Command(Command::Emit(emit))
            | Inbound::CountedEmit { emit, .. }
            | Inbound::Streamed(StreamedCommand {
                command: Command::Emit(emit),
                ..
            }) => Some(emit),
            _ => None,
        }
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Option<Inbound> {
        let mut dialects = self.foreign.iter();
        let dialect = dialects.find(|dialect| dialect.owns(channel))?;
        dialect.decode(channel, message).ok()
    }

    /// Checks a message that the node has published, which may be a translation of an emit.
    pub(super) fn check(&mut self, channel: &Channel, message: &Bytes, original: Option<&Emit>) {
        let context = || format!("{channel}: {}", message.escape_ascii());
        assert!(message.len() <= LIMIT, "too long: {}", context());
        if channel.as_str().starts_with("socket.io-response#") {
            return assert!(is_response(message), "no response: {}", context());
        }
        if channel.as_str() == "socketio" {
            let fields: Value = serde_json::from_slice(message).unwrap_or_default();
            if fields["method"] == "callback" {
                return assert!(is_callback(&fields), "no callback: {}", context());
            }
            let callback = fields["callback"].as_array();
            if let (Some(host), Some(callback)) = (fields["host_id"].as_str(), callback) {
                self.python_callback = Some((host.to_owned(), callback.clone()));
            }
        } else if let Some(request) = value_of(message).and_then(|it| request_of(&it)) {
            self.node_request = Some(request);
        }
        let Some(decoded) = self.decode(channel, message) else {
            panic!("malformed: {}", context());
        };
        if channel.as_str() == "socketio" {
            let is_command = matches!(decoded, Inbound::Command(_));
            assert!(is_command, "without effect: {}", context());
        }
        if let Some(emit) = self.emit_in(channel, message) {
            assert!(is_fit(&emit.payload), "unfit: {}", context());
            let original = original.unwrap_or_else(|| panic!("of no emit: {}", context()));
            assert_same(original, &emit);
        }
    }
}

/// The value of a message in JSON or msgpack.
fn value_of(message: &Bytes) -> Option<Value> {
    if message.starts_with(b"{") {
        return serde_json::from_slice(message).ok();
    }
    let mut reader = Reader::lenient(message);
    let json = reader.json(&mut Attachments::new(), 1 << 20).ok()?;
    let is_whole = reader.is_at_end();
    serde_json::from_slice(&json).ok().filter(|_| is_whole)
}

/// The id under which the node awaits acks.
fn request_of(message: &Value) -> Option<String> {
    let is_emit = message["type"] == 7;
    let request = message["requestId"].as_str().filter(|_| is_emit);
    request.map(str::to_owned)
}

/// Whether servers in Node can read a response.
fn is_response(message: &Bytes) -> bool {
    let has_request = |json: &[u8]| {
        #[derive(serde::Deserialize)]
        struct Response<'a> {
            #[serde(rename = "requestId", borrow)]
            _request: &'a RawValue,
        }
        serde_json::from_slice::<Response<'_>>(json).is_ok()
    };
    if message.starts_with(b"{") {
        return has_request(message);
    }
    let mut reader = Reader::lenient(message);
    let json = reader.json(&mut Attachments::new(), 1 << 20);
    reader.is_at_end() && json.is_ok_and(|json| has_request(json.as_ref()))
}

/// Whether servers in Python can read a reply.
fn is_callback(fields: &Value) -> bool {
    let texts = ["host_id", "sid", "namespace"];
    texts.iter().all(|field| fields[*field].is_string())
        && fields["id"].is_u64()
        && fields["args"].is_array()
}

/// Whether clients can receive a payload. They accept numbers as names.
fn is_fit(payload: &Payload) -> bool {
    let is_digit = |first: char| first.is_ascii_digit();
    let elements: Result<Vec<&RawValue>, _> = serde_json::from_str(payload.json());
    let has_name = |elements: Vec<&RawValue>| {
        elements.first().is_some_and(|name| {
            name.get().starts_with(['"', '-']) || name.get().starts_with(is_digit)
        })
    };
    elements.is_ok_and(has_name) && payload.check_event(DEPTH).is_ok()
}

fn names(rooms: &[Room]) -> BTreeSet<&str> {
    rooms.iter().map(Room::as_str).collect()
}

/// Asserts that an emit is the translation of another one.
fn assert_same(original: &Emit, translated: &Emit) {
    let (from, to) = (&original.to, &translated.to);
    assert_eq!(from.namespace, to.namespace);
    assert_eq!(names(&from.rooms), names(&to.rooms));
    assert_eq!(names(&from.except), names(&to.except));
    let (from, to) = (&original.payload, &translated.payload);
    assert_eq!(from.event_name(), to.event_name());
    let (before, after): (Vec<&str>, Vec<&str>) =
        (from.elements().collect(), to.elements().collect());
    // Servers in Python have no difference between null as the only argument and none.
    if let ([_, "null"], [_]) = (&before[..], &after[..]) {
        return;
    }
    assert_eq!(before.len(), after.len(), "{before:?}, {after:?}");
    let read = |text: &&str| serde_json::from_str::<Value>(text).ok();
    for (before, after) in before.iter().zip(&after) {
        // Placeholders are numbered anew.
        if let (false, Some(first), Some(second)) =
            (from.has_attachments(), read(before), read(after))
        {
            assert!(is_equal(&first, &second), "{before}, {after}");
        }
    }
}

/// Whether two values are equal, whatever the types of their numbers.
fn is_equal(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Number(first), Value::Number(second)) => first.as_f64() == second.as_f64(),
        (Value::Array(first), Value::Array(second)) => {
            first.len() == second.len() && first.iter().zip(second).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(first), Value::Object(second)) => {
            let has = |(name, value)| second.get(name).is_some_and(|other| is_equal(value, other));
            first.len() == second.len() && first.iter().all(has)
        }
        _ => first == second,
    }
}
