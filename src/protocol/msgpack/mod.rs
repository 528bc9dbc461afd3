//! The msgpack parser: each Socket.IO packet is one binary message, a map (docs/protocol.md#27-msgpack-parser).
//!
//! Payloads are JSON everywhere else in a node. They are converted at the edge: from msgpack when a packet is decoded, and
//! to msgpack when one is encoded, once for all receivers of an event.

mod decode;
mod encode;
mod text;

pub use decode::{DecodeError, decode};
pub use encode::write_messages;
pub use text::decode_text;
