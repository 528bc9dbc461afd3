//! Decodes python-socketio messages.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{CallbackAddress, Decoded, Ignored, PythonCodec};
use crate::model::base64::decode_lenient;
use crate::model::{
    AckReply, AckToken, Attachments, Command, Emit, Namespace, Payload, ReplyTo, Room, Selector,
};

/// The message cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Published by python-socketio 5.13 and older. Never interpreted, because unpickling runs code.
    #[error("pickle rejected; update the publisher to python-socketio 5.14 or later")]
    Pickle,
    #[error("not a JSON object of a manager: {0}")]
    Json(#[from] serde_json::Error),
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("attachment {0} is not base64")]
    Base64(usize),
    #[error("placeholder without attachment")]
    Placeholder,
}

#[derive(Deserialize)]
struct PythonMessage<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    binary: Option<bool>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    skip_sid: Option<&'a RawValue>,
    #[serde(borrow)]
    callback: Option<&'a RawValue>,
    #[serde(borrow)]
    sid: Option<&'a RawValue>,
    id: Option<u64>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

type Rooms = SmallVec<[Room; 1]>;

impl PythonCodec {
    /// Decodes a message that arrived on one of the dialect's channels.
    ///
    /// # Errors
    /// The message is pickled, or not of a form that a manager publishes.
    pub fn decode(&self, message: &[u8]) -> Result<Decoded, DecodeError> {
        if self.sender_of(message).is_some() {
            return Ok(Decoded::Own);
        }
        if message.first() == Some(&0x80) {
            return Err(DecodeError::Pickle);
        }
        let message: PythonMessage<'_> = serde_json::from_slice(message)?;
        if message.method == "callback" {
            return self.callback(&message);
        }
        let Some(namespace) = message.namespace.as_deref().map(Namespace::from) else {
            return Ok(Decoded::Ignored(Ignored::NoNamespace));
        };
        let command = match &*message.method {
            "emit" => match emit(&message, namespace)? {
                Some(emit) => Command::Emit(emit),
                None => return Ok(Decoded::Ignored(Ignored::NoRooms)),
            },
            "disconnect" => Command::Disconnect {
                selector: socket(&message, namespace)?,
                close: false,
            },
            "enter_room" => Command::Join {
                selector: socket(&message, namespace)?,
                rooms: vec![room(&message)?],
            },
            "leave_room" => Command::Leave {
                selector: socket(&message, namespace)?,
                rooms: vec![room(&message)?],
            },
            "close_room" => Command::CloseRoom {
                namespace,
                room: room(&message)?,
            },
            _ => return Ok(Decoded::Ignored(Ignored::UnknownMethod)),
        };
        Ok(Decoded::Command(command))
    }

    fn callback(&self, message: &PythonMessage<'_>) -> Result<Decoded, DecodeError> {
        let host_id = message.host_id.as_deref().unwrap_or_default();
        let Some(node) = self.node_of(host_id) else {
            return Ok(Decoded::Ignored(Ignored::ForeignReply));
        };
        let args = message.args.ok_or(DecodeError::Field("args"))?.get();
        if !args.starts_with('[') {
            return Err(DecodeError::Field("args"));
        }
        let token = AckToken {
            reply_to: ReplyTo::Node(node),
            id: message.id.ok_or(DecodeError::Field("id"))?,
        };
        Ok(Decoded::AckReply(AckReply {
            token,
            // `sid` repeats the target of the emit, which may be a room.
            socket: None,
            payload: Payload::text(args),
        }))
    }
}

/// Decodes an emit; `None` if it selects no socket.
fn emit(message: &PythonMessage<'_>, namespace: Namespace) -> Result<Option<Emit>, DecodeError> {
    let rooms = match message.room {
        None => Rooms::new(),
        Some(raw) => rooms(raw).ok_or(DecodeError::Field("room"))?,
    };
    if message.room.is_some() && rooms.is_empty() {
        return Ok(None);
    }
    let except = match message.skip_sid {
        None => Rooms::new(),
        Some(raw) => self::rooms(raw).ok_or(DecodeError::Field("skip_sid"))?,
    };
    Ok(Some(Emit {
        payload: payload(message)?,
        ack: ack(message),
        volatile: false,
        to: Selector {
            namespace,
            rooms,
            except,
        },
        conflate: None,
    }))
}

