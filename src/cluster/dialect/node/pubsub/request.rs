//! Decodes requests of servers and emitters: JSON, or msgpack if they have a packet.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::malformed::MalformedPubSub;
use super::options::{Options, skip};
use super::packet::Packet;
use crate::cluster::dialect::node::MAX_ID;
use crate::cluster::dialect::node::selection::{RoomList, room, selected};
use crate::model::{Command, Emit, Namespace, Payload, Room, Selector, Unfit};
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
    /// An event for servers that requests an answer and has no name.
    UnreadServerEvent {
        request: String,
    },
    /// A request for sockets that selects none.
    FetchOfNobody {
        request: String,
    },
    /// An emit whose recipients are counted; its ack token is not set yet.
    Emit {
        emit: Emit,
        request: String,
        timeout: Option<Duration>,
    },
    /// An emit whose recipients are counted, and which selects no socket, or which clients cannot receive.
    EmitToNobody {
        request: String,
        unfit: Option<Unfit>,
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
    /// Only in requests of servers that number the types of requests differently.
    requestid: Option<IgnoredAny>,
}

/// Decodes a request for the sockets of a namespace, whose payload has up to `limit` bytes as JSON.
pub(super) fn request(
    message: &Bytes,
    namespace: &str,
    limit: usize,
) -> Result<Request, MalformedPubSub> {
    if !message.starts_with(b"{") {
        let mut emit = EmitRequest::read(message, limit)?;
        let uid = std::mem::take(&mut emit.uid);
        let body = emit.body(namespace)?;
        return Ok(Request { uid, body });
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
                let (rooms, request) = (self.rooms()?, request()?);
                if rooms.is_of_nobody() {
                    return Ok(PubSubRequest::FetchOfNobody { request });
                }
                let selector = Selector {
                    rooms: rooms.names,
                    ..Selector::everybody(Namespace::from(namespace))
                };
                PubSubRequest::Ids { selector, request }
            }
            kind::ALL_ROOMS => PubSubRequest::Rooms {
                request: request()?,
            },
            kind::JOIN | kind::LEAVE | kind::DISCONNECT => self.change(namespace)?,
            kind::FETCH => {
                let (selector, request) = (self.selector(namespace)?, request()?);
                match selector {
                    Some(selector) => PubSubRequest::Fetch { selector, request },
                    None => PubSubRequest::FetchOfNobody { request },
                }
            }
            kind::SERVER_EVENT => {
                let data = self.data.map(RawValue::get);
                let data = data.filter(|data| data.starts_with('['));
                let payload = data.map(|data| Payload::text(data.to_owned()));
                let payload = payload.filter(|payload| payload.event_name().is_some());
                match (payload, self.request.clone()) {
                    (Some(payload), request) => PubSubRequest::ServerEvent { payload, request },
                    (None, Some(request)) => PubSubRequest::UnreadServerEvent { request },
                    (None, None) => return Err(MalformedPubSub::NoName),
                }
            }
            _ => PubSubRequest::Ignored,
        })
    }

    fn rooms(&self) -> Result<RoomList, MalformedPubSub> {
        RoomList::read(&self.rooms).ok_or(MalformedPubSub::Field("rooms"))
    }

    /// The sockets that the options select. Without options, a request would concern all sockets.
    fn selector(&self, namespace: &str) -> Result<Option<Selector>, MalformedPubSub> {
        if !self.opts.is_object() {
            return Err(MalformedPubSub::Field("opts"));
        }
        selected(&Namespace::from(namespace), &self.opts).map_err(MalformedPubSub::Field)
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
        let rooms = self.rooms()?.names.into_vec();
        let selector = self.selector(namespace)?;
        let command = selector.and_then(|selector| self.command(selector, rooms));
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

/// The fields of an emit that requests acks.
#[derive(Default)]
struct EmitRequest {
    uid: String,
    request: Option<String>,
    kind: Option<i128>,
    packet: Option<Result<Packet, MalformedPubSub>>,
    options: Option<Options>,
}

impl EmitRequest {
    fn read(message: &Bytes, limit: usize) -> Result<Self, MalformedPubSub> {
        let mut reader = Reader::lenient(message);
        let marker = reader.marker()?;
        let fields = reader.map_length(marker)?;
        let mut read = Self::default();
        for _ in 0..fields.ok_or(MalformedPubSub::Field("request"))? {
            let marker = reader.marker()?;
            let name = reader.text(marker)?;
            match name.ok_or(MalformedPubSub::Field("request"))? {
                "uid" => text(&mut reader)?.clone_into(&mut read.uid),
                "requestId" => read.request = Some(text(&mut reader)?.to_owned()),
                "type" => {
                    let marker = reader.marker()?;
                    read.kind = reader.integer(marker)?;
                }
                "packet" => {
                    let packet = message.slice_ref(reader.raw()?);
                    read.packet = Some(Packet::read(&mut Reader::lenient(&packet), limit));
                }
                "opts" => read.options = Some(Options::read(&mut reader)?),
                _ => skip(&mut reader)?,
            }
        }
        match reader.is_at_end() {
            true => Ok(read),
            false => Err(MalformedPubSub::TrailingBytes),
        }
    }

    /// What it requests. Packets of another namespace are ignored.
    fn body(self, namespace: &str) -> Result<PubSubRequest, MalformedPubSub> {
        let packet = self.packet.filter(|_| self.kind == Some(kind::EMIT.into()));
        let Some(packet) = packet else {
            return Ok(PubSubRequest::Ignored);
        };
        let request = self.request.ok_or(MalformedPubSub::Field("requestId"));
        let payload = match packet {
            Ok(packet) if packet.namespace != namespace => return Ok(PubSubRequest::Ignored),
            Ok(packet) => packet.payload,
            // The sender awaits a response to what other servers accept.
            Err(error) => {
                let unfit = Some(error.unfit().ok_or(error)?);
                let request = request?;
                return Ok(PubSubRequest::EmitToNobody { request, unfit });
            }
        };
        let (options, request) = (
            self.options.ok_or(MalformedPubSub::Field("opts"))?,
            request?,
        );
        let Some(to) = options.selector(&Namespace::from(namespace))? else {
            let unfit = None;
            return Ok(PubSubRequest::EmitToNobody { request, unfit });
        };
        let emit = Emit {
            to,
            payload,
            volatile: options.is_volatile(),
            ack: None,
            conflate: None,
        };
        let timeout = options.timeout();
        Ok(PubSubRequest::Emit {
            emit,
            request,
            timeout,
        })
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, MalformedPubSub> {
    let marker = reader.marker()?;
    let text = reader.text(marker)?.filter(|id| id.len() <= MAX_ID);
    text.ok_or(MalformedPubSub::Field("uid or requestId"))
}
