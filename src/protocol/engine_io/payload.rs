//! The body of a polling request or response: packets joined by the record separator (docs/protocol.md#13-polling).
//!
//! How many packets or bytes a request may hold is up to the reader of the request; responses are bounded here.

use base64::Engine;
use thiserror::Error;

use super::packet::{Packet, PacketError};
use crate::model::base64::{BASE64, decode_lenient};

const SEPARATOR: char = '\x1e';
const BINARY_MARK: char = 'b';

/// Maximum number of packets in one response: python-engineio clients reject more (docs/protocol.md#13-polling).
pub const MAX_PACKETS: usize = 16;

/// One packet of a polling body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadPacket<'a> {
    Packet(Packet<'a>),
    /// A binary message, decoded.
    Binary(Vec<u8>),
}

/// What is wrong with a packet of a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("binary packet is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

/// The packets of `body` in order. Ends after the first error: packets after a malformed one are dropped
/// (docs/protocol.md#17-errors). An empty body is one empty packet, thus an error.
pub fn decode(body: &str) -> PayloadPackets<'_> {
    PayloadPackets { rest: Some(body) }
}

/// See [`decode`].
#[derive(Debug, Clone)]
pub struct PayloadPackets<'a> {
    rest: Option<&'a str>,
}

impl<'a> PayloadPackets<'a> {
    /// The packets that are not decoded yet, as a separate body.
    pub fn rest(&self) -> Option<&'a str> {
        self.rest
    }
}

impl<'a> Iterator for PayloadPackets<'a> {
    type Item = Result<PayloadPacket<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let body = self.rest?;
        let (record, rest) = match body.split_once(SEPARATOR) {
            Some((record, rest)) => (record, Some(rest)),
            None => (body, None),
        };
        let packet = decode_record(record);
        self.rest = rest.filter(|_| packet.is_ok());
        Some(packet)
    }
}

fn decode_record(record: &str) -> Result<PayloadPacket<'_>, PayloadError> {
    Ok(match record.strip_prefix(BINARY_MARK) {
        Some(encoded) => PayloadPacket::Binary(decode_lenient(encoded.as_bytes())?),
        None => PayloadPacket::Packet(Packet::parse(record)?),
    })
}

/// Collects the packets of one polling response within its limits; the first packet always fits.
#[derive(Debug)]
pub struct PayloadWriter {
    body: Vec<u8>,
    packets: usize,
    max_packets: usize,
    max_bytes: usize,
}

impl PayloadWriter {
    /// A response of at most `max_packets` packets and `max_bytes` bytes, separators included.
    pub fn new(max_packets: usize, max_bytes: usize) -> Self {
        Self {
            body: Vec::new(),
            packets: 0,
            max_packets,
            max_bytes,
        }
    }

    /// Whether a text packet of `length` bytes, type digit included, still has room.
    pub fn fits_text(&self, length: usize) -> bool {
        if self.packets == 0 {
            return true;
        }
        let size = self.body.len().saturating_add(1).saturating_add(length);
        self.packets < self.max_packets && size <= self.max_bytes
    }

    /// Whether a binary message of `length` raw bytes still has room.
    pub fn fits_binary(&self, length: usize) -> bool {
        self.fits_text(binary_length(length))
    }

    /// Adds a text packet, type digit included. The caller must have checked `fits_text`.
    pub fn push_text(&mut self, packet: &[u8]) {
        self.start_packet(packet.len());
        self.body.extend_from_slice(packet);
    }

    /// Adds a binary message as `b` + base64. The caller must have checked `fits_binary`.
    pub fn push_binary(&mut self, data: &[u8]) {
        let length = binary_length(data.len());
        self.start_packet(length);
        let end = self.body.len() + length;
        self.body.push(BINARY_MARK as u8);
        let start = self.body.len();
        self.body.resize(end, 0);
        // The slice has exactly the encoded length, so this cannot fail.
        let written = BASE64.encode_slice(data, &mut self.body[start..]);
        debug_assert_eq!(written.ok(), Some(length - 1));
    }