/// The recipient of the reply. A malformed `callback` requests none, as in a stock process.
fn ack(message: &PythonMessage<'_>) -> Option<AckToken> {
    let host_id = message.host_id.as_deref()?;
    let callback = message.callback?.get();
    let (room, namespace, id): (String, String, u64) = serde_json::from_str(callback).ok()?;
    let address = CallbackAddress {
        host_id: host_id.to_owned(),
        room,
        namespace: Namespace::from(namespace),
    };
    Some(AckToken {
        reply_to: address.to_reply_to(),
        id,
    })
}

/// Decodes `data` in every form since 5.14: a list holds the arguments, null stands for none, anything else is the only
/// argument. With `binary`, the first element has such a form, and the others are attachments.
fn payload(message: &PythonMessage<'_>) -> Result<Payload, DecodeError> {
    let event = message.event.map(RawValue::get);
    // Stock servers and clients also have numbers as names.
    let is_name = |first: char| first == '"' || first == '-' || first.is_ascii_digit();
    let event = event
        .filter(|event| event.starts_with(is_name))
        .ok_or(DecodeError::Field("event"))?;
    let data = message.data.map(RawValue::get);
    if message.binary != Some(true) {
        return Ok(Payload::text(event_json(event, data)));
    }
    let data = data.ok_or(DecodeError::Field("data"))?;
    let data: Vec<&RawValue> =
        serde_json::from_str(data).map_err(|_not_a_list| DecodeError::Field("data"))?;
    let (arguments, encoded) = data.split_first().ok_or(DecodeError::Field("data"))?;
    let attachments = attachments(encoded)?;
    // A client closes its connection on a placeholder without an attachment.
    let structure: Value = serde_json::from_str(arguments.get())?;
    if !placeholders_fit(&structure, attachments.len()) {
        return Err(DecodeError::Placeholder);
    }
    let json = event_json(event, Some(arguments.get()));
    Ok(Payload::text(json).with_attachments(attachments))
}

/// `["name",argument,...]`
fn event_json(event: &str, data: Option<&str>) -> String {
    let arguments = match data {
        None | Some("null") => "",
        Some(data) => data
            .strip_prefix('[')
            .and_then(|data| data.strip_suffix(']'))
            .unwrap_or(data)
            .trim_ascii(),
    };
    // A manager expresses "no argument" as one null. Here the text `null` can only come from `null` or `[null]`.
    if arguments.is_empty() || arguments == "null" {
        return format!("[{event}]");
    }
    format!("[{event},{arguments}]")
}

fn attachments(encoded: &[&RawValue]) -> Result<Attachments, DecodeError> {
    let decode = |(number, raw): (usize, &&RawValue)| {
        let text: Cow<'_, str> =
            serde_json::from_str(raw.get()).map_err(|_no_text| DecodeError::Base64(number))?;
        let bytes = decode_lenient(text.as_bytes());
        bytes
            .map(Bytes::from)
            .map_err(|_invalid| DecodeError::Base64(number))
    };
    encoded.iter().enumerate().map(decode).collect()
}

fn placeholders_fit(value: &Value, attachments: usize) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| placeholders_fit(item, attachments)),
        Value::Object(fields) => {
            if fields.get("_placeholder") == Some(&Value::Bool(true)) {
                let number = fields.get("num").and_then(Value::as_u64);
                return number.is_some_and(|number| number < attachments as u64);
            }
            fields
                .values()
                .all(|field| placeholders_fit(field, attachments))
        }
        _ => true,
    }
}

fn socket(message: &PythonMessage<'_>, namespace: Namespace) -> Result<Selector, DecodeError> {
    let sid = message.sid.and_then(name);
    let sid = sid.ok_or(DecodeError::Field("sid"))?;
    Ok(Selector::room(namespace, sid))
}

fn room(message: &PythonMessage<'_>) -> Result<Room, DecodeError> {
    let room = message.room.and_then(name);
    room.ok_or(DecodeError::Field("room"))
}

/// One name or a list of names.
fn rooms(raw: &RawValue) -> Option<Rooms> {
    if !raw.get().starts_with('[') {
        return name(raw).map(|room| SmallVec::from_iter([room]));
    }
    let names: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    // A manager may list null among the sockets to skip, where it has no effect.
    let names = names.into_iter().filter(|raw| raw.get() != "null");
    names.map(name).collect()
}

/// A name. Python allows numbers as names of rooms; here the name is their text.
fn name(raw: &RawValue) -> Option<Room> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(text).ok().map(Room::from),
        b'-' | b'0'..=b'9' => Some(Room::from(text)),
        _ => None,
    }
}
