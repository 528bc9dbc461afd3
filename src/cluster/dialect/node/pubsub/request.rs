//! Decodes requests of servers and emitters: JSON, or msgpack if they have a packet.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::malformed::MalformedPubSub;
use super::options::{Options, room, rooms, selector, skip};
use super::packet::Packet;
use crate::cluster::dialect::node::MAX_ID;
use crate::model::{Command, Emit, Namespace, Payload, Room, Selector};
use crate::msgpack::Reader;

/// The types of requests.
pub(super) mod kind {
    pub(in super::super) const SOCKETS: u64 = 0;
    pub(in super::super) const ALL_ROOMS: u64 = 1;
    pub(in super::super) const JOIN: u64 = 2;
    pub(in super::super) const LEAVE: u64 = 3;
    pub(in super::super) const DISCONNECT: u64 = 4;
    pub(in super::super) const FETCH: u64 = 5;
    pub(in super::super) const SERVER_EVENT: u64 = 6;
    pub(in super::super) const EMIT: u64 = 7;
    pub(in super::super) const COUNT: u64 = 8;
    pub(in super::super) const ACK: u64 = 9;
}

/// A request, and who sent it.
#[derive(Debug)]
pub(super) struct Request {
    /// Identifies the sender in its namespace; empty if it is an old emitter.
    pub(super) uid: String,
    pub(super) body: PubSubRequest,
}

/// What is requested. `request` is the id under which the sender expects responses.
#[derive(Debug)]
pub(super) enum PubSubRequest {
    Change(Command),
    /// A change of one socket, as servers before Socket.IO 4 request it: they expect a response of the owner.
    ChangeOfSocket {
        command: Command,
        socket: Room,
        request: Option<String>,
    },
    /// The ids of sockets.
    Ids {
        selector: Selector,
        request: String,
    },
    /// The rooms of the namespace.
    Rooms {
        request: String,
    },
    /// The sockets with all details.
    Fetch {
        selector: Selector,
        request: String,
    },
    ServerEvent {
        payload: Payload,
        request: Option<String>,
    },
    /// An emit whose recipients are counted; its token is missing.
    Emit {
        emit: Result<Emit, MalformedPubSub>,
        request: String,
        timeout: Option<Duration>,
    },
    /// Nothing for this node.
    Ignored,
}

/// A request in JSON.
#[derive(Deserialize)]
struct JsonRequest<'a> {
    #[serde(default)]
    uid: String,
    #[serde(rename = "type")]
    kind: u64,
    #[serde(rename = "requestId")]
    request: Option<String>,
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
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Of servers with another numbering.
    requestid: Option<IgnoredAny>,
}

/// Decodes a request for the sockets of a namespace, whose payload has up to `limit` bytes as JSON.
pub(super) fn request(
    message: &Bytes,
    namespace: &str,
    limit: usize,
) -> Result<Request, MalformedPubSub> {
    if !message.starts_with(b"{") {
        return emit_request(message, namespace, limit);
    }
    let fields: JsonRequest<'_> = serde_json::from_slice(message)?;
    if fields.requestid.is_some() {
        return Err(MalformedPubSub::OldNumbering);
    }
    if fields.uid.len() > MAX_ID {
        return Err(MalformedPubSub::Field("uid or requestId"));
    }
    let body = fields.body(namespace)?;
    let uid = fields.uid;
    Ok(Request { uid, body })
}

