//! The JSON messages that python-socketio's managers exchange over Redis
//! (docs/python-servers.md#the-python-socketio-dialect).
//!
//! Encodes the form of 5.15.1 and later, decodes every JSON form since 5.14, and rejects pickle undecoded, as stock
//! managers do since 5.14. Messages of Roomwire nodes begin with `host_id`, which names cluster and node, so that the
//! nodes of the cluster drop them by their first bytes. A python-socketio process skips its own messages in the same
//! way: it compares `host_id` with its own.

mod address;
mod channels;
mod decode;
mod dialect;
mod encode;
mod json;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

use super::NODE_ID_PREFIX;
use crate::model::{AckReply, Command, DialectId, NodeId};

pub use address::CallbackAddress;
pub use channels::PythonChannels;
pub use decode::DecodeError;
pub use dialect::PythonDialect;
pub use encode::Unsupported;

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"pyio");

/// Encodes and decodes the messages of one node of one cluster.
#[derive(Debug, Clone)]
pub struct PythonCodec {
    node: NodeId,
    /// `roomwire:<cluster>:`, which precedes the name of a node in the `host_id`s of the cluster.
    host_prefix: String,
    /// The first bytes of every message of the cluster, up to the name of the node.
    message_prefix: String,
}

impl PythonCodec {
    /// The codec of `node` in `cluster`.
    pub fn new(cluster: &str, node: NodeId) -> Self {
        let host_prefix = format!("{NODE_ID_PREFIX}{cluster}:");
        let mut message_prefix = format!("{{\"host_id\":{}", json::json_string(&host_prefix));
        message_prefix.pop(); // the closing quote: the node follows
        Self {
            node,
            host_prefix,
            message_prefix,
        }
    }

    /// The `host_id` of a node of the cluster.
    pub fn host_id(&self, node: NodeId) -> String {
        format!("{}{node}", self.host_prefix)
    }

    /// The node that a `host_id` names, if it is one of the cluster.
    fn node_of(&self, host_id: &str) -> Option<NodeId> {
        NodeId::parse(host_id.strip_prefix(&self.host_prefix)?)
    }

    /// Whether a node of any Roomwire cluster published the message, read from its first bytes alone.
    fn is_of_roomwire(message: &[u8]) -> bool {
        let host_id = message.strip_prefix(br#"{"host_id":""#);
        host_id.is_some_and(|host_id| host_id.starts_with(NODE_ID_PREFIX.as_bytes()))
    }

    /// The node of the cluster that published the message, read from its first bytes alone.
    fn sender_of(&self, message: &[u8]) -> Option<NodeId> {
        let rest = message.strip_prefix(self.message_prefix.as_bytes())?;
        let (node, rest) = rest.split_at_checked(4)?;
        let node = NodeId::parse(std::str::from_utf8(node).ok()?)?;
        rest.starts_with(b"\"").then_some(node)
    }
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    Command(Command),
    /// The reply to an emit of a node of this cluster. The token names the node; all nodes receive the message.
    AckReply(AckReply),
    /// Published by a node of this cluster, which also published it in the native dialect.
    Own,
    /// Well-formed, but without effect here.
    Ignored(Ignored),
}

/// Why a well-formed message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("unknown method")]
    UnknownMethod,
    #[error("reply to another process")]
    ForeignReply,
    #[error("no namespace, which selects no socket")]
    NoNamespace,
    #[error("empty list of rooms, which selects no socket")]
    NoRooms,
}
