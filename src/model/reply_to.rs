//! Where the reply to an event goes.

use std::fmt;

use bytes::Bytes;

use super::NodeId;

/// The member of the bus that requested a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReplyTo {
    /// A Roomwire node.
    Node(NodeId),
    /// A program that is not a Roomwire node. Only its dialect interprets the address.
    Foreign { dialect: DialectId, address: Bytes },
}

/// Identifies a dialect of the bus: four bytes that must not change between versions, as they are part of messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialectId(pub [u8; 4]);

impl fmt::Debug for DialectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DialectId({})", self.0.escape_ascii())
    }
}
