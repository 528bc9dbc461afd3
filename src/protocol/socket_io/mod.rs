//! Socket.IO revision 5: packets, their attachments, and what the server writes (protocol notes 2).

pub mod decoder;
pub mod encode;
pub mod packet;
mod placeholder;
pub mod state;

pub use decoder::{DecodeError, Decoder, Packet};
pub use packet::{AckId, PacketKind, ParseError, Parsed, parse};
