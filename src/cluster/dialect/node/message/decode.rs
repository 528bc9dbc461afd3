//! Decodes the messages of servers: JSON, or msgpack if they have binary values.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::MAX_ID;
use super::super::selection::{RoomList, selected};
use super::super::server_sockets::reported;
use super::head::RequestHead;
use super::{ClusterMessage, MalformedClusterMessage, MessageBody, kind};
use crate::model::placeholder::{Judged, judge};
use crate::model::{Attachments, Command, Emit, Namespace, Payload, Selector};
use crate::msgpack::Reader;

/// The types of packets with events.
const EVENT: u64 = 2;
const BINARY_EVENT: u64 = 5;

#[derive(Deserialize)]
struct MessageEnvelope<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    nsp: Cow<'a, str>,
}

#[derive(Deserialize)]
struct DataFields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
    #[serde(default)]
    opts: Value,
    #[serde(rename = "requestId")]
    request: Option<String>,
    #[serde(default)]
    rooms: Value,
    #[serde(default)]
    close: bool,
    #[serde(rename = "clientCount")]
    clients: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A value that may be null, as opposed to one that is missing.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// A message as JSON with placeholders, and its binary values.
struct MessageContent {
    json: Bytes,
    attachments: Attachments,
}

/// Decodes a message: JSON text if it begins with a brace, as every message without binary values, else msgpack of up to
/// `limit` bytes as JSON.
pub(in super::super) fn decode(
    message: &Bytes,
    limit: usize,
) -> Result<ClusterMessage, MalformedClusterMessage> {
    let content = match MessageContent::read(message, limit) {
        Ok(content) => content,
        Err(error) => return unread(message, error),
    };
    let envelope: MessageEnvelope<'_> = serde_json::from_slice(&content.json)?;
    if envelope.uid.len() > MAX_ID {
        return Err(MalformedClusterMessage::Field("uid"));
    }
    let namespace = Namespace::from(&*envelope.nsp);
    let data = envelope.data.map(|data| content.slice(data.get()));
    let attachments = content.attachments.clone();
    let body = match data {
        Some(json) => body(
            envelope.kind,
            &namespace,
            &MessageContent { json, attachments },
        )?,
        None => MessageBody::Ignored,
    };
    Ok(ClusterMessage {
        uid: envelope.uid.into_owned(),
        namespace: envelope.nsp.into_owned(),
        body,
    })
}

/// A message whose values clients cannot receive. If it is a request, its sender awaits a response.
fn unread(
    message: &Bytes,
    error: MalformedClusterMessage,
) -> Result<ClusterMessage, MalformedClusterMessage> {
    let (Some(unfit), Some(head)) = (error.unfit(), RequestHead::read(message)) else {
        return Err(error);
    };
    let request = head.request;
    let body = match head.kind {
        kind::BROADCAST => MessageBody::EmitToNobody {
            request,
            unfit: Some(unfit),
        },
        kind::SERVER_EVENT => MessageBody::UnreadServerEvent { request, unfit },
        _ => return Err(error),
    };
    Ok(ClusterMessage {
        uid: head.uid,
        namespace: head.namespace,
        body,
    })
}

/// Decodes the data of a message whose other parts arrived apart from it.
pub(in super::super) fn decode_data(
    kind: u64,
    namespace: &Namespace,
    data: &Bytes,
    limit: usize,
) -> Result<MessageBody, MalformedClusterMessage> {
    body(kind, namespace, &MessageContent::read(data, limit)?)
}

fn body(
    kind: u64,
    namespace: &Namespace,
    content: &MessageContent,
) -> Result<MessageBody, MalformedClusterMessage> {
    if !matches!(kind, kind::BROADCAST..=kind::ACK) {
        return Ok(MessageBody::Ignored);
    }
    let fields: DataFields<'_> = serde_json::from_slice(&content.json)?;
    let request = || {
        let request = fields.request()?;
        request.ok_or(MalformedClusterMessage::Field("requestId"))
    };
    let packet = || {
        fields
            .packet
            .ok_or(MalformedClusterMessage::Field("packet"))
    };
    Ok(match kind {
        kind::BROADCAST => content.emit(packet()?.get(), &fields, namespace)?,
        kind::JOIN | kind::LEAVE | kind::DISCONNECT => {
            let change = fields.change(kind, namespace)?;
            change.map_or(MessageBody::Ignored, MessageBody::Change)
        }
        kind::FETCH => {
            let request = request()?;
            match fields.selector(namespace)? {
                Some(selector) => MessageBody::Fetch { selector, request },
                None => MessageBody::FetchOfNobody { request },
            }
        }
        kind::SOCKETS => match fields.sockets {
            Some(list) => MessageBody::Sockets {
                request: request()?,
                sockets: reported(list.get())?,
            },
            None => MessageBody::Ignored,
        },
        kind::SERVER_EVENT => content.server_event(packet()?.get(), fields.request()?)?,
        kind::COUNT => MessageBody::Count {
            request: request()?,
            sockets: fields
                .clients
                .ok_or(MalformedClusterMessage::Field("clientCount"))?,
        },
        kind::ACK => MessageBody::Ack {
            request: request()?,
            payload: content.ack(fields.packet.map(RawValue::get))?,
        },
        _ => MessageBody::Ignored,
    })
}

