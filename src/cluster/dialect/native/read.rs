//! Decodes messages. Every length is compared with the bytes that follow before anything is allocated.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::{
    ACK_REPLY, ANNOUNCEMENT, BODY_LENGTH_AT, CLOSE, CLOSE_ROOM, CONFLATION_TAG, CRITICAL,
    DISCONNECT, EMIT, FLAGS_AT, FORWARD, HEAD_LENGTH, HEARTBEAT, JOIN, JOINED, KIND_AT, LEAVE,
    LEAVING, MAJOR, NativeMessage, OF_COUNT, OF_DETAILS, OF_NODES, OF_ROOM_COUNTS, OF_ROOM_LIST,
    OF_ROOMS, OF_SOCKETS, QUERY, QUERY_ANSWER, REPLY_TO_FOREIGN, REPLY_TO_NODE, SENDER_AT,
    SHORTENED, VOLATILE, WITH_ACK,
};
use crate::cluster::dialect::MemberState;
use crate::history::{POSITION_TAG, Stamp};
use crate::model::{
    AckReply, AckToken, Announcement, Attachments, Command, ConflationKey, DialectId, Emit,
    Namespace, NodeId, NodeSummary, Payload, Query, QueryAnswer, QueryRequest, QueryResponse,
    ReplyTo, Room, Selector, SocketDetails, SocketId,
};

/// Why a message cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("major version {0} of the native dialect, this node speaks {MAJOR}")]
    UnknownVersion(u8),
    /// Of a newer minor version. Skipped.
    #[error("message of unknown kind {0} from a newer Roomwire node")]
    UnknownKind(u8),
    /// Of a newer minor version. Skipped.
    #[error("query of unknown kind {0} from a newer Roomwire node")]
    UnknownQuery(u8),
    /// Of a newer minor version. Skipped.
    #[error("message with unknown critical extension {0:#06x} from a newer Roomwire node")]
    CriticalExtension(u16),
    #[error("message ends within its {0}")]
    Short(&'static str),
    #[error("invalid {0}")]
    Invalid(&'static str),
}

pub(super) fn sender_of(message: &[u8]) -> Result<NodeId, DecodeError> {
    let major = message.first().ok_or(DecodeError::Short("version"))?;
    if *major != MAJOR {
        return Err(DecodeError::UnknownVersion(*major));
    }
    let sender = message.get(SENDER_AT..BODY_LENGTH_AT);
    node_of(sender.ok_or(DecodeError::Short("sender"))?)
}

pub(super) fn decode(message: &Bytes) -> Result<(NodeId, NativeMessage), DecodeError> {
    let sender = sender_of(message)?;
    let (kind, flags) = (message[KIND_AT], message[FLAGS_AT]);
    let mut reader = Reader {
        message,
        at: BODY_LENGTH_AT,
        end: message.len(),
    };
    let length = reader.length("head")?;
    reader.end = HEAD_LENGTH
        .checked_add(length)
        .filter(|end| *end <= message.len())
        .ok_or(DecodeError::Short("body"))?;
    let conflate = read_extensions(&message[reader.end..])?;
    let decoded = match kind {
        EMIT | JOIN | LEAVE | CLOSE_ROOM | DISCONNECT => {
            NativeMessage::Command(reader.command(kind, flags, conflate)?)
        }
        ACK_REPLY => NativeMessage::AckReply(AckReply {
            token: reader.token()?,
            socket: reader.socket()?,
            payload: reader.reply()?,
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
            is_shortened: flags & SHORTENED != 0,
        }),
        HEARTBEAT => NativeMessage::Heartbeat(match reader.byte("state")? {
            JOINED => MemberState::Joined,
            LEAVING => MemberState::Leaving,
            _ => MemberState::Alive,
        }),
        ANNOUNCEMENT => NativeMessage::Announcement(Announcement {
            topic: ByteString::from(reader.name("topic")?),
            body: reader.blob("announcement")?,
        }),
        FORWARD => NativeMessage::Forward(reader.blob("forwarded message")?),
        unknown => return Err(DecodeError::UnknownKind(unknown)),
    };
    // A newer minor version may have added fields: what follows in the body is skipped.
    Ok((sender, decoded))
}

/// The value of the extension with the position. Other problems of the message are reported by [`decode`].
pub(super) fn stamp_of(message: &[u8]) -> Result<Option<Stamp>, DecodeError> {
    let length = message.get(BODY_LENGTH_AT..HEAD_LENGTH);
    let length = length.and_then(|length| <[u8; 4]>::try_from(length).ok());
    let length = length.and_then(|length| usize::try_from(u32::from_le_bytes(length)).ok());
    let end = length.and_then(|length| HEAD_LENGTH.checked_add(length));
    let block = end.and_then(|end| message.get(end..)).unwrap_or_default();
    for extension in ExtensionBlock(block) {
        if let Ok((POSITION_TAG, value)) = extension {
            let stamp = Stamp::read(value);
            return stamp.map(Some).ok_or(DecodeError::Invalid("position"));
        }
    }
    Ok(None)
}

/// Reads the conflation key and skips other extensions.
fn read_extensions(block: &[u8]) -> Result<Option<ConflationKey>, DecodeError> {
    let mut conflate = None;
    for extension in ExtensionBlock(block) {
        let (tag, value) = extension?;
        if tag == CONFLATION_TAG {
            let key = std::str::from_utf8(value).ok().and_then(ConflationKey::new);
            conflate = Some(key.ok_or(DecodeError::Invalid("conflation key"))?);
        }
    }
    Ok(conflate)
}

/// The extensions in a block: tag and length, 2 and 4 bytes, then the value. Ends after the first error.
struct ExtensionBlock<'a>(&'a [u8]);

