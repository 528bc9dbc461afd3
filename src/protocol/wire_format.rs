//! How packets are encoded for one client, and the only place where an encoding is chosen.
//!
//! To add a parser, a protocol revision or a compression: add a variant to its enum, and an arm to each `match` here. The
//! broker encodes a publish once for each format among its receivers and does not inspect it. How the packets of a
//! client are decoded is in `connection`. A parser that does not encode payloads as JSON also needs an encoding in
//! `model::Payload`, whose methods convert for readers that expect another one. Compression is applied by the outbox, to
//! what is encoded here.

use super::engine_io::EngineRevision;
use super::msgpack;
use super::server_packet::{MessageWriter, Positions, ServerPacket};
use super::socket_io::encode;

/// The wire format of one client, fixed when its session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WireFormat {
    pub revision: EngineRevision,
    pub parser: Parser,
    pub compression: Compression,
    pub positions: Positions,
}

/// A wire format in one byte: a lane stores it in the cache line that every packet touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatCode(u8);

/// Several wire formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FormatSet(u64);

/// An encoding of Socket.IO packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Parser {
    /// JSON with binary attachments, the default of all clients.
    #[default]
    Json,
    /// Each packet is one binary message of msgpack.
    Msgpack,
    /// Each packet is one binary message; a stand-in for a second parser.
    #[cfg(test)]
    Binary,
}

/// How messages are compressed on a websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By permessage-deflate without context takeover (RFC 7692), so that all clients receive the same bytes.
    Deflate,
}

impl Parser {
    /// Whether packets without attachments are text. Binary messages differ between the revisions of Engine.IO: one that
    /// is base64 for some clients is text there, too.
    pub fn writes_text(self) -> bool {
        self == Self::Json
    }
}

impl FormatCode {
    const POSITIONS: u8 = 1;
    const DEFLATE: u8 = 1 << 1;
    const PARSER: u8 = 1 << 2;
    const REVISION: u8 = 1 << 4;

    /// The format that it stands for.
    pub fn format(self) -> WireFormat {
        let Self(code) = self;
        let has = |bit| code & bit != 0;
        WireFormat {
            revision: match code / Self::REVISION {
                0 => EngineRevision::V4,
                1 => EngineRevision::V3,
                _ => EngineRevision::V3Base64,
            },
            parser: match code % Self::REVISION / Self::PARSER {
                0 => Parser::Json,
                #[cfg(test)]
                2 => Parser::Binary,
                _ => Parser::Msgpack,
            },
            compression: match has(Self::DEFLATE) {
                false => Compression::None,
                true => Compression::Deflate,
            },
            positions: match has(Self::POSITIONS) {
                false => Positions::Omitted,
                true => Positions::Appended,
            },
        }
    }
}

impl FormatSet {
    /// The set of one format.
    pub fn of(format: FormatCode) -> Self {
        Self(1 << format.0)
    }

    /// Whether the format is among them.
    #[inline]
    pub fn contains(self, format: FormatCode) -> bool {
        self.0 & (1 << format.0) != 0
    }

    /// Adds a format.
    pub fn insert(&mut self, format: FormatCode) {
        self.0 |= 1 << format.0;
    }
}

impl WireFormat {
    /// The format in one byte.
    pub fn code(self) -> FormatCode {
        let revision = match self.revision {
            EngineRevision::V4 => 0,
            EngineRevision::V3 => 1,
            EngineRevision::V3Base64 => 2,
        };
        let parser = match self.parser {
            Parser::Json => 0,
            Parser::Msgpack => 1,
            #[cfg(test)]
            Parser::Binary => 2,
        };
        let compression = match self.compression {
            Compression::None => 0,
            Compression::Deflate => FormatCode::DEFLATE,
        };
        let positions = match self.positions {
            Positions::Omitted => 0,
            Positions::Appended => FormatCode::POSITIONS,
        };
        let several = (revision * FormatCode::REVISION) | (parser * FormatCode::PARSER);
        FormatCode(several | compression | positions)
    }

