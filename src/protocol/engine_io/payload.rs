//! The body of a polling request or response: packets joined by the record separator (docs/protocol.md#13-polling), or
//! those of revision 3, which `payload_v3` frames.
//!
//! How many packets or bytes a request may hold is up to the reader of the request; responses are bounded here.

use base64::Engine;

use super::packet::{Packet, PayloadError, PayloadPacket};
use super::payload_v3::{self, Frames, PacketsV3};
use super::revision::EngineRevision;
use crate::model::base64::{BASE64, decode_lenient};

const SEPARATOR: char = '\x1e';
const BINARY_MARK: char = 'b';

/// Maximum number of packets in one response: python-engineio clients reject more (docs/protocol.md#13-polling).
pub const MAX_PACKETS: usize = 16;

/// The packets of a body in a revision.
#[derive(Debug, Clone)]
pub enum BodyPackets<'a> {
    V4(PayloadPackets<'a>),
    V3(PacketsV3<'a>),
}

impl<'a> BodyPackets<'a> {
    /// Decodes the body of a POST.
    ///
    /// # Errors
    /// It is not text, as it must be in revision 4.
    pub fn decode(revision: EngineRevision, body: &'a [u8]) -> Result<Self, PayloadError> {
        Ok(match revision.is_v3() {
            true => Self::V3(payload_v3::decode(body)),
            false => Self::V4(decode(std::str::from_utf8(body)?)),
        })
    }

    /// The packets that are not decoded yet, as a separate body.
    pub fn rest(&self) -> Option<&'a [u8]> {
        match self {
            Self::V4(packets) => packets.rest().map(str::as_bytes),
            Self::V3(packets) => packets.rest(),
        }
    }
}

impl<'a> Iterator for BodyPackets<'a> {
    type Item = Result<PayloadPacket<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::V4(packets) => packets.next(),
            Self::V3(packets) => packets.next(),
        }
    }
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
    body: PollBody,
    max_packets: usize,
    max_bytes: usize,
}

#[derive(Debug)]
enum PollBody {
    Separated { body: Vec<u8>, packets: usize },
    Framed(Frames),
}

impl PayloadWriter {
    /// A response of at most `max_packets` packets and `max_bytes` bytes, separators or lengths included.
    pub fn new(revision: EngineRevision, max_packets: usize, max_bytes: usize) -> Self {
        Self {
            body: match revision.is_v3() {
                true => PollBody::Framed(Frames::default()),
                false => PollBody::Separated {
                    body: Vec::new(),
                    packets: 0,
                },
            },
            max_packets,
            max_bytes,
        }
    }

    /// Upper bound of the bytes that a text packet of `length` bytes, type digit included, takes in the body.
    pub fn text_size(&self, length: usize) -> usize {
        let overhead = match self.body {
            PollBody::Separated { .. } => 1,
            PollBody::Framed(_) => payload_v3::MAX_HEADER,
        };
        length.saturating_add(overhead)
    }

    /// Upper bound of the bytes that a binary message takes in the body, given its bytes on a websocket.
    pub fn binary_size(&self, length: usize) -> usize {
        match self.body {
            PollBody::Separated { .. } => self.text_size(binary_length(length)),
            PollBody::Framed(_) => self.text_size(length),
        }
    }

    /// Whether `packets` more packets, which take `bytes` bytes together, still have room.
    pub fn fits(&self, packets: usize, bytes: usize) -> bool {
        let size = match &self.body {
            PollBody::Separated { body, .. } => body.len(),
            PollBody::Framed(frames) => frames.size(),
        };
        self.packets() == 0
            || (self.packets() + packets <= self.max_packets
                && size.saturating_add(bytes) <= self.max_bytes)
    }

    /// Adds a text packet, type digit included.
    pub fn push_text(&mut self, packet: &[u8]) {
        match &mut self.body {
            PollBody::Separated { body, packets } => {
                start_packet(body, packets, packet.len());
                body.extend_from_slice(packet);
            }
            PollBody::Framed(frames) => frames.push(packet, true),
        }
    }

    /// Adds a binary message, as it is on a websocket: in revision 4 as `b` + base64.
    pub fn push_binary(&mut self, data: &[u8]) {
        match &mut self.body {
            PollBody::Separated { body, packets } => {
                let length = binary_length(data.len());
                start_packet(body, packets, length);
                let end = body.len() + length;
                body.push(BINARY_MARK as u8);
                let start = body.len();
                body.resize(end, 0);
                // The slice has exactly the encoded length, so this cannot fail.
                let written = BASE64.encode_slice(data, &mut body[start..]);
                debug_assert_eq!(written.ok(), Some(length - 1));
            }
            PollBody::Framed(frames) => frames.push(data, false),
        }
    }

    /// The number of packets.
    pub fn packets(&self) -> usize {
        match &self.body {
            PollBody::Separated { packets, .. } => *packets,
            PollBody::Framed(frames) => frames.packets(),
        }
    }

    /// The body.
    pub fn finish(self) -> Vec<u8> {
        match self.body {
            PollBody::Separated { body, .. } => body,
            PollBody::Framed(frames) => frames.finish(),
        }
    }
}

fn start_packet(body: &mut Vec<u8>, packets: &mut usize, length: usize) {
    body.reserve(length + 1);
    if *packets > 0 {
        body.push(SEPARATOR as u8);
    }
    *packets += 1;
}

/// Bytes of a binary message in a body.
fn binary_length(raw: usize) -> usize {
    raw.div_ceil(3).saturating_mul(4).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::PacketError;
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
        let mut writer = PayloadWriter::new(EngineRevision::V4, 2, 10);
        let text = |writer: &PayloadWriter, length| writer.fits(1, writer.text_size(length));
        let binary = |writer: &PayloadWriter, length| writer.fits(1, writer.binary_size(length));
        assert!(text(&writer, 1000) && binary(&writer, 1000) && writer.fits(9, 9));
        writer.push_text(b"4ab");
        assert!(text(&writer, 6) && !text(&writer, 7));
        assert!(binary(&writer, 3) && !binary(&writer, 4));
        writer.push_binary(&[1, 2, 3]);
        assert!(!text(&writer, 0));
        assert_eq!(writer.packets(), 2);
        assert_eq!(writer.finish(), b"4ab\x1ebAQID");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            items in prop::collection::vec((any::<bool>(), "[^\x1e]{0,20}", prop::collection::vec(any::<u8>(), 0..20)), 1..8)
        ) {
            let length = |writer: &PayloadWriter| match &writer.body {
                PollBody::Separated { body, .. } => body.len(),
                PollBody::Framed(_) => unreachable!(),
            };
            let mut writer = PayloadWriter::new(EngineRevision::V4, MAX_PACKETS, 1000);
            let mut expected = Vec::new();
            let mut sizes = Vec::new();
            for (is_text, text, data) in &items {
                let before = length(&writer);
                if *is_text {
                    writer.push_text(format!("4{text}").as_bytes());
                    expected.push(message(text));
                } else {
                    writer.push_binary(data);
                    expected.push(Ok(PayloadPacket::Binary(data.clone())));
                    sizes.push((length(&writer) - before, binary_length(data.len()) + usize::from(before > 0)));
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
