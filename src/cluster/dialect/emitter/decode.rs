//! Decodes messages of emitters.
//!
//! Ports differ in what they leave out and how they write what is empty: `except` may be missing, and `rooms` and `flags`
//! may be missing, null, an empty text, list or map.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;

use crate::model::placeholder::{Judged, judge};
use crate::model::{Attachments, Command, Emit, Namespace, Payload, Room, Selector};
use crate::msgpack::{Reader, ValueError};

/// The types of packets with events. Old emitters mark those with binary values.
const EVENT: i128 = 2;
const BINARY_EVENT: i128 = 5;
/// Maximum size of the options of an emit as JSON, and of what is skipped, in bytes.
const OPTIONS_LIMIT: usize = 1024 * 1024;

/// The message cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedMessage {
    #[error("not msgpack: {0}")]
    Msgpack(#[from] ValueError),
    #[error("not a list of packet and options")]
    List,
    #[error("bytes after the message")]
    TrailingBytes,
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("a placeholder has no attachment")]
    Placeholder,
    #[error("not a JSON object of a request: {0}")]
    Json(#[from] serde_json::Error),
}

type Rooms = SmallVec<[Room; 1]>;

/// Decodes an emit that was published for a namespace, or for all if that is `None`. Returns `None` for a message without
/// effect.
pub(super) fn emit(
    message: &Bytes,
    namespace: Option<&str>,
    limit: usize,
) -> Result<Option<Command>, MalformedMessage> {
    let mut reader = Reader::lenient(message);
    let marker = reader.marker()?;
    match reader.array_length(marker)? {
        // The first element identifies the sender.
        Some(3) => drop(reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?),
        Some(2) => {}
        _ => return Err(MalformedMessage::List),
    }
    let packet = Packet::read(&mut reader, limit)?;
    let options = reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?;
    if !reader.is_at_end() {
        return Err(MalformedMessage::TrailingBytes);
    }
    let options: Value = match options.as_slice() {
        b"" => Value::Null,
        options => serde_json::from_slice(options)?,
    };
    if namespace.is_some_and(|published| published != packet.namespace) {
        return Ok(None);
    }
    let is_volatile = options["flags"]["volatile"].as_bool();
    Ok(Some(Command::Emit(Emit {
        to: selector(&packet.namespace, &options)?,
        payload: packet.payload,
        volatile: is_volatile.unwrap_or(false),
        ack: None,
        conflate: None,
    })))
}

struct Packet {
    namespace: String,
    payload: Payload,
}

impl Packet {
    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, MalformedMessage> {
        let marker = reader.marker()?;
        let fields = reader.map_length(marker)?;
        let fields = fields.ok_or(MalformedMessage::Field("packet"))?;
        let (mut kind, mut namespace) = (None, "/".to_owned());
        let (mut data, mut attachments) = (Vec::new(), Attachments::new());
        for _ in 0..fields {
            let marker = reader.marker()?;
            let name = reader.text(marker)?;
            match name.ok_or(MalformedMessage::Field("packet"))? {
                "type" => {
                    let marker = reader.marker()?;
                    kind = reader.integer(marker)?;
                }
                "nsp" => {
                    let marker = reader.marker()?;
                    let name = reader.text(marker)?;
                    name.ok_or(MalformedMessage::Field("nsp"))?
                        .clone_into(&mut namespace);
                }
                "data" => {
                    attachments.clear();
                    data = reader.json(&mut attachments, limit)?;
                }
                _ => drop(reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?),
            }
        }
        if !matches!(kind, Some(EVENT | BINARY_EVENT)) {
            return Err(MalformedMessage::Field("type"));
        }
        let payload = payload(data, attachments)?;
        Ok(Self { namespace, payload })
    }
}

/// The payload of an event. A map instead of a list would close the connections of clients.
fn payload(data: Vec<u8>, attachments: Attachments) -> Result<Payload, MalformedMessage> {
    let mut json = String::from_utf8(data).map_err(|_| ValueError::NotUtf8)?;
    if !attachments.is_empty() {
        match judge(&json, attachments.len()) {
            Judged::InRange => {}
            Judged::Respelled(respelled) => json = respelled,
            Judged::OutOfRange => return Err(MalformedMessage::Placeholder),
        }
    }
    let is_list = json.starts_with('[');
    let payload = Payload::text(json).with_attachments(attachments);
    let has_name = is_list && payload.event_name().is_some();
    has_name
        .then_some(payload)
        .ok_or(MalformedMessage::Field("data"))
}

fn selector(namespace: &str, options: &Value) -> Result<Selector, MalformedMessage> {
    Ok(Selector {
        namespace: Namespace::from(namespace),
        rooms: rooms(&options["rooms"]).ok_or(MalformedMessage::Field("rooms"))?,
        except: rooms(&options["except"]).ok_or(MalformedMessage::Field("except"))?,
    })
}

/// A list of rooms, whose names may be numbers.
fn rooms(value: &Value) -> Option<Rooms> {
    match value {
        Value::Null => Some(Rooms::new()),
        Value::String(text) if text.is_empty() => Some(Rooms::new()),
        Value::Object(map) if map.is_empty() => Some(Rooms::new()),
        Value::Array(rooms) => rooms.iter().map(room).collect(),
        _ => None,
    }
}

fn room(value: &Value) -> Option<Room> {
    match value {
        Value::String(name) => Some(Room::from(name.as_str())),
        Value::Number(number) => Some(Room::from(number.to_string().as_str())),
        _ => None,
    }
}

/// A change that an emitter requests, in the present form and in that for one socket of before.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default)]
    opts: Value,
    #[serde(default)]
    rooms: Value,
    #[serde(default)]
    sid: Value,
    #[serde(default)]
    room: Value,
    #[serde(default)]
    close: bool,
    /// Of servers with another numbering.
    requestid: Option<Value>,
}

const JOIN: u64 = 2;
const LEAVE: u64 = 3;
const DISCONNECT: u64 = 4;

/// Decodes a request for the sockets of a namespace. Returns `None` for one without effect: emitters send none that has a
/// response, and those of servers are not for this node.
pub(super) fn request(
    message: &Bytes,
    namespace: &str,
) -> Result<Option<Command>, MalformedMessage> {
    if !message.starts_with(b"{") {
        return Ok(None);
    }
    let request: Request = serde_json::from_slice(message)?;
    let is_known = matches!(request.kind, JOIN | LEAVE | DISCONNECT);
    if !is_known || request.requestid.is_some() {
        return Ok(None);
    }
    let (selector, rooms) = match room(&request.sid) {
        Some(socket) => {
            let selector = Selector::room(Namespace::from(namespace), socket);
            (selector, room(&request.room).into_iter().collect())
        }
        None => {
            let rooms = rooms(&request.rooms).ok_or(MalformedMessage::Field("rooms"))?;
            (selector(namespace, &request.opts)?, rooms.into_vec())
        }
    };
    if request.kind != DISCONNECT && rooms.is_empty() {
        return Ok(None);
    }
    Ok(Some(match request.kind {
        JOIN => Command::Join { selector, rooms },
        LEAVE => Command::Leave { selector, rooms },
        _ => Command::Disconnect {
            selector,
            close: request.close,
        },
    }))
}