    /// The same format without compression.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self {
            compression: Compression::None,
            ..self
        }
    }

    /// The formats that differ only in the revision of Engine.IO. If the parser writes text, an event that is one text
    /// message has the same bytes in all of them: the revision only changes binary messages.
    pub fn of_other_revisions(self) -> impl Iterator<Item = Self> {
        use EngineRevision::{V3, V3Base64, V4};
        let others = [V4, V3, V3Base64].into_iter();
        let others = others.filter(move |revision| *revision != self.revision);
        others.map(move |revision| Self { revision, ..self })
    }

    /// Writes the messages that `packet` consists of, in order and uncompressed.
    #[inline]
    pub fn encode(self, packet: &ServerPacket<'_>, out: &mut impl MessageWriter) {
        let (revision, positions) = (self.revision, self.positions);
        match self.parser {
            Parser::Json => encode::write_messages(packet, revision, positions, out),
            Parser::Msgpack => msgpack::write_messages(packet, revision, positions, out),
            #[cfg(test)]
            Parser::Binary => out.binary(&binary_parser::encode(packet)),
        }
    }
}

/// A second parser, to prove that nothing else depends on the first: each packet is one binary message. Behind a
/// letter, events and acks hold their payload in an encoding without JSON, and other packets the text of the JSON
/// parser.
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
        let mut message = vec![b'B'];
        match packet {
            ServerPacket::Event { payload, .. } | ServerPacket::Ack { payload, .. } => {
                message.extend_from_slice(&payload.netstrings());
            }
            _ => encode::write_text(packet, EngineRevision::V4, Positions::Omitted, &mut message),
        }
        message
    }

    /// The format of clients with this parser.
    pub(crate) fn format() -> WireFormat {
        WireFormat {
            parser: Parser::Binary,
            ..WireFormat::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::Payload;
    use crate::model::payload::netstrings::CONVERTED;

    #[derive(Debug, Default, PartialEq)]
    struct Messages(Vec<Vec<u8>>);

    impl MessageWriter for Messages {
        fn text(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) {
            let mut text = Vec::new();
            write(&mut text);
            self.0.push(text);
            attachments.iter().for_each(|it| self.binary(it));
        }

        fn binary(&mut self, content: &[u8]) {
            self.0.push(content.to_vec());
        }
    }

    fn encode_in(format: WireFormat, payload: &Payload) -> Vec<Vec<u8>> {
        let mut messages = Messages::default();
        format.encode(&ServerPacket::event("/", payload), &mut messages);
        messages.0
    }

    #[test]
    fn every_format_has_a_code_of_its_own() {
        let mut seen = FormatSet::default();
        let both = |format: WireFormat| {
            [Compression::None, Compression::Deflate].map(|it| {
                let compression = it;
                WireFormat {
                    compression,
                    ..format
                }
            })
        };
        for parser in [Parser::Json, Parser::Msgpack, Parser::Binary] {
            for positions in [Positions::Omitted, Positions::Appended] {
                let format = WireFormat {
                    parser,
                    positions,
                    ..WireFormat::default()
                };
                let revisions = [format].into_iter().chain(format.of_other_revisions());
                for format in revisions.flat_map(both) {
                    assert_eq!(format.code().format(), format);
                    assert!(!seen.contains(format.code()), "{format:?}");
                    seen.insert(format.code());
                    assert_eq!(format.uncompressed(), both(format)[0]);
                }
            }
        }
    }

    #[test]
    fn a_payload_is_converted_only_for_a_format_that_needs_another_encoding_than_it_holds() {
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let from_json = Payload::event("e", [placeholder])
            .with_attachments(vec![Bytes::from_static(&[1, 0xff])]);
        let netstrings = format!("3:\"e\",{}:{placeholder},|2:", placeholder.len());
        let netstrings = [netstrings.as_bytes(), &[1, 0xff], b","].concat();
        let from_netstrings = Payload::from_netstrings(netstrings.clone());

        let text = format!("451-[\"e\",{placeholder}]").into_bytes();
        let by_json = [text, vec![1, 0xff]];
        let by_binary = [[b"B", netstrings.as_slice()].concat()];
        let (json, binary) = (WireFormat::default(), binary_parser::format());
        for (payload, format, expected, converted) in [
            (&from_json, json, &by_json[..], [0, 0]),
            (&from_json, binary, &by_binary, [1, 0]),
            (&from_netstrings, binary, &by_binary, [0, 0]),
            (&from_netstrings, json, &by_json, [0, 1]),
            // A clone shares what has been converted.
            (&from_netstrings.clone(), json, &by_json, [0, 0]),
        ] {
            CONVERTED.set([0, 0]);
            assert_eq!(encode_in(format, payload), expected);
            assert_eq!(CONVERTED.get(), converted);
        }
    }
}
