//! Compresses packets for clients that negotiated permessage-deflate without context takeover (RFC 7692): the compressed
//! bytes depend on the packet alone, so all clients of a worker share them.

use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress};

use super::Packet;
use crate::metrics::Metrics;
use crate::metrics::labels::CompressionBytes;

/// The window in bits, the largest.
const WINDOW_BITS: u8 = 15;
/// Larger messages, in bytes, are compressed at the fastest level: a worker does nothing else meanwhile.
const LARGE: usize = 128 * 1024;
/// Larger messages, in bytes, are sent as they are.
const LARGEST: usize = 1 << 20;
/// The last bytes of a flushed stream, which are not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Capacity that the buffer keeps, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Who receives a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receivers {
    /// One client: the fastest level, because one transfer saves little.
    One,
    /// Those of a publish.
    Several,
}

/// A compressor of one level, created for its first message.
struct Stream {
    level: Compression,
    stream: Option<Box<Compress>>,
}

/// The compressor of a worker.
pub struct Deflater {
    threshold: usize,
    /// For messages to several clients.
    chosen: Stream,
    fastest: Stream,
    buffer: Vec<u8>,
    metrics: Arc<Metrics>,
}

impl Deflater {
    /// Compresses messages of at least `threshold` bytes, those to several clients with this level, 1 to 9.
    pub fn new(threshold: usize, level: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            threshold,
            chosen: Stream::new(level),
            fastest: Stream::new(1),
            buffer: Vec::new(),
            metrics,
        }
    }

    /// The packet with compressed messages; `None` if each is below the threshold or would not become smaller.
    pub(super) fn deflate(&mut self, packet: &Packet, receivers: Receivers) -> Option<Packet> {
        let Self {
            threshold,
            chosen,
            fastest,
            buffer,
            metrics,
        } = self;
        let eligible = *threshold..=LARGEST;
        let compressed = packet.compressed(buffer, |content, out| {
            if !eligible.contains(&content.len()) {
                return false;
            }
            let is_cheap = receivers == Receivers::Several && content.len() <= LARGE;
            let stream = if is_cheap {
                &mut *chosen
            } else {
                &mut *fastest
            };
            let smaller = stream.compress(content, out);
            let after = if smaller { out.len() } else { content.len() };
            let bytes = &metrics.websocket_compression_bytes_total;
            bytes.of(CompressionBytes::Before).add(content.len() as u64);
            bytes.of(CompressionBytes::After).add(after as u64);
            smaller
        });
        if buffer.capacity() > KEPT_CAPACITY {
            *buffer = Vec::new();
        }
        compressed
    }
}

impl Stream {
    fn new(level: u32) -> Self {
        Self {
            level: Compression::new(level),
            stream: None,
        }
    }

