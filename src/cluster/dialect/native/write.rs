//! Encodes messages.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    ACK_REPLY, ALIVE, ANNOUNCEMENT, BODY_LENGTH_AT, CLOSE, CLOSE_ROOM, CONFLATION_TAG, DISCONNECT,
    EMIT, FORWARD, HEAD_LENGTH, HEARTBEAT, JOIN, JOINED, LEAVE, LEAVING, MAJOR, MINOR, OF_COUNT,
    OF_DETAILS, OF_NODES, OF_ROOM_COUNTS, OF_ROOM_LIST, OF_ROOMS, OF_SOCKETS, QUERY, QUERY_ANSWER,
    REPLY_TO_FOREIGN, REPLY_TO_NODE, SHORTENED, VOLATILE, WITH_ACK,
};
use crate::cluster::dialect::MemberState;
use crate::model::{
    AckReply, AckToken, Announcement, Command, Emit, NodeId, Payload, Query, QueryAnswer,
    QueryRequest, QueryResponse, ReplyTo, Room, Selector, SocketId,
};

/// A field exceeds its length: names up to 65 535 bytes, lists up to 65 535 items, blobs and bodies up to 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} of {length} is too long for a message between nodes")]
pub struct TooLong {
    pub field: &'static str,
    pub length: usize,
}

/// Encodes a command of `sender`.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_command(sender: NodeId, command: &Command) -> Result<Bytes, TooLong> {
    let writer = match command {
        Command::Emit(emit) => return write_emit(sender, emit),
        Command::Join { selector, rooms } => {
            let mut writer = Writer::new(sender, JOIN, 256);
            writer.selector(selector)?;
            writer.rooms("rooms to join", rooms)?;
            writer
        }
        Command::Leave { selector, rooms } => {
            let mut writer = Writer::new(sender, LEAVE, 256);
            writer.selector(selector)?;
            writer.rooms("rooms to leave", rooms)?;
            writer
        }
        Command::CloseRoom { namespace, room } => {
            let mut writer = Writer::new(sender, CLOSE_ROOM, 64);
            writer.name("namespace", namespace)?;
            writer.name("room", room)?;
            writer
        }
        Command::Disconnect { selector, close } => {
            let flags = if *close { CLOSE } else { 0 };
            let mut writer = Writer::with_flags(sender, DISCONNECT, flags, 128);
            writer.selector(selector)?;
            writer
        }
    };
    writer.finish()
}

/// Encodes the reply of a client of `sender` to an emit of another member of the bus.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_reply(sender: NodeId, reply: &AckReply) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, ACK_REPLY, 128 + reply.payload.size());
    writer.token(&reply.token)?;
    writer.socket(reply.socket);
    writer.payload(&reply.payload)?;
    writer.finish()
}

/// Encodes a query of `sender`.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_query(sender: NodeId, request: &QueryRequest) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, QUERY, 128);
    writer.buffer.put_u64_le(request.id);
    match &request.query {
        Query::Sockets { selector, limit } => {
            writer.buffer.put_u8(OF_SOCKETS);
            writer.selector(selector)?;
            writer.buffer.put_u32_le(*limit);
        }
        Query::Rooms { namespace, socket } => {
            writer.buffer.put_u8(OF_ROOMS);
            writer.name("namespace", namespace)?;
            writer.buffer.put_slice(socket.as_str().as_bytes());
        }
        Query::Count { selector } => {
            writer.buffer.put_u8(OF_COUNT);
            writer.selector(selector)?;
        }
        Query::Details { selector, limit } => {
            writer.buffer.put_u8(OF_DETAILS);
            writer.selector(selector)?;
            writer.buffer.put_u32_le(*limit);
        }
        Query::RoomList {
            namespace,
            prefix,
            after,
            limit,
        } => {
            writer.buffer.put_u8(OF_ROOM_LIST);
            writer.name("namespace", namespace)?;
            writer.name("prefix", prefix)?;
            writer.name("room before", after)?;
            writer.buffer.put_u32_le(*limit);
        }
        Query::RoomCounts { namespace, rooms } => {
            writer.buffer.put_u8(OF_ROOM_COUNTS);
            writer.name("namespace", namespace)?;
            writer.rooms("rooms", rooms)?;
        }
        Query::Nodes => writer.buffer.put_u8(OF_NODES),
    }
    writer.finish()
}

