//! The JSON messages python-socketio's managers exchange over Redis (protocol notes 4e).
//!
//! Speaks the form of 5.15.1 and later, reads every JSON generation, refuses pickle unread (since
//! 5.14 the stock managers do so too). Our own messages begin with `host_id`, which names cluster
//! and node: every member drops them by that prefix, unparsed. A python process skips the same
//! way: it compares `host_id` with its own.

mod decode;
mod encode;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

use crate::model::{AckReply, Command, Namespace, NodeId, Room};

pub use decode::DecodeError;
pub use encode::Unsupported;

/// What is said in the name of one node of one cluster.
#[derive(Debug, Clone)]
pub struct Fleet {
    node: NodeId,
    /// `roomwire:<cluster>:`, as it stands in front of a node in our `host_id`s.
    host_prefix: String,
    /// The first bytes of every message of our fleet, up to the node.
    message_prefix: String,
}

impl Fleet {
    /// The fleet of all nodes with the same `cluster` name.
    pub fn new(cluster: &str, node: NodeId) -> Self {
        let host_prefix = format!("roomwire:{cluster}:");
        let mut message_prefix = format!("{{\"host_id\":{}", encode::json_string(&host_prefix));
        message_prefix.pop(); // the closing quote: the node follows
        Self {
            node,
            host_prefix,
            message_prefix,
        }
    }

    /// The `host_id` of a node of the fleet.
    pub fn host_id(&self, node: NodeId) -> String {
        format!("{}{node}", self.host_prefix)
    }

    /// The node a `host_id` names, if it is one of ours.
    fn node_of(&self, host_id: &str) -> Option<NodeId> {
        NodeId::parse(host_id.strip_prefix(&self.host_prefix)?)
    }

    /// The node of our fleet that sent the message, seen from its first bytes alone.
    fn sender_of(&self, message: &[u8]) -> Option<NodeId> {
        let rest = message.strip_prefix(self.message_prefix.as_bytes())?;
        let (node, rest) = rest.split_at_checked(4)?;
        let node = NodeId::parse(std::str::from_utf8(node).ok()?)?;
        rest.starts_with(b"\"").then_some(node)
    }
}

/// Names of the channels python-socketio processes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonChannels {
    base: String,
}

impl PythonChannels {
    /// `base` is the manager's `channel` argument, by default `socketio`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// The channel of everything; the only one published on.
    pub fn all(&self) -> &str {
        &self.base
    }

    /// The channel on which a room's emits may come instead.
    pub fn room(&self, namespace: &Namespace, room: &Room) -> String {
        format!("{}#{namespace}#{room}", self.base)
    }

    /// Whether the dialect is spoken on this channel.
    pub fn contains(&self, channel: &str) -> bool {
        channel
            .strip_prefix(self.base.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    }
}

impl Default for PythonChannels {
    fn default() -> Self {
        Self::new("socketio")
    }
}

/// What a message means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    Command(Command),
    /// An answer to a question a node of our fleet asked (the node is in the token; every node hears it).
    AckReply(AckReply),
    /// Said by our own fleet, which heard it over the native dialect.
    Own,
    /// Not for us, and no error.
    Ignored(Ignored),
}

/// Why a well-formed message has no effect here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("the method is not known")]
    UnknownMethod,
    #[error("the answer is for another host")]
    ForeignAnswer,
    #[error("no namespace is named, which matches none")]
    NoNamespace,
    #[error("the list of rooms is empty, which matches nobody")]
    NoRooms,
}
