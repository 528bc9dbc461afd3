//! Socket.IO revision 5: packets, their attachments, and what the server sends (docs/protocol.md#2-socketio).

pub mod decoder;
pub mod encode;
pub mod packet;
pub mod query_auth;
pub mod state;

pub use decoder::{DecodeError, Decoder, Packet};
pub use packet::{AckId, PacketKind, ParseError, Parsed, parse};