/// Encodes the answer of `sender` to a query of another node.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_query_answer(sender: NodeId, response: &QueryResponse) -> Result<Bytes, TooLong> {
    let flags = if response.is_shortened { SHORTENED } else { 0 };
    let mut writer = Writer::with_flags(sender, QUERY_ANSWER, flags, 256);
    writer.buffer.put_slice(response.to.as_str().as_bytes());
    writer.buffer.put_u64_le(response.id);
    writer.answer(&response.answer)?;
    writer.finish()
}

/// Encodes a heartbeat of `sender`.
///
/// # Errors
/// None: the result is that of every encoder.
pub fn encode_heartbeat(sender: NodeId, state: MemberState) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, HEARTBEAT, 16);
    writer.buffer.put_u8(match state {
        MemberState::Alive => ALIVE,
        MemberState::Joined => JOINED,
        MemberState::Leaving => LEAVING,
    });
    writer.finish()
}

/// Encodes an announcement of `sender`.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_announcement(sender: NodeId, announcement: &Announcement) -> Result<Bytes, TooLong> {
    let Announcement { topic, body } = announcement;
    let mut writer = Writer::new(sender, ANNOUNCEMENT, 64 + body.len());
    writer.name("topic", topic)?;
    writer.blob("announcement", body)?;
    writer.finish()
}

/// Encodes a message for a session of another node, which the dialect does not interpret.
///
/// # Errors
/// A field exceeds its length.
pub fn encode_forward(sender: NodeId, body: &[u8]) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, FORWARD, 16 + body.len());
    writer.blob("forwarded message", body)?;
    writer.finish()
}

fn write_emit(sender: NodeId, emit: &Emit) -> Result<Bytes, TooLong> {
    let volatile = if emit.volatile { VOLATILE } else { 0 };
    let with_ack = if emit.ack.is_some() { WITH_ACK } else { 0 };
    let key = emit.conflate.as_ref().map_or(0, |key| key.len());
    let expected = 128 + emit.payload.size() + key;
    let mut writer = Writer::with_flags(sender, EMIT, volatile | with_ack, expected);
    if let Some(token) = &emit.ack {
        writer.token(token)?;
    }
    writer.selector(&emit.to)?;
    writer.payload(&emit.payload)?;
    match &emit.conflate {
        None => writer.finish(),
        Some(key) => writer.finish_with(CONFLATION_TAG, key.as_bytes()),
    }
}

struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// Writes the head; `expected` bytes of memory are reserved for the whole message.
    fn with_flags(sender: NodeId, kind: u8, flags: u8, expected: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(expected);
        buffer.put_slice(&[MAJOR, MINOR, kind, flags]);
        buffer.put_slice(sender.as_str().as_bytes());
        buffer.put_u32_le(0);
        Self { buffer }
    }

    fn new(sender: NodeId, kind: u8, expected: usize) -> Self {
        Self::with_flags(sender, kind, 0, expected)
    }

    /// Enters the length of the body into the head. The message has no extensions.
    fn finish(mut self) -> Result<Bytes, TooLong> {
        self.end_body()?;
        Ok(self.buffer.freeze())
    }

    /// As [`Self::finish`], with one extension.
    fn finish_with(mut self, tag: u16, value: &[u8]) -> Result<Bytes, TooLong> {
        self.end_body()?;
        self.buffer.put_u16_le(tag);
        self.blob("extension", value)?;
        Ok(self.buffer.freeze())
    }

    fn end_body(&mut self) -> Result<(), TooLong> {
        let (field, length) = ("body", self.buffer.len() - HEAD_LENGTH);
        let short = u32::try_from(length).map_err(|_long| TooLong { field, length })?;
        self.buffer[BODY_LENGTH_AT..HEAD_LENGTH].copy_from_slice(&short.to_le_bytes());
        Ok(())
    }

    fn count(&mut self, field: &'static str, length: usize) -> Result<(), TooLong> {
        let short = u16::try_from(length).map_err(|_long| TooLong { field, length })?;
        self.buffer.put_u16_le(short);
        Ok(())
    }

    fn name(&mut self, field: &'static str, name: &str) -> Result<(), TooLong> {
        self.count(field, name.len())?;
        self.buffer.put_slice(name.as_bytes());
        Ok(())
    }

    fn blob(&mut self, field: &'static str, bytes: &[u8]) -> Result<(), TooLong> {
        let length = bytes.len();
        let short = u32::try_from(length).map_err(|_long| TooLong { field, length })?;
        self.buffer.put_u32_le(short);
        self.buffer.put_slice(bytes);
        Ok(())
    }

    fn rooms(&mut self, field: &'static str, rooms: &[Room]) -> Result<(), TooLong> {
        self.count(field, rooms.len())?;
        rooms.iter().try_for_each(|room| self.name("room", room))
    }

    fn selector(&mut self, selector: &Selector) -> Result<(), TooLong> {
        self.name("namespace", &selector.namespace)?;
        self.rooms("rooms", &selector.rooms)?;
        self.rooms("excepted rooms", &selector.except)
    }

    fn payload(&mut self, payload: &Payload) -> Result<(), TooLong> {
        self.blob("payload", payload.json().as_bytes())?;
        self.count("attachments", payload.attachments().len())?;
        let mut attachments = payload.attachments().iter();
        attachments.try_for_each(|attachment| self.blob("attachment", attachment))
    }

    fn token(&mut self, token: &AckToken) -> Result<(), TooLong> {
        self.buffer.put_u64_le(token.id);
        match &token.reply_to {
            ReplyTo::Node(node) => {
                self.buffer.put_u8(REPLY_TO_NODE);
                self.buffer.put_slice(node.as_str().as_bytes());
                Ok(())
            }
            ReplyTo::Foreign { dialect, address } => {
                self.buffer.put_u8(REPLY_TO_FOREIGN);
                self.buffer.put_slice(&dialect.0);
                self.blob("address of the reply", address)
            }
        }
    }

    fn answer(&mut self, answer: &QueryAnswer) -> Result<(), TooLong> {
        match answer {
            QueryAnswer::Sockets { total, sockets } => {
                self.buffer.put_u8(OF_SOCKETS);
                self.buffer.put_u64_le(*total);
                let (field, length) = ("sockets", sockets.len());
                let count = u32::try_from(length).map_err(|_long| TooLong { field, length })?;
                self.buffer.put_u32_le(count);
                for socket in sockets {
                    self.buffer.put_slice(socket.as_str().as_bytes());
                }
            }
            QueryAnswer::Rooms(rooms) => {
                self.buffer.put_u8(OF_ROOMS);
                self.buffer.put_u8(u8::from(rooms.is_some()));
                if let Some(rooms) = rooms {
                    self.rooms("rooms of a socket", rooms)?;
                }
            }
            QueryAnswer::Count { sockets, nodes } => {
                self.buffer.put_u8(OF_COUNT);
                self.buffer.put_u64_le(*sockets);
                self.count("nodes", nodes.len())?;
                for node in nodes {
                    self.buffer.put_slice(node.as_str().as_bytes());
                }
            }
            QueryAnswer::Details { total, sockets, .. } => {
                self.buffer.put_u8(OF_DETAILS);
                self.buffer.put_u64_le(*total);
                self.count("sockets", sockets.len())?;
                for details in sockets {
                    self.buffer.put_slice(details.socket.as_str().as_bytes());
                    self.buffer.put_u64_le(details.connected_at);
                    self.rooms("rooms of a socket", &details.rooms)?;
                }
            }
            QueryAnswer::RoomList(rooms) => {
                self.buffer.put_u8(OF_ROOM_LIST);
                self.count("rooms", rooms.len())?;
                for (room, members) in rooms {
                    self.name("room", room)?;
                    self.buffer.put_u64_le(*members);
                }
            }
            QueryAnswer::Nodes(nodes) => {
                self.buffer.put_u8(OF_NODES);
                self.count("nodes", nodes.len())?;
                for summary in nodes {
                    self.buffer.put_slice(summary.node.as_str().as_bytes());
                    self.name("version", &summary.version)?;
                    self.buffer.put_u64_le(summary.sessions);
                    self.buffer.put_u64_le(summary.sockets);
                    self.buffer.put_u64_le(summary.rooms);
                }
            }
        }
        Ok(())
    }

    fn socket(&mut self, socket: Option<SocketId>) {
        self.buffer.put_u8(u8::from(socket.is_some()));
        if let Some(socket) = socket {
            self.buffer.put_slice(socket.as_str().as_bytes());
        }
    }
}
