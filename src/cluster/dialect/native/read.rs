//! Bytes to messages. Every length is checked against what is there before anything is allocated.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::{
    ACK_REPLY, CLOSE_ROOM, DISCONNECT, EMIT, FORWARD, JOIN, LEAVE, NativeMessage, OF_ROOMS,
    OF_SOCKETS, QUERY, QUERY_ANSWER, REPLY_TO_FOREIGN, REPLY_TO_NODE, VERSION, VOLATILE, WITH_ACK,
};
use crate::model::{
    AckReply, AckToken, Command, DialectId, Emit, Namespace, NodeId, Payload, Query, QueryAnswer,
    QueryRequest, QueryResponse, ReplyTo, Room, Selector, SocketId,
};

/// The message is not one of ours, or of a version this node does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("message of version {0}, this node reads version {VERSION}")]
    UnknownVersion(u8),
    #[error("unknown kind {0} of message")]
    UnknownKind(u8),
    #[error("message ends within its {0}")]
    Short(&'static str),
    #[error("{0} is not valid")]
    Invalid(&'static str),
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
}

pub(super) fn sender_of(message: &[u8]) -> Result<NodeId, DecodeError> {
    let version = message.first().ok_or(DecodeError::Short("version"))?;
    if *version != VERSION {
        return Err(DecodeError::UnknownVersion(*version));
    }
    let node = message.get(2..6).ok_or(DecodeError::Short("sender"))?;
    node_of(node)
}

pub(super) fn decode(message: &Bytes) -> Result<(NodeId, NativeMessage), DecodeError> {
    let sender = sender_of(message)?;
    let mut reader = Reader { message, at: 6 };
    let kind = message[1];
    let decoded = match kind {
        EMIT => NativeMessage::Command(Command::Emit(reader.emit()?)),
        JOIN => NativeMessage::Command(Command::Join {
            selector: reader.selector()?,
            rooms: reader.rooms()?.into_vec(),
        }),
        LEAVE => NativeMessage::Command(Command::Leave {
            selector: reader.selector()?,
            rooms: reader.rooms()?.into_vec(),
        }),
        CLOSE_ROOM => NativeMessage::Command(Command::CloseRoom {
            namespace: Namespace::from(reader.name("namespace")?),
            room: Room::from(reader.name("room")?),
        }),
        DISCONNECT => NativeMessage::Command(Command::Disconnect {
            selector: reader.selector()?,
            close: reader.flag("close")?,
        }),
        ACK_REPLY => NativeMessage::AckReply(AckReply {
            token: reader.token()?,
            socket: reader.socket()?,
            payload: reader.answer()?,
        }),
        QUERY => NativeMessage::Query(QueryRequest {
            from: sender,
            id: reader.array("query").map(u64::from_le_bytes)?,
            query: reader.query()?,
        }),
        QUERY_ANSWER => NativeMessage::QueryAnswer(QueryResponse {
            from: sender,
            to: node_of(reader.bytes("recipient", 4)?)?,
            id: reader.array("query").map(u64::from_le_bytes)?,
            answer: reader.query_answer()?,
        }),
        FORWARD => NativeMessage::Forward(reader.blob("forwarded message")?),
        unknown => return Err(DecodeError::UnknownKind(unknown)),
    };
    match message.len() - reader.at {
        0 => Ok((sender, decoded)),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

fn node_of(bytes: &[u8]) -> Result<NodeId, DecodeError> {
    let name = std::str::from_utf8(bytes).ok().and_then(NodeId::parse);
    name.ok_or(DecodeError::Invalid("node"))
}

struct Reader<'a> {
    message: &'a Bytes,
    /// Never beyond the end.
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.message[self.at..];
        let bytes = rest.get(..length).ok_or(DecodeError::Short(field))?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(field, N)?;
        bytes.try_into().map_err(|_| DecodeError::Short(field))
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    fn count(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        self.array(field).map(u16::from_le_bytes).map(usize::from)
    }

    fn name(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.count(field)?;
        let bytes = self.bytes(field, length)?;
        std::str::from_utf8(bytes).map_err(|_invalid| DecodeError::Invalid(field))
    }

    fn blob(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.array(field).map(u32::from_le_bytes)?;
        let length = usize::try_from(length).map_err(|_huge| DecodeError::Short(field))?;
        let start = self.at;
        self.bytes(field, length)?;
        Ok(self.message.slice(start..start + length))
    }

    /// Room for as many as are promised, but no more than could follow: each takes 2 bytes or more.
    fn rooms(&mut self) -> Result<SmallVec<[Room; 1]>, DecodeError> {
        let count = self.count("rooms")?;
        let possible = (self.message.len() - self.at) / 2;
        let mut rooms = SmallVec::with_capacity(count.min(possible));
        for _ in 0..count {
            rooms.push(Room::from(self.name("room")?));
        }
        Ok(rooms)
    }

    fn selector(&mut self) -> Result<Selector, DecodeError> {
        Ok(Selector {
            namespace: Namespace::from(self.name("namespace")?),
            rooms: self.rooms()?,
            except: self.rooms()?,
        })
    }

    fn emit(&mut self) -> Result<Emit, DecodeError> {
        let flags = self.byte("flags")?;
        if flags & !(VOLATILE | WITH_ACK) != 0 {
            return Err(DecodeError::Invalid("flags"));
        }
        let ack = match flags & WITH_ACK {
            0 => None,
            _ => Some(self.token()?),
        };
        Ok(Emit {
            to: self.selector()?,
            payload: self.payload()?,
            volatile: flags & VOLATILE != 0,
            ack,
        })
    }

    fn payload(&mut self) -> Result<Payload, DecodeError> {
        let payload = self.answer()?;
        if payload.json.is_empty() {
            return Err(DecodeError::Invalid("payload"));
        }
        Ok(payload)
    }

    /// A payload; empty if the question reached nobody.
    fn answer(&mut self) -> Result<Payload, DecodeError> {
        let json = ByteString::try_from(self.blob("payload")?)
            .map_err(|_invalid| DecodeError::Invalid("payload"))?;
        let is_array = json.starts_with('[') && json.ends_with(']');
        if !json.is_empty() && !is_array {
            return Err(DecodeError::Invalid("payload"));
        }
        let count = self.count("attachments")?;
        let possible = (self.message.len() - self.at) / 4;
        let mut attachments = SmallVec::with_capacity(count.min(possible));
        for _ in 0..count {
            attachments.push(self.blob("attachment")?);
        }
        Ok(Payload { json, attachments })
    }

    fn token(&mut self) -> Result<AckToken, DecodeError> {
        let id = self.array("question").map(u64::from_le_bytes)?;
        let reply_to = match self.byte("recipient of the reply")? {
            REPLY_TO_NODE => ReplyTo::Node(node_of(self.bytes("recipient of the reply", 4)?)?),
            REPLY_TO_FOREIGN => ReplyTo::Foreign {
                dialect: DialectId(self.array("dialect of the reply")?),
                address: self.blob("address of the reply")?,
            },
            _ => return Err(DecodeError::Invalid("recipient of the reply")),
        };
        Ok(AckToken { reply_to, id })
    }

    fn query(&mut self) -> Result<Query, DecodeError> {
        match self.byte("kind of query")? {
            OF_SOCKETS => Ok(Query::Sockets {
                selector: self.selector()?,
                limit: self.array("limit").map(u32::from_le_bytes)?,
            }),
            OF_ROOMS => Ok(Query::Rooms {
                namespace: Namespace::from(self.name("namespace")?),
                socket: self.socket_id()?,
            }),
            _ => Err(DecodeError::Invalid("kind of query")),
        }
    }

    fn query_answer(&mut self) -> Result<QueryAnswer, DecodeError> {
        match self.byte("kind of query")? {
            OF_SOCKETS => {
                let total = self.array("total").map(u64::from_le_bytes)?;
                let count = self.array("sockets").map(u32::from_le_bytes)?;
                let mut sockets = Vec::new();
                for _ in 0..count {
                    sockets.push(self.socket_id()?);
                }
                Ok(QueryAnswer::Sockets { total, sockets })
            }
            OF_ROOMS => {
                let found = self.flag("rooms of a socket")?;
                let rooms = found.then(|| self.rooms()).transpose()?;
                Ok(QueryAnswer::Rooms(rooms.map(SmallVec::into_vec)))
            }
            _ => Err(DecodeError::Invalid("kind of query")),
        }
    }

    fn socket(&mut self) -> Result<Option<SocketId>, DecodeError> {
        let sent = self.flag("socket")?;
        sent.then(|| self.socket_id()).transpose()
    }

    fn socket_id(&mut self) -> Result<SocketId, DecodeError> {
        let id = std::str::from_utf8(self.bytes("socket", 20)?).ok();
        let id = id.and_then(SocketId::parse);
        id.ok_or(DecodeError::Invalid("socket"))
    }
}