    /// Compresses `content` into the empty `out`; returns whether it became smaller.
    fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> bool {
        let new = || Compress::new_with_window_bits(self.level, false, WINDOW_BITS);
        let stream = self.stream.get_or_insert_with(|| Box::new(new()));
        stream.reset();
        out.reserve(content.len() + TAIL.len());
        let compressed = stream.compress_vec(content, out, FlushCompress::Sync);
        let done = compressed.is_ok()
            && stream.total_in() == content.len() as u64
            // Otherwise the end of the stream did not fit.
            && out.len() < out.capacity()
            && out.ends_with(&TAIL);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        done && out.len() < content.len()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;

    use super::*;
    use crate::outbox::fake_socket::FakeSocket;
    use crate::outbox::{Bounds, Encodings, LaneId, Lanes, Offered, Share};
    use crate::protocol::websocket::{Frame, FrameDecoder};
    use crate::protocol::wire_format::{self, WireFormat, binary_parser};

    const THRESHOLD: usize = 100;
    const BOUNDS: Bounds = Bounds {
        soft: 100_000,
        hard: 200_000,
    };

    fn deflater() -> Deflater {
        Deflater::new(THRESHOLD, 6, Arc::default())
    }

    fn deflate_of(format: WireFormat) -> WireFormat {
        let compression = wire_format::Compression::Deflate;
        WireFormat {
            compression,
            ..format
        }
    }

    /// The messages that a client decodes.
    fn messages(wire: &[u8]) -> Vec<Vec<u8>> {
        let compression = wire_format::Compression::Deflate;
        let mut decoder = FrameDecoder::of_server(1 << 21).with_compression(compression);
        let mut messages = Vec::new();
        let decoded = decoder.decode::<()>(&mut wire.to_vec(), &mut |frame| {
            messages.push(match frame {
                Frame::Text(text) => text.as_bytes().to_vec(),
                Frame::Binary(content) => content.to_vec(),
                other => panic!("{other:?}"),
            });
            Ok(())
        });
        decoded.unwrap();
        messages
    }

    #[test]
    fn only_messages_from_the_threshold_on_that_become_smaller_are_compressed() {
        let next = |seed: &u32| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let noise = std::iter::successors(Some(1_u32), next).map(|seed| (seed >> 24) as u8);
        let noise: Vec<u8> = noise.take(500).collect();
        let below = "x".repeat(THRESHOLD - 1);
        let repeated = "y".repeat(THRESHOLD);
        let bytes = |content: &[u8]| Bytes::copy_from_slice(content);
        // By the first byte of each frame: 0xc1 and 0xc2 are compressed.
        for (text, attachments, first_bytes) in [
            (&*below, vec![], None),
            (&*repeated, vec![], Some(vec![0xc1])),
            (
                &*below,
                vec![bytes(repeated.as_bytes())],
                Some(vec![0x81, 0xc2]),
            ),
            (&*repeated, vec![bytes(b"short")], Some(vec![0xc1, 0x82])),
            (&*below, vec![bytes(&noise)], None),
            (
                &*repeated,
                vec![bytes(&noise), bytes(repeated.as_bytes())],
                Some(vec![0xc1, 0x82, 0xc2]),
            ),
        ] {
            let packet = Packet::with_attachments(text, &attachments);
            let mut deflater = deflater();
            let compressed = deflater.deflate(&packet, Receivers::Several);
            let firsts = compressed.as_ref().map(|packet| {
                let mut start = 0;
                packet
                    .parts()
                    .map(|part| {
                        let first = packet.wire()[start];
                        let position = part.content.as_ptr().addr() - packet.wire().as_ptr().addr();
                        start = position + part.content.len();
                        first
                    })
                    .collect::<Vec<_>>()
            });
            assert_eq!(firsts, first_bytes);
            if let Some(compressed) = compressed {
                assert_eq!(messages(compressed.wire()), messages(packet.wire()));
                assert!(compressed.wire().len() < packet.wire().len());
            }
        }
    }

    #[test]
    fn messages_are_compressed_independently_of_earlier_ones_and_counted() {
        let mut deflater = deflater();
        let packet = Packet::text("abc".repeat(1000));
        let first = deflater.deflate(&packet, Receivers::Several).unwrap();
        let other = Packet::text("d".repeat(10_000));
        deflater.deflate(&other, Receivers::Several).unwrap();
        let again = deflater.deflate(&packet, Receivers::Several).unwrap();
        assert_eq!(first.wire(), again.wire());
        let bytes = &deflater.metrics.websocket_compression_bytes_total;
        assert_eq!(bytes.of(CompressionBytes::Before).get(), 16_000);
        let after = bytes.of(CompressionBytes::After).get();
        assert!((20..200).contains(&after), "{after}");
        let large = Packet::text("x".repeat(LARGEST + 1));
        assert!(deflater.deflate(&large, Receivers::Several).is_none());
        for control in [
            Packet::close(Some(1000), &"x".repeat(120)),
            Packet::websocket_pong(&[b'x'; 120]),
        ] {
            assert!(deflater.deflate(&control, Receivers::Several).is_none());
        }
    }

    #[test]
    fn messages_to_one_client_and_large_ones_are_compressed_at_the_fastest_level() {
        let text: String = (0..40_000).map(|n| format!("{n},")).collect();
        let mut fastest = Deflater::new(THRESHOLD, 1, Arc::default());
        for (bytes, receivers, is_fastest) in [
            (10_000, Receivers::Several, false),
            (10_000, Receivers::One, true),
            (LARGE, Receivers::Several, false),
            (LARGE + 1, Receivers::Several, true),
        ] {
            let packet = Packet::text(&text[..bytes]);
            let compressed = deflater().deflate(&packet, receivers).unwrap();
            let quick = fastest.deflate(&packet, receivers).unwrap();
            assert_eq!(compressed.wire() == quick.wire(), is_fastest);
            assert_eq!(messages(compressed.wire()), messages(packet.wire()));
        }
    }

    fn publish(lanes: &mut Lanes, members: &[LaneId], packet: &Packet) -> (Encodings, usize) {
        let (mut publish, mut encoded) = (Encodings::new(false), 0);
        for member in members {
            let offered = lanes.offer_encoded(*member, &mut publish, |format| {
                assert_eq!(format.compression, wire_format::Compression::None);
                encoded += 1;
                packet.clone()
            });
            assert_eq!(offered, Offered::Accepted);
        }
        (publish, encoded)
    }

    #[test]
    fn a_publish_is_encoded_and_compressed_once_and_small_ones_are_shared_with_other_members() {
        let plain = WireFormat::default();
        let formats = [deflate_of(plain), plain, deflate_of(plain)];
        let mut lanes = Lanes::new(BOUNDS, Share::default());
        lanes.set_deflater(deflater());
        let sockets = formats.map(|_| FakeSocket::with_room(usize::MAX / 2));
        let members = formats.map(|format| lanes.open(format));
        for (member, socket) in members.iter().zip(&sockets) {
            lanes.attach(*member, Rc::clone(socket) as Rc<_>);
        }
        let small = Packet::text("4small");
        let (shared, encoded) = publish(&mut lanes, &members, &small);
        assert_eq!((encoded, shared.count()), (1, 1));
        let large = Packet::text("large ".repeat(100));
        let (encodings, encoded) = publish(&mut lanes, &members, &large);
        assert_eq!((encoded, encodings.count()), (1, 2));
        lanes.flush(usize::MAX);
        let compressed = deflater().deflate(&large, Receivers::Several).unwrap();
        let bytes = 2 * compressed.wire().len() + large.wire().len();
        assert_eq!(encodings.accepted(), (3, bytes as u64));
        for (socket, format) in sockets.iter().zip(formats) {
            let expected = match format == plain {
                true => &large,
                false => &compressed,
            };
            let received = [small.wire(), expected.wire()].concat();
            assert_eq!(*socket.received.borrow(), received);
        }
    }

    #[test]
    fn each_parser_has_a_compressed_encoding_of_its_own_and_queues_count_compressed_bytes() {
        let formats = [WireFormat::default(), binary_parser::format()];
        let formats = formats.map(deflate_of);
        let mut lanes = Lanes::new(BOUNDS, Share::default());
        lanes.set_deflater(deflater());
        let members = formats.map(|format| lanes.open(format));
        let packets = [Packet::text("t".repeat(500)), Packet::binary(&[7; 900])];
        let mut publish = Encodings::new(false);
        for (member, packet) in members.iter().zip(&packets) {
            lanes.offer_encoded(*member, &mut publish, |_| packet.clone());
        }
        assert_eq!(publish.count(), 4);
        lanes.flush(usize::MAX);
        for (member, packet) in members.into_iter().zip(packets) {
            let compressed = deflater().deflate(&packet, Receivers::Several).unwrap();
            assert_eq!(lanes.queued_bytes(member), compressed.wire().len());
            let personal = lanes.compressed(member, packet.clone());
            let expected = deflater().deflate(&packet, Receivers::One).unwrap();
            assert_eq!(personal.wire(), expected.wire());
            assert_eq!(messages(compressed.wire()), messages(packet.wire()));
            assert!(compressed.wire().len() < 40);
        }
    }

    #[test]
    fn without_a_compressor_members_that_accept_compression_share_the_plain_encoding() {
        let plain = WireFormat::default();
        let mut lanes = Lanes::new(BOUNDS, Share::default());
        let members = [plain, deflate_of(plain)].map(|format| lanes.open(format));
        let large = Packet::text("x".repeat(1000));
        let (encodings, encoded) = publish(&mut lanes, &members, &large);
        assert_eq!((encoded, encodings.count()), (1, 1));
        let personal = lanes.compressed(members[1], large.clone());
        assert_eq!(personal.wire(), large.wire());
    }
}
