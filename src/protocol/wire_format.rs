//! How packets are encoded for one client, and the only place where an encoding is chosen.
//!
//! To add a parser, a protocol revision or a compression: add a variant to its enum, and an arm to each `match` here. The
//! broker encodes a publish once for each format among its receivers, and sessions decode by the format of their
//! client; neither inspects it.

use super::server_packet::{MessageWriter, ServerPacket};
use super::socket_io::Decoder;
use super::socket_io::encode;
use crate::model::Parser;

/// The wire format of one client, fixed when its session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WireFormat {
    pub revision: EngineRevision,
    pub parser: Parser,
    pub compression: Compression,
    pub positions: Positions,
}

// A lane stores its format in the cache line that every packet touches.
const _: () = assert!(size_of::<WireFormat>() <= 2);

/// A revision of the Engine.IO protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EngineRevision {
    /// `EIO=4`: the server sends pings.
    #[default]
    V4,
}

/// How messages are compressed on a websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
}

/// Whether events carry their position in the log of their room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Positions {
    /// Events carry the arguments of their sender and nothing else.
    #[default]
    Omitted,
}

impl WireFormat {
    /// Writes the messages that `packet` consists of, in order.
    #[inline]
    pub fn encode(self, packet: &ServerPacket<'_>, out: &mut impl MessageWriter) {
        // Each has one variant; another one fails to compile here until it is encoded.
        let EngineRevision::V4 = self.revision;
        let Compression::None = self.compression;
        let Positions::Omitted = self.positions;
        match self.parser {
            Parser::Json => encode::write_messages(packet, out),
            #[cfg(test)]
            Parser::Binary => out.binary(&binary_parser::encode(packet)),
        }
    }

    /// The decoder of what a client sends, for packets of up to `max_payload` bytes with their attachments.
    pub fn decoder(self, max_payload: usize) -> Decoder {
        match self.parser {
            Parser::Json => Decoder::new(max_payload),
            #[cfg(test)]
            Parser::Binary => Decoder::new(max_payload),
        }
    }
}

/// A second parser, to prove that nothing else depends on the first: each packet is one binary message, which holds the
/// text of the JSON parser behind a letter.
#[cfg(test)]
pub(crate) mod binary_parser {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Packets encoded on this thread.
        pub(crate) static ENCODED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn encode(packet: &ServerPacket<'_>) -> Vec<u8> {
        ENCODED.set(ENCODED.get() + 1);
        let mut text = vec![b'B'];
        encode::write_text(packet, &mut text);
        text
    }

    /// The format of clients with this parser.
    pub(crate) fn format() -> WireFormat {
        WireFormat {
            parser: Parser::Binary,
            ..WireFormat::default()
        }
    }
}
