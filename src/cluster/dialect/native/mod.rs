//! The messages between Roomwire nodes (docs/bus.md#the-native-dialect): a fixed head, a body with the parts of the
//! packet as clients receive them, and extensions. The receiver shares the bytes instead of parsing or copying them.
//!
//! Nodes of the same major version can decode each other's messages. A newer minor version may add kinds, flags, fields at
//! the end of a body and extensions, which older nodes skip; anything else needs a new major version.

mod channels;
mod dialect;
mod read;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;

use crate::cluster::dialect::MemberState;
use crate::history::Stamp;
use crate::model::{AckReply, Announcement, Command, NodeId, QueryRequest, QueryResponse};

pub use channels::NativeChannels;
pub use dialect::NativeDialect;
pub use read::DecodeError;
pub use write::TooLong;

/// The major version: changes when older nodes could misread a message. Others are rejected.
const MAJOR: u8 = 2;
/// The minor version: changes with every addition. Receivers do not depend on it.
const MINOR: u8 = 0;

/// Major version, minor version, kind, flags, sender (4 bytes), length of the body (4 bytes).
const HEAD_LENGTH: usize = 12;
const KIND_AT: usize = 2;
const FLAGS_AT: usize = 3;
const SENDER_AT: usize = 4;
const BODY_LENGTH_AT: usize = 8;

/// Set in the tag of an extension without which a message must not be applied.
const CRITICAL: u16 = 0x8000;

/// Tag of the extension with the conflation key of an emit.
const CONFLATION_TAG: u16 = 3;

const EMIT: u8 = 1;
const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const CLOSE_ROOM: u8 = 4;
const DISCONNECT: u8 = 5;
const ACK_REPLY: u8 = 6;
const FORWARD: u8 = 7;
const QUERY: u8 = 8;
const QUERY_ANSWER: u8 = 9;
const HEARTBEAT: u8 = 10;
const ANNOUNCEMENT: u8 = 11;

/// Flags of an emit.
const VOLATILE: u8 = 1;
const WITH_ACK: u8 = 2;
/// Flag of a disconnect: it closes the whole connection.
const CLOSE: u8 = 1;
/// Flag of a query response: items were left out to keep it within `bus.message_limit`.
const SHORTENED: u8 = 1;

const REPLY_TO_NODE: u8 = 0;
const REPLY_TO_FOREIGN: u8 = 1;

/// States in a heartbeat. Others mean that the node is alive.
const ALIVE: u8 = 0;
const JOINED: u8 = 1;
const LEAVING: u8 = 2;

const OF_SOCKETS: u8 = 0;
const OF_ROOMS: u8 = 1;
const OF_COUNT: u8 = 2;
const OF_DETAILS: u8 = 3;
const OF_ROOM_LIST: u8 = 4;
const OF_NODES: u8 = 5;
const OF_ROOM_COUNTS: u8 = 6;

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NativeMessage {
    Command(Command),
    AckReply(AckReply),
    Query(QueryRequest),
    QueryAnswer(QueryResponse),
    Heartbeat(MemberState),
    Announcement(Announcement),
    /// For a session of another node. The dialect does not interpret it.
    Forward(Bytes),
}

impl NativeMessage {
    /// Encodes the message of `sender`.
    ///
    /// # Errors
    /// A field exceeds its length.
    pub fn encode(&self, sender: NodeId) -> Result<Bytes, TooLong> {
        match self {
            Self::Command(command) => encode_command(sender, command),
            Self::AckReply(reply) => encode_reply(sender, reply),
            Self::Query(request) => encode_query(sender, request),
            Self::QueryAnswer(response) => encode_query_answer(sender, response),
            Self::Heartbeat(state) => encode_heartbeat(sender, *state),
            Self::Announcement(announcement) => encode_announcement(sender, announcement),
            Self::Forward(body) => encode_forward(sender, body),
        }
    }

    /// Decodes a message and names its sender. Payloads and forwarded bodies share the memory of `message`.
    ///
    /// # Errors
    /// The message is malformed, or of an unknown kind or version.
    pub fn decode(message: &Bytes) -> Result<(NodeId, Self), DecodeError> {
        read::decode(message)
    }
}

pub use write::{
    encode_announcement, encode_command, encode_forward, encode_heartbeat, encode_query,
    encode_query_answer, encode_reply,
};

/// The sender, without decoding the rest: a node drops its own messages, which come back from the bus.
///
/// # Errors
/// The head is malformed, or of another major version.
pub fn sender_of(message: &[u8]) -> Result<NodeId, DecodeError> {
    read::sender_of(message)
}

/// The position of a message, without decoding the rest; `None` if it has none.
///
/// # Errors
/// The position is malformed.
pub fn stamp_of(message: &[u8]) -> Result<Option<Stamp>, DecodeError> {
    read::stamp_of(message)
}

/// Whether a message is a query or an emit that requests acks, without decoding the rest.
pub fn requests_response(message: &[u8]) -> bool {
    match (message.get(KIND_AT), message.get(FLAGS_AT)) {
        (Some(&EMIT), Some(flags)) => flags & WITH_ACK != 0,
        (kind, _) => kind == Some(&QUERY),
    }
}
