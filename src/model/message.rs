//! Engine.IO messages without their packet framing, and the names of the transports.

use bytes::Bytes;
use bytestring::ByteString;

/// The content of an Engine.IO message packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(ByteString),
    Binary(Bytes),
}

/// The transport that a session currently uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportName {
    Polling,
    Websocket,
}

impl TransportName {
    /// The name in query strings and handshakes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::Websocket => "websocket",
        }
    }

    /// Parses the `transport` parameter of a query string.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::Websocket),
            _ => None,
        }
    }
}