impl JsonRequest<'_> {
    fn body(&self, namespace: &str) -> Result<PubSubRequest, MalformedPubSub> {
        let request = || {
            let request = self.request.clone().filter(|id| id.len() <= MAX_ID);
            request.ok_or(MalformedPubSub::Field("requestId"))
        };
        Ok(match self.kind {
            kind::SOCKETS => {
                let rooms = rooms(&self.rooms).ok_or(MalformedPubSub::Field("rooms"))?;
                let selector = Selector {
                    rooms,
                    ..Selector::everybody(Namespace::from(namespace))
                };
                let request = request()?;
                PubSubRequest::Ids { selector, request }
            }
            kind::ALL_ROOMS => PubSubRequest::Rooms {
                request: request()?,
            },
            kind::JOIN | kind::LEAVE | kind::DISCONNECT => self.change(namespace)?,
            kind::FETCH => PubSubRequest::Fetch {
                selector: selector(namespace, &self.opts)?,
                request: request()?,
            },
            kind::SERVER_EVENT => {
                let data = self.data.map(RawValue::get);
                let data = data.filter(|data| data.starts_with('['));
                let payload = data.map(|data| Payload::text(data.to_owned()));
                let payload = payload.filter(|payload| payload.event_name().is_some());
                PubSubRequest::ServerEvent {
                    payload: payload.ok_or(MalformedPubSub::Field("data"))?,
                    request: self.request.clone(),
                }
            }
            _ => PubSubRequest::Ignored,
        })
    }

    fn change(&self, namespace: &str) -> Result<PubSubRequest, MalformedPubSub> {
        if let Some(socket) = room(&self.sid) {
            let selector = Selector::room(Namespace::from(namespace), socket.clone());
            let rooms = room(&self.room).into_iter().collect();
            return Ok(match self.command(selector, rooms) {
                Some(command) => PubSubRequest::ChangeOfSocket {
                    command,
                    socket,
                    request: self.request.clone(),
                },
                None => PubSubRequest::Ignored,
            });
        }
        let rooms = rooms(&self.rooms).ok_or(MalformedPubSub::Field("rooms"))?;
        let command = self.command(selector(namespace, &self.opts)?, rooms.into_vec());
        Ok(command.map_or(PubSubRequest::Ignored, PubSubRequest::Change))
    }

    /// The command; `None` if it requires rooms and has none.
    fn command(&self, selector: Selector, rooms: Vec<Room>) -> Option<Command> {
        match self.kind {
            kind::DISCONNECT => Some(Command::Disconnect {
                selector,
                close: self.close,
            }),
            _ if rooms.is_empty() => None,
            kind::JOIN => Some(Command::Join { selector, rooms }),
            _ => Some(Command::Leave { selector, rooms }),
        }
    }
}

/// Decodes an emit that requests acks. Packets of another namespace are ignored.
fn emit_request(
    message: &Bytes,
    namespace: &str,
    limit: usize,
) -> Result<Request, MalformedPubSub> {
    let mut reader = Reader::lenient(message);
    let marker = reader.marker()?;
    let fields = reader.map_length(marker)?;
    let (mut uid, mut request, mut kind) = (String::new(), None, None);
    let (mut packet, mut options) = (None, Options::default());
    for _ in 0..fields.ok_or(MalformedPubSub::Field("request"))? {
        let marker = reader.marker()?;
        let name = reader.text(marker)?;
        match name.ok_or(MalformedPubSub::Field("request"))? {
            "uid" => text(&mut reader)?.clone_into(&mut uid),
            "requestId" => request = Some(text(&mut reader)?.to_owned()),
            "type" => {
                let marker = reader.marker()?;
                kind = reader.integer(marker)?;
            }
            "packet" => match Packet::read(&mut reader, limit) {
                Ok(read) => packet = Some(read),
                // The sender awaits a response to what other servers accept.
                Err(error) if error.unfit().is_some() && request.is_some() => {
                    let body = PubSubRequest::Emit {
                        emit: Err(error),
                        request: request.unwrap_or_default(),
                        timeout: None,
                    };
                    return Ok(Request { uid, body });
                }
                Err(error) => return Err(error),
            },
            "opts" => options = Options::read(&mut reader)?,
            _ => skip(&mut reader)?,
        }
    }
    if !reader.is_at_end() {
        return Err(MalformedPubSub::TrailingBytes);
    }
    let is_emit = kind == Some(i128::from(kind::EMIT));
    let packet = packet.filter(|packet| is_emit && packet.namespace == namespace);
    let Some(Packet { payload, .. }) = packet else {
        let body = PubSubRequest::Ignored;
        return Ok(Request { uid, body });
    };
    let emit = Emit {
        to: options.selector(namespace)?,
        payload,
        volatile: options.is_volatile(),
        ack: None,
        conflate: None,
    };
    let body = PubSubRequest::Emit {
        emit: Ok(emit),
        request: request.ok_or(MalformedPubSub::Field("requestId"))?,
        timeout: options.timeout(),
    };
    Ok(Request { uid, body })
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, MalformedPubSub> {
    let marker = reader.marker()?;
    let text = reader.text(marker)?.filter(|id| id.len() <= MAX_ID);
    text.ok_or(MalformedPubSub::Field("uid or requestId"))
}
