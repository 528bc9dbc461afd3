//! Messages to bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    ACK_REPLY, CLOSE_ROOM, DISCONNECT, EMIT, FORWARD, JOIN, LEAVE, OF_ROOMS, OF_SOCKETS, QUERY,
    QUERY_ANSWER, REPLY_TO_FOREIGN, REPLY_TO_NODE, VERSION, VOLATILE, WITH_ACK,
};
use crate::model::{
    AckReply, AckToken, Command, Emit, NodeId, Payload, Query, QueryAnswer, QueryRequest,
    QueryResponse, ReplyTo, Room, Selector, SocketId,
};

/// A field does not fit its length: names and lists hold up to 65 535, blobs up to 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} of {length} is too long for a message between nodes")]
pub struct TooLong {
    pub field: &'static str,
    pub length: usize,
}

/// A command as `sender` tells it.
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
            let mut writer = Writer::new(sender, DISCONNECT, 128);
            writer.selector(selector)?;
            writer.buffer.put_u8(u8::from(*close));
            writer
        }
    };
    Ok(writer.finish())
}

/// An answer on its way to the node that asked, or to the node that tells the python process.
pub fn encode_reply(sender: NodeId, reply: &AckReply) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, ACK_REPLY, 128 + reply.payload.size());
    writer.token(&reply.token)?;
    writer.socket(reply.socket);
    writer.payload(&reply.payload)?;
    Ok(writer.finish())
}

/// A query for other nodes.
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
    }
    Ok(writer.finish())
}

/// The answer of `sender` to a query of another node.
pub fn encode_query_answer(sender: NodeId, response: &QueryResponse) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, QUERY_ANSWER, 256);
    writer.buffer.put_slice(response.to.as_str().as_bytes());
    writer.buffer.put_u64_le(response.id);
    match &response.answer {
        QueryAnswer::Sockets { total, sockets } => {
            writer.buffer.put_u8(OF_SOCKETS);
            writer.buffer.put_u64_le(*total);
            let (field, length) = ("sockets", sockets.len());
            let count = u32::try_from(length).map_err(|_long| TooLong { field, length })?;
            writer.buffer.put_u32_le(count);
            for socket in sockets {
                writer.buffer.put_slice(socket.as_str().as_bytes());
            }
        }
        QueryAnswer::Rooms(rooms) => {
            writer.buffer.put_u8(OF_ROOMS);
            writer.buffer.put_u8(u8::from(rooms.is_some()));
            if let Some(rooms) = rooms {
                writer.rooms("rooms of a socket", rooms)?;
            }
        }
    }
    Ok(writer.finish())
}

/// Bytes for another node; their meaning is the caller's.
pub fn encode_forward(sender: NodeId, body: &[u8]) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, FORWARD, 16 + body.len());
    writer.blob("forwarded message", body)?;
    Ok(writer.finish())
}

fn write_emit(sender: NodeId, emit: &Emit) -> Result<Bytes, TooLong> {
    let mut writer = Writer::new(sender, EMIT, 128 + emit.payload.size());
    let volatile = if emit.volatile { VOLATILE } else { 0 };
    let with_ack = if emit.ack.is_some() { WITH_ACK } else { 0 };
    writer.buffer.put_u8(volatile | with_ack);
    if let Some(token) = &emit.ack {
        writer.token(token)?;
    }
    writer.selector(&emit.to)?;
    writer.payload(&emit.payload)?;
    Ok(writer.finish())
}

struct Writer {
    buffer: BytesMut,
}

impl Writer {
    fn new(sender: NodeId, kind: u8, expected: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(expected);
        buffer.put_u8(VERSION);
        buffer.put_u8(kind);
        buffer.put_slice(sender.as_str().as_bytes());
        Self { buffer }
    }

    fn finish(self) -> Bytes {
        self.buffer.freeze()
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
        self.blob("payload", payload.json.as_bytes())?;
        self.count("attachments", payload.attachments.len())?;
        let mut attachments = payload.attachments.iter();
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

    fn socket(&mut self, socket: Option<SocketId>) {
        self.buffer.put_u8(u8::from(socket.is_some()));
        if let Some(socket) = socket {
            self.buffer.put_slice(socket.as_str().as_bytes());
        }
    }
}
