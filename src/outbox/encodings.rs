//! One publish in every wire format that its receivers use, each encoded once. Formats whose bytes are equal share them.

use std::rc::Rc;

use smallvec::SmallVec;

use super::Packet;
use super::arena::{Arena, Range};
use super::chunk::{Chunk, Meter};
use super::deflater::{Deflater, Receivers};
use super::replaceable::ConflationId;
use crate::protocol::wire_format::{Compression, FormatCode, FormatSet, WireFormat};

/// A publish to several lanes of a worker, encoded on demand and once for each format.
#[derive(Debug)]
pub struct Encodings {
    staged: SmallVec<[Staged; 1]>,
    volatile: bool,
    conflate: Option<ConflationId>,
    receivers: Receivers,
}

impl Encodings {
    /// A publish that no lane has been offered. Lanes that are not ready drop it if it is volatile.
    pub fn new(volatile: bool) -> Self {
        Self {
            staged: SmallVec::new(),
            volatile,
            conflate: None,
            receivers: Receivers::Several,
        }
    }

    /// The same; these receive it.
    pub fn for_receivers(self, receivers: Receivers) -> Self {
        Self { receivers, ..self }
    }

    /// The same; it replaces the unsent packet with this id in lanes that are behind.
    pub fn replacing(self, conflate: Option<ConflationId>) -> Self {
        Self { conflate, ..self }
    }

    /// The encoding in `format`.
    #[inline]
    pub(super) fn staged(
        &mut self,
        format: FormatCode,
        deflater: Option<&mut Deflater>,
        encode: impl FnOnce(WireFormat) -> Packet,
    ) -> &mut Staged {
        let index = match self.position(format) {
            Some(known) => known,
            None => self.add(format, deflater, encode),
        };
        &mut self.staged[index]
    }

    #[inline]
    fn position(&self, format: FormatCode) -> Option<usize> {
        let mut staged = self.staged.iter();
        staged.position(|it| it.formats.contains(format))
    }

    /// Adds a format: encodes the publish, or compresses what is encoded already. Returns the index of the encoding.
    fn add(
        &mut self,
        format: FormatCode,
        deflater: Option<&mut Deflater>,
        encode: impl FnOnce(WireFormat) -> Packet,
    ) -> usize {
        if let Some(index) = self.share(format) {
            return index;
        }
        let plain = format.format().uncompressed();
        let index = match self.share(plain.code()) {
            Some(known) => known,
            None => self.push(plain.code(), encode(plain)),
        };
        let compressed = match format.format().compression {
            Compression::None => return index,
            Compression::Deflate => {
                deflater.and_then(|it| it.deflate(&self.staged[index].packet, self.receivers))
            }
        };
        match compressed {
            Some(packet) => self.push(format, packet),
            None => {
                self.staged[index].formats.insert(format);
                index
            }
        }
    }

    /// The index of an encoding with the bytes of this format: its own, or one text of another revision of Engine.IO.
    fn share(&mut self, format: FormatCode) -> Option<usize> {
        if let Some(known) = self.position(format) {
            return Some(known);
        }
        if !format.format().parser.writes_text() {
            return None;
        }
        let mut others = format.format().of_other_revisions();
        let index = others.find_map(|other| {
            let index = self.position(other.code())?;
            self.staged[index].packet.is_one_text().then_some(index)
        })?;
        self.staged[index].formats.insert(format);
        Some(index)
    }

    fn push(&mut self, format: FormatCode, packet: Packet) -> usize {
        self.staged.push(Staged {
            volatile: self.volatile,
            conflate: self.conflate,
            ..Staged::shared(format, packet)
        });
        self.staged.len() - 1
    }

    /// How many lanes have accepted the publish, and the bytes of all those packets on a websocket.
    pub fn accepted(&self) -> (u64, u64) {
        self.staged.iter().fold((0, 0), |(lanes, bytes), staged| {
            let length = staged.packet.wire().len() as u64;
            (lanes + staged.accepted, bytes + staged.accepted * length)
        })
    }

    /// How many unsent packets it has replaced.
    pub fn replaced(&self) -> u64 {
        self.staged.iter().map(|staged| staged.replaced).sum()
    }
}

/// A packet and where it is staged: in an arena, for all lanes that are offered it.
#[derive(Debug)]
pub(super) struct Staged {
    /// The formats that share these bytes.
    formats: FormatSet,
    pub(super) packet: Packet,
    pub(super) volatile: bool,
    /// Packets with the same id that are unsent are replaced.
    pub(super) conflate: Option<ConflationId>,
    pub(super) arena: Arena,
    /// The generation of the arenas, and the packet's range in that generation.
    pub(super) range: Option<(u64, Range)>,
    /// The packet as queues reference it, apart from other packets of its batch.
    chunk: Option<Rc<Chunk>>,
    /// Lanes that accepted it as one of the encodings of a publish.
    pub(super) accepted: u64,
    /// Packets that it replaced.
    pub(super) replaced: u64,
}

impl Staged {
    /// A packet for several lanes.
    pub(super) fn shared(format: FormatCode, packet: Packet) -> Self {
        Self::new(format, packet, Arena::of(format.format()))
    }

    /// A packet for one lane.
    pub(super) fn personal(format: FormatCode, packet: Packet) -> Self {
        Self::new(format, packet, Arena::Personal)
    }

    fn new(format: FormatCode, packet: Packet, arena: Arena) -> Self {
        Self {
            formats: FormatSet::of(format),
            packet,
            volatile: false,
            conflate: None,
            arena,
            range: None,
            chunk: None,
            accepted: 0,
            replaced: 0,
        }
    }

