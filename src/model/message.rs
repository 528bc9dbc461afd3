//! Bare Engine.IO messages, and the name of what carries them.

use bytes::Bytes;
use bytestring::ByteString;

/// A bare Engine.IO message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(ByteString),
    Binary(Bytes),
}

/// How a session's packets travel at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportName {
    Polling,
    Websocket,
}

impl TransportName {
    /// The name used in queries and acks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::Websocket => "websocket",
        }
    }

    /// Reads the `transport` of a query.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::Websocket),
            _ => None,
        }
    }
}
