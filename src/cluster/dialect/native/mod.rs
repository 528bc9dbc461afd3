//! What Roomwire nodes say to each other: a short binary header and the pieces of the packet as
//! clients get them, so that the receiver shares the bytes instead of parsing or copying them.
//!
//! Layout, numbers little-endian: version (1 byte), kind (1), sender (4), then per kind the fields in
//! the order of their types. A name is a 2-byte length and UTF-8, a blob a 4-byte length and bytes,
//! a list a 2-byte count and its items. Nothing may follow. A node reads its own version and the one
//! before; while both run, it must not be asked for more. JSON is passed on unread.

mod channels;
mod dialect;
mod read;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;

use crate::model::{AckReply, Command, NodeId, QueryRequest, QueryResponse};

pub use channels::NativeChannels;
pub use dialect::NativeDialect;
pub use read::DecodeError;
pub use write::TooLong;

/// Version written. Bump it with every change of the layout and keep reading the one before.
const VERSION: u8 = 1;

const EMIT: u8 = 1;
const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const CLOSE_ROOM: u8 = 4;
const DISCONNECT: u8 = 5;
const ACK_REPLY: u8 = 6;
const FORWARD: u8 = 7;
const QUERY: u8 = 8;
const QUERY_ANSWER: u8 = 9;

const VOLATILE: u8 = 1;
const WITH_ACK: u8 = 2;

const REPLY_TO_NODE: u8 = 0;
const REPLY_TO_FOREIGN: u8 = 1;

const OF_SOCKETS: u8 = 0;
const OF_ROOMS: u8 = 1;

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NativeMessage {
    Command(Command),
    AckReply(AckReply),
    Query(QueryRequest),
    QueryAnswer(QueryResponse),
    /// Something for a session that lives on another node; the dialect does not look into it.
    Forward(Bytes),
}

impl NativeMessage {
    /// The message as `sender` says it.
    pub fn encode(&self, sender: NodeId) -> Result<Bytes, TooLong> {
        match self {
            Self::Command(command) => encode_command(sender, command),
            Self::AckReply(reply) => encode_reply(sender, reply),
            Self::Query(request) => encode_query(sender, request),
            Self::QueryAnswer(response) => encode_query_answer(sender, response),
            Self::Forward(body) => encode_forward(sender, body),
        }
    }

    /// Reads a message. Payloads and forwarded bodies share the memory of `message`.
    pub fn decode(message: &Bytes) -> Result<(NodeId, Self), DecodeError> {
        read::decode(message)
    }
}

pub use write::{encode_command, encode_forward, encode_query, encode_query_answer, encode_reply};

/// Who said it, without reading the rest: to drop what comes back from the bus.
pub fn sender_of(message: &[u8]) -> Result<NodeId, DecodeError> {
    read::sender_of(message)
}

/// Whether it is a query or an emit that requests an ack, without decoding the rest.
pub fn is_question(message: &[u8]) -> bool {
    match message.get(1) {
        Some(&EMIT) => message.get(6).is_some_and(|flags| flags & WITH_ACK != 0),
        kind => kind == Some(&QUERY),
    }
}