    /// The packet as queues reference it, created once for all of them.
    pub(super) fn chunk(&mut self, meter: &Meter) -> Rc<Chunk> {
        let chunk = self
            .chunk
            .get_or_insert_with(|| Chunk::packet(self.packet.clone(), meter));
        Rc::clone(chunk)
    }
}

#[cfg(test)]
impl Encodings {
    /// Number of different encodings.
    pub(super) fn count(&self) -> usize {
        self.staged.len()
    }
}

#[cfg(test)]
impl Staged {
    /// A packet for several lanes of the default format.
    pub(super) fn reliable(packet: Packet) -> Self {
        Self::shared(WireFormat::default().code(), packet)
    }

    /// A packet that lanes drop if they are not ready.
    pub(super) fn volatile(packet: Packet) -> Self {
        Self {
            volatile: true,
            ..Self::reliable(packet)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::Payload;
    use crate::outbox::{Bounds, Lanes, Offered, Share};
    use crate::protocol::engine_io::EngineRevision;
    use crate::protocol::server_packet::ServerPacket;
    use crate::protocol::wire_format::{Parser, binary_parser};

    #[test]
    fn revisions_in_which_a_publish_has_the_same_bytes_share_one_encoding() {
        let of = |revision| WireFormat {
            revision,
            ..WireFormat::default()
        };
        let (v4, v3, base64) = (
            of(EngineRevision::V4),
            of(EngineRevision::V3),
            of(EngineRevision::V3Base64),
        );
        let text = || Packet::text("4text");
        let attached = || Packet::with_attachments("451-[]", &[Bytes::from_static(b"x")]);
        let binary = binary_parser::format();
        let binary_v3 = WireFormat {
            revision: EngineRevision::V3,
            ..binary
        };
        type Case<'a> = (&'a dyn Fn() -> Packet, &'a [WireFormat], &'a [WireFormat]);
        let cases: [Case<'_>; 4] = [
            (&text, &[v4, v3, base64, v4, v3], &[v4]),
            (&text, &[base64, v4, v3], &[base64]),
            (&attached, &[v4, v3, base64, v3], &[v4, v3, base64]),
            (
                &|| Packet::binary(b"x"),
                &[binary, binary_v3, binary],
                &[binary, binary_v3],
            ),
        ];
        for (packet, members, expected) in cases {
            let (mut publish, mut encoded) = (Encodings::new(false), Vec::new());
            for format in members {
                let staged = publish.staged(format.code(), None, |format| {
                    encoded.push(format);
                    packet()
                });
                staged.accepted += 1;
            }
            assert_eq!(encoded, expected);
            assert_eq!(publish.accepted().0, members.len() as u64);
        }
    }

    #[test]
    fn a_binary_message_that_is_base64_for_some_clients_is_not_shared() {
        use EngineRevision::{V3, V3Base64, V4};
        let payload = Payload::event("e", ["1"]);
        for first in [V4, V3, V3Base64] {
            for compression in [Compression::None, Compression::Deflate] {
                let mut publish = Encodings::new(false);
                for revision in [first, V4, V3, V3Base64] {
                    let format = WireFormat {
                        revision,
                        parser: Parser::Msgpack,
                        compression,
                        ..WireFormat::default()
                    };
                    let encode = |it| Packet::encode(it, &ServerPacket::event("/", &payload));
                    let staged = publish.staged(format.code(), None, encode);
                    assert_eq!(staged.packet.wire(), encode(format).wire(), "{format:?}");
                }
                assert_eq!(publish.count(), 3);
            }
        }
    }

    #[test]
    fn a_compressed_publish_is_shared_by_revisions_too() {
        let text = "4".repeat(2000);
        let mut deflater = Deflater::new(100, 6, Default::default());
        let mut publish = Encodings::new(false);
        for revision in [EngineRevision::V4, EngineRevision::V3] {
            for compression in [Compression::Deflate, Compression::None] {
                let format = WireFormat {
                    revision,
                    compression,
                    ..WireFormat::default()
                };
                let encode = |_| Packet::text(&text);
                let staged = publish.staged(format.code(), Some(&mut deflater), encode);
                let compressed = staged.packet.wire().len() < 1000;
                assert_eq!(compressed, compression == Compression::Deflate);
            }
        }
        assert_eq!(publish.count(), 2);
    }

    #[test]
    fn a_publish_is_encoded_once_for_each_format_and_each_lane_receives_its_own() {
        let bounds = Bounds {
            soft: 1000,
            hard: 2000,
        };
        let mut lanes = Lanes::new(bounds, Share::default());
        let formats = [WireFormat::default(), binary_parser::format()];
        let receivers: Vec<_> = (0..6)
            .map(|n| (lanes.open(formats[n % 2]), formats[n % 2]))
            .collect();
        let packet = |format| match format == WireFormat::default() {
            true => Packet::text("4text"),
            false => Packet::binary(b"binary!"),
        };
        let (mut publish, mut encoded) = (Encodings::new(false), Vec::new());
        for (lane, _) in &receivers {
            let offered = lanes.offer_encoded(*lane, &mut publish, |format| {
                encoded.push(format);
                packet(format)
            });
            assert_eq!(offered, Offered::Accepted);
        }
        assert_eq!(encoded, formats);
        let bytes = formats.map(|format| packet(format).wire().len() as u64);
        assert_eq!(publish.accepted(), (6, 3 * (bytes[0] + bytes[1])));
        for (lane, format) in receivers {
            let front = lanes.front(lane).unwrap();
            assert_eq!(front.wire(), packet(format).wire());
        }
    }
}