impl DataFields<'_> {
    fn request(&self) -> Result<Option<String>, MalformedClusterMessage> {
        match &self.request {
            Some(id) if id.len() > MAX_ID => Err(MalformedClusterMessage::Field("requestId")),
            request => Ok(request.clone()),
        }
    }

    /// The selected sockets; `None` if no socket can be among them. Without options, a message would concern all sockets.
    fn selector(&self, namespace: &Namespace) -> Result<Option<Selector>, MalformedClusterMessage> {
        if !self.opts.is_object() {
            return Err(MalformedClusterMessage::Field("opts"));
        }
        selected(namespace, &self.opts).map_err(MalformedClusterMessage::Field)
    }

    /// A change of rooms or a disconnect; `None` if it concerns no socket or room.
    fn change(
        &self,
        kind: u64,
        namespace: &Namespace,
    ) -> Result<Option<Command>, MalformedClusterMessage> {
        let Some(selector) = self.selector(namespace)? else {
            return Ok(None);
        };
        if kind == kind::DISCONNECT {
            let close = self.close;
            return Ok(Some(Command::Disconnect { selector, close }));
        }
        let list = RoomList::read(&self.rooms).filter(|_| self.rooms.is_array());
        let rooms = list.ok_or(MalformedClusterMessage::Field("rooms"))?.names;
        let rooms = rooms.into_vec();
        Ok((!rooms.is_empty()).then_some(match kind {
            kind::JOIN => Command::Join { selector, rooms },
            _ => Command::Leave { selector, rooms },
        }))
    }
}

impl MessageContent {
    fn read(message: &Bytes, limit: usize) -> Result<Self, MalformedClusterMessage> {
        let mut attachments = Attachments::new();
        if message.starts_with(b"{") {
            let json = message.clone();
            return Ok(Self { json, attachments });
        }
        let mut reader = Reader::new(message);
        let json = reader.json(&mut attachments, limit)?.into();
        if !reader.is_at_end() {
            return Err(MalformedClusterMessage::TrailingBytes);
        }
        Ok(Self { json, attachments })
    }

    /// A part of the message, without copying it.
    fn slice(&self, part: &str) -> Bytes {
        self.json.slice_ref(part.as_bytes())
    }

    fn emit(
        &self,
        packet: &str,
        fields: &DataFields<'_>,
        namespace: &Namespace,
    ) -> Result<MessageBody, MalformedClusterMessage> {
        let packet: Packet<'_> = serde_json::from_str(packet)?;
        if !matches!(packet.kind, EVENT | BINARY_EVENT) {
            return Err(MalformedClusterMessage::Field("type"));
        }
        let (request, to) = (fields.request()?, fields.selector(namespace)?);
        let to_nobody = |unfit| match &request {
            Some(request) => MessageBody::EmitToNobody {
                request: request.clone(),
                unfit,
            },
            None => MessageBody::Ignored,
        };
        let payload = match self.event(packet.data.get()) {
            Ok(payload) => payload,
            // The sender awaits a response to what other servers accept.
            Err(error) if request.is_some() => {
                return Ok(to_nobody(Some(error.unfit().ok_or(error)?)));
            }
            Err(error) => return Err(error),
        };
        let Some(to) = to else {
            return Ok(to_nobody(None));
        };
        let flags = &fields.opts["flags"];
        Ok(MessageBody::Emit {
            emit: Emit {
                to,
                payload,
                volatile: flags["volatile"].as_bool().unwrap_or(false),
                ack: None,
                conflate: None,
            },
            request,
            timeout: flags["timeout"].as_u64().map(Duration::from_millis),
        })
    }

    /// An event for servers. The sender of a request awaits a response to what other servers accept.
    fn server_event(
        &self,
        list: &str,
        request: Option<String>,
    ) -> Result<MessageBody, MalformedClusterMessage> {
        match (self.event(list), request) {
            (Ok(payload), request) => Ok(MessageBody::ServerEvent { payload, request }),
            (Err(error), Some(request)) => {
                let unfit = error.unfit().ok_or(error)?;
                Ok(MessageBody::UnreadServerEvent { request, unfit })
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The payload of an event: a list that begins with its name. Anything else would close the connections of clients.
    fn event(&self, list: &str) -> Result<Payload, MalformedClusterMessage> {
        let text = ByteString::try_from(self.slice(list));
        let text = text.map_err(|_| MalformedClusterMessage::Field("data"))?;
        let is_list = text.starts_with('[');
        let payload = self.payload(text)?;
        let has_name = is_list && payload.event_name().is_some();
        has_name
            .then_some(payload)
            .ok_or(MalformedClusterMessage::NoName)
    }

    /// The payload of an ack. Servers send its first argument alone, and nothing if there is none.
    fn ack(&self, argument: Option<&str>) -> Result<Payload, MalformedClusterMessage> {
        self.payload(format!("[{}]", argument.unwrap_or_default()).into())
    }

    fn payload(&self, json: ByteString) -> Result<Payload, MalformedClusterMessage> {
        let count = self.attachments.len();
        if count == 0 {
            return Ok(Payload::text(json));
        }
        // Binary values elsewhere in the message would be sent to clients as attachments that nothing refers to.
        if json.matches(r#"{"_placeholder":true,"num":"#).count() < count {
            return Err(MalformedClusterMessage::Placeholder);
        }
        let json = match judge(&json, count) {
            Judged::InRange => json,
            Judged::Respelled(respelled) => respelled.into(),
            Judged::OutOfRange => return Err(MalformedClusterMessage::Placeholder),
        };
        Ok(Payload::text(json).with_attachments(self.attachments.clone()))
    }
}