impl<'a> ExtensionBlock<'a> {
    fn split_first(&mut self) -> Result<(u16, &'a [u8]), DecodeError> {
        let short = DecodeError::Short("extension");
        let (&[t0, t1, l0, l1, l2, l3], rest) = self.0.split_first_chunk::<6>().ok_or(short)?;
        let tag = u16::from_le_bytes([t0, t1]);
        if tag & CRITICAL != 0 {
            return Err(DecodeError::CriticalExtension(tag));
        }
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3]));
        let length = length.map_err(|_huge| short)?;
        let (value, behind) = rest.split_at_checked(length).ok_or(short)?;
        self.0 = behind;
        Ok((tag, value))
    }
}

impl<'a> Iterator for ExtensionBlock<'a> {
    type Item = Result<(u16, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let extension = self.split_first();
        if extension.is_err() {
            self.0 = &[];
        }
        Some(extension)
    }
}

fn node_of(bytes: &[u8]) -> Result<NodeId, DecodeError> {
    let name = std::str::from_utf8(bytes).ok().and_then(NodeId::parse);
    name.ok_or(DecodeError::Invalid("node"))
}

struct Reader<'a> {
    message: &'a Bytes,
    /// At most `end`.
    at: usize,
    /// The end of the body.
    end: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.message[self.at..self.end];
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

    fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let length = self.array(field).map(u32::from_le_bytes)?;
        usize::try_from(length).map_err(|_huge| DecodeError::Short(field))
    }

    fn name(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.count(field)?;
        let bytes = self.bytes(field, length)?;
        std::str::from_utf8(bytes).map_err(|_invalid| DecodeError::Invalid(field))
    }

    fn blob(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.length(field)?;
        let start = self.at;
        self.bytes(field, length)?;
        Ok(self.message.slice(start..start + length))
    }

    /// Reserves memory for no more rooms than could follow, as each takes at least 2 bytes.
    fn rooms(&mut self) -> Result<SmallVec<[Room; 1]>, DecodeError> {
        let count = self.count("rooms")?;
        let possible = (self.end - self.at) / 2;
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

    fn command(
        &mut self,
        kind: u8,
        flags: u8,
        conflate: Option<ConflationKey>,
    ) -> Result<Command, DecodeError> {
        Ok(match kind {
            EMIT => Command::Emit(self.emit(flags, conflate)?),
            JOIN => Command::Join {
                selector: self.selector()?,
                rooms: self.rooms()?.into_vec(),
            },
            LEAVE => Command::Leave {
                selector: self.selector()?,
                rooms: self.rooms()?.into_vec(),
            },
            CLOSE_ROOM => Command::CloseRoom {
                namespace: Namespace::from(self.name("namespace")?),
                room: Room::from(self.name("room")?),
            },
            DISCONNECT => Command::Disconnect {
                selector: self.selector()?,
                close: flags & CLOSE != 0,
            },
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }

    fn emit(&mut self, flags: u8, conflate: Option<ConflationKey>) -> Result<Emit, DecodeError> {
        let ack = match flags & WITH_ACK {
            0 => None,
            _ => Some(self.token()?),
        };
        Ok(Emit {
            to: self.selector()?,
            payload: self.payload()?,
            volatile: flags & VOLATILE != 0,
            ack,
            conflate,
        })
    }

    fn payload(&mut self) -> Result<Payload, DecodeError> {
        let payload = self.reply()?;
        if payload.is_none() {
            return Err(DecodeError::Invalid("payload"));
        }
        Ok(payload)
    }

    /// A payload; empty if the emit reached no client.
    fn reply(&mut self) -> Result<Payload, DecodeError> {
        let json = ByteString::try_from(self.blob("payload")?)
            .map_err(|_invalid| DecodeError::Invalid("payload"))?;
        let is_array = json.starts_with('[') && json.ends_with(']');
        if !json.is_empty() && !is_array {
            return Err(DecodeError::Invalid("payload"));
        }
        let count = self.count("attachments")?;
        let possible = (self.end - self.at) / 4;
        let mut attachments = Attachments::with_capacity(count.min(possible));
        for _ in 0..count {
            attachments.push(self.blob("attachment")?);
        }
        Ok(Payload::text(json).with_attachments(attachments))
    }

    fn token(&mut self) -> Result<AckToken, DecodeError> {
        let id = self.array("ack token").map(u64::from_le_bytes)?;
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
            OF_COUNT => Ok(Query::Count {
                selector: self.selector()?,
            }),
            OF_DETAILS => Ok(Query::Details {
                selector: self.selector()?,
                limit: self.array("limit").map(u32::from_le_bytes)?,
            }),
            OF_ROOM_LIST => Ok(Query::RoomList {
                namespace: Namespace::from(self.name("namespace")?),
                prefix: self.name("prefix")?.to_owned(),
                after: self.name("room before")?.to_owned(),
                limit: self.array("limit").map(u32::from_le_bytes)?,
            }),
            OF_ROOM_COUNTS => Ok(Query::RoomCounts {
                namespace: Namespace::from(self.name("namespace")?),
                rooms: self.rooms()?.into_vec(),
            }),
            OF_NODES => Ok(Query::Nodes),
            unknown => Err(DecodeError::UnknownQuery(unknown)),
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
            OF_COUNT => Ok(QueryAnswer::Count {
                sockets: self.number("sockets")?,
                nodes: self.list("nodes", |reader| reader.node())?,
            }),
            OF_DETAILS => Ok(QueryAnswer::Details {
                total: self.number("total")?,
                sockets: self.list("sockets", |reader| {
                    Ok(SocketDetails {
                        socket: reader.socket_id()?,
                        connected_at: reader.number("time of the connect")?,
                        rooms: reader.rooms()?.into_vec(),
                        handshake: None,
                    })
                })?,
                of_servers: Vec::new(),
            }),
            OF_ROOM_LIST => {
                let rooms = self.list("rooms", |reader| {
                    Ok((Room::from(reader.name("room")?), reader.number("members")?))
                })?;
                Ok(QueryAnswer::RoomList(rooms))
            }
            OF_NODES => Ok(QueryAnswer::Nodes(self.list("nodes", |reader| {
                Ok(NodeSummary {
                    node: reader.node()?,
                    version: reader.name("version")?.to_owned(),
                    sessions: reader.number("sessions")?,
                    sockets: reader.number("sockets")?,
                    rooms: reader.number("rooms")?,
                })
            })?)),
            unknown => Err(DecodeError::UnknownQuery(unknown)),
        }
    }

    /// A list of items. Reserves no memory for items that are only announced.
    fn list<T>(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(field)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn node(&mut self) -> Result<NodeId, DecodeError> {
        node_of(self.bytes("node", 4)?)
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
