//! The messages of Socket.IO's `ClusterAdapter`, which the sharded and the streams adapter have in common: a type, its
//! data, the id of the sender and the namespace (docs/node-servers.md#other-adapters).

mod decode;
mod encode;
mod head;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod vectors;

use std::time::Duration;

use crate::model::{Command, Emit, Payload, Selector, ServerSocket, Unfit};
use crate::msgpack::ValueError;

pub(super) use decode::{decode, decode_data};
pub(super) use encode::Data;

/// The types of messages. Those of heartbeats (1, 2 and 13) have no effect on this node.
mod kind {
    pub(super) const BROADCAST: u64 = 3;
    pub(super) const JOIN: u64 = 4;
    pub(super) const LEAVE: u64 = 5;
    pub(super) const DISCONNECT: u64 = 6;
    pub(super) const FETCH: u64 = 7;
    pub(super) const SOCKETS: u64 = 8;
    pub(super) const SERVER_EVENT: u64 = 9;
    pub(super) const SERVER_EVENT_ANSWER: u64 = 10;
    pub(super) const COUNT: u64 = 11;
    pub(super) const ACK: u64 = 12;
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterMessage {
    /// Identifies the sender in its namespace; empty if it is missing.
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) body: MessageBody,
}

/// What a message requests, or the response that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MessageBody {
    /// An emit, whose ack token is not set yet. With a request id, the sender expects the number of sockets that receive
    /// the emit, and their acks, until `timeout` has passed.
    Emit {
        emit: Emit,
        request: Option<String>,
        timeout: Option<Duration>,
    },
    /// An emit that selects no socket, or that clients cannot receive. Its sender expects the number of sockets.
    EmitToNobody {
        request: String,
        unfit: Option<Unfit>,
    },
    /// A change of rooms, or a disconnect.
    Change(Command),
    /// Requests the selected sockets of each server.
    Fetch { selector: Selector, request: String },
    /// A request for sockets that selects none.
    FetchOfNobody { request: String },
    /// An event for servers. With a request id, each of them must respond.
    ServerEvent {
        payload: Payload,
        request: Option<String>,
    },
    /// An event for servers that cannot be decoded, and to which its sender expects a response.
    UnreadServerEvent { request: String, unfit: Unfit },
    /// The number of sockets that received an emit of this node.
    Count { request: String, sockets: u64 },
    /// The ack of a client to an emit of this node.
    Ack { request: String, payload: Payload },
    /// The sockets of a server that a query of this node selects.
    Sockets {
        request: String,
        sockets: Vec<ServerSocket>,
    },
    /// Nothing for this node: heartbeats, responses to what it never requests, and what concerns no socket.
    Ignored,
}

/// The message cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedClusterMessage {
    #[error("not msgpack: {0}")]
    Msgpack(#[from] ValueError),
    #[error("bytes after the message")]
    TrailingBytes,
    #[error("not a JSON object of a server: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not an entry of a stream")]
    Entry,
    #[error("data is neither JSON nor base64")]
    Base64,
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("an event is not a list that begins with its name")]
    NoName,
    #[error("a placeholder has no attachment")]
    Placeholder,
}

impl MalformedClusterMessage {
    /// Why a server can send the message and clients cannot receive it.
    pub(super) fn unfit(&self) -> Option<Unfit> {
        match self {
            Self::Msgpack(error) => error.unfit(),
            Self::NoName => Some(Unfit::NoName),
            Self::Placeholder => Some(Unfit::Placeholder),
            _ => None,
        }
    }
}