    /// The number of packets.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// The body.
    pub fn finish(self) -> Vec<u8> {
        self.body
    }

    fn start_packet(&mut self, length: usize) {
        self.body.reserve(length + 1);
        if self.packets > 0 {
            self.body.push(SEPARATOR as u8);
        }
        self.packets += 1;
    }
}

/// Bytes of a binary message in a body.
fn binary_length(raw: usize) -> usize {
    raw.div_ceil(3).saturating_mul(4).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(body: &str) -> Vec<Result<PayloadPacket<'_>, PayloadError>> {
        decode(body).collect()
    }

    fn message(text: &str) -> Result<PayloadPacket<'_>, PayloadError> {
        Ok(PayloadPacket::Packet(Packet::Message(text)))
    }

    #[test]
    fn packets_are_split_at_the_separator() {
        let binary = Ok(PayloadPacket::Binary(vec![1, 2, 3, 4]));
        assert_eq!(
            packets("4hello\x1ebAQIDBA==\x1e4x"),
            [message("hello"), binary.clone(), message("x")]
        );
        // Stock Java clients wrap lines and terminate the last one too.
        for encoded in ["bAQIDBA", "bAQID\r\nBA==\r\n"] {
            assert_eq!(
                packets(&format!("{encoded}\x1e4x")),
                [binary.clone(), message("x")]
            );
        }
        assert_eq!(packets("b"), [Ok(PayloadPacket::Binary(Vec::new()))]);
        assert_eq!(packets("3"), [Ok(PayloadPacket::Packet(Packet::Pong("")))]);
    }

    #[test]
    fn the_first_error_ends_the_body() {
        let empty = || Err(PayloadError::Packet(PacketError::Empty));
        let unknown = |kind| Err(PayloadError::Packet(PacketError::UnknownType(kind)));
        assert_eq!(packets(""), [empty()]);
        assert_eq!(packets("abc"), [unknown('a')]);
        assert_eq!(packets("9"), [unknown('9')]);
        assert_eq!(packets("4a\x1e"), [message("a"), empty()]);
        assert_eq!(packets("4a\x1e\x1e4b"), [message("a"), empty()]);
        assert_eq!(packets("4a\x1e9\x1e4b"), [message("a"), unknown('9')]);
        let broken = packets("4a\x1eb*\x1e4b");
        assert_eq!(broken.len(), 2);
        assert!(matches!(broken[1], Err(PayloadError::Base64(_))));
    }

    #[test]
    fn a_response_keeps_its_limits_except_that_one_packet_always_fits() {
        let mut writer = PayloadWriter::new(2, 10);
        assert!(writer.fits_text(1000) && writer.fits_binary(1000));
        writer.push_text(b"4ab");
        assert!(writer.fits_text(6) && !writer.fits_text(7));
        assert!(writer.fits_binary(3) && !writer.fits_binary(4));
        writer.push_binary(&[1, 2, 3]);
        assert!(!writer.fits_text(0));
        assert_eq!(writer.packets(), 2);
        assert_eq!(writer.finish(), b"4ab\x1ebAQID");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            items in prop::collection::vec((any::<bool>(), "[^\x1e]{0,20}", prop::collection::vec(any::<u8>(), 0..20)), 1..8)
        ) {
            let mut writer = PayloadWriter::new(MAX_PACKETS, 1000);
            let mut expected = Vec::new();
            let mut sizes = Vec::new();
            for (is_text, text, data) in &items {
                let before = writer.body.len();
                if *is_text {
                    writer.push_text(format!("4{text}").as_bytes());
                    expected.push(message(text));
                } else {
                    writer.push_binary(data);
                    expected.push(Ok(PayloadPacket::Binary(data.clone())));
                    sizes.push((writer.body.len() - before, binary_length(data.len()) + usize::from(before > 0)));
                }
            }
            let body = String::from_utf8(writer.finish()).unwrap();
            prop_assert_eq!(packets(&body), expected);
            for (actual, promised) in sizes {
                prop_assert_eq!(actual, promised);
            }
        }

        #[test]
        fn any_body_is_read_or_rejected(body in ".*") {
            let read = packets(&body);
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
