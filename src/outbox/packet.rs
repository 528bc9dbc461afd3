//! A packet for a client, encoded once for every transport.

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine;
use bytes::Bytes;
use smallvec::SmallVec;

use crate::model::base64::BASE64;
use crate::protocol::engine_io::revision::BinaryForm;
use crate::protocol::server_packet::MessageWriter;
use crate::protocol::websocket::{
    MAX_SERVER_HEADER, OpCode, close_frame, encode_compressed_header, encode_header,
    server_header_len,
};
use crate::protocol::{ServerPacket, WireFormat};

/// Bytes of a close frame's header: a control frame is short.
const CLOSE_HEADER: u32 = 2;
/// Capacity that the text buffer of a thread keeps, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// An Engine.IO packet with its attachments, as websocket frames; long polling takes the frames' contents.
///
/// Cloning shares the bytes within the worker thread.
#[derive(Debug, Clone)]
pub struct Packet(Rc<Encoded>);

#[derive(Debug)]
struct Encoded {
    wire: Box<[u8]>,
    parts: SmallVec<[PartSpan; 1]>,
}

#[derive(Debug, Clone, Copy)]
struct PartSpan {
    kind: PartKind,
    start: u32,
    end: u32,
}

/// What a part of a packet is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A text packet, type digit included.
    Text,
    /// A binary message.
    Binary,
    /// The end of the connection: a close frame on websocket, packet `1` on polling.
    Close,
}

/// One part without its websocket header.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub kind: PartKind,
    pub content: &'a [u8],
}

impl Packet {
    /// A packet of the server in the format of its client.
    pub fn encode(format: WireFormat, packet: &ServerPacket<'_>) -> Self {
        let mut builder = Builder::new(format.revision.binary_form());
        format.encode(packet, &mut builder);
        builder.finish()
    }

    /// Whether it is one text message.
    pub(super) fn is_one_text(&self) -> bool {
        matches!(
            self.0.parts[..],
            [PartSpan {
                kind: PartKind::Text,
                ..
            }]
        )
    }

    /// A text packet, for example `3probe`.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        let mut builder = Builder::new(BinaryForm::Bare);
        builder.push(PartKind::Text, OpCode::Text, text.as_ref());
        builder.finish()
    }

    /// The last packet of a connection. Without a code the client sees 1005, as with the reference server.
    pub fn close(code: Option<u16>, reason: &str) -> Self {
        let wire = close_frame(code, reason);
        let span = PartSpan {
            kind: PartKind::Close,
            start: CLOSE_HEADER,
            end: wire.len() as u32,
        };
        Self(Rc::new(Encoded {
            wire: wire.into_boxed_slice(),
            parts: smallvec::smallvec![span],
        }))
    }

    /// A pong of the websocket protocol (not Engine.IO's).
    pub fn websocket_pong(content: &[u8]) -> Self {
        let mut builder = Builder::new(BinaryForm::Bare);
        builder.frame(OpCode::Pong, &[], content);
        builder.finish()
    }

    /// The websocket frames, ready to be written.
    pub fn wire(&self) -> &[u8] {
        &self.0.wire
    }

    /// Whether it has binary attachments.
    pub(super) fn has_attachments(&self) -> bool {
        self.0.parts.len() > 1
    }

    /// The packet with compressed messages. `compress` writes what a message becomes into an empty buffer, or returns
    /// `false` if it stays as it is; `None` if all do. Close frames are not messages.
    pub(super) fn compressed(
        &self,
        buffer: &mut Vec<u8>,
        mut compress: impl FnMut(&[u8], &mut Vec<u8>) -> bool,
    ) -> Option<Self> {
        let mut builder: Option<Builder> = None;
        for (index, part) in self.parts().enumerate() {
            let opcode = match part.kind {
                PartKind::Text => OpCode::Text,
                PartKind::Binary => OpCode::Binary,
                PartKind::Close => return None,
            };
            buffer.clear();
            if compress(part.content, buffer) {
                let builder = builder.get_or_insert_with(|| self.first_parts(index));
                builder.push_compressed(part.kind, opcode, buffer);
            } else if let Some(builder) = &mut builder {
                builder.push(part.kind, opcode, part.content);
            }
        }
        builder.map(Builder::finish)
    }

    /// The frames of the first `count` parts.
    fn first_parts(&self, count: usize) -> Builder {
        let parts = &self.0.parts[..count];
        let end = parts.last().map_or(0, |part| part.end as usize);
        Builder {
            wire: self.0.wire[..end].to_vec(),
            parts: parts.into(),
            binary: BinaryForm::Bare,
        }
    }

    /// The packet and its attachments in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.parts.iter().map(|span| Part {
            kind: span.kind,
            content: &self.0.wire[span.start as usize..span.end as usize],
        })
    }
}

/// Collects the frames of a packet.
struct Builder {
    wire: Vec<u8>,
    parts: SmallVec<[PartSpan; 1]>,
    binary: BinaryForm,
}

impl MessageWriter for Builder {
    fn text(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        TEXT.with_borrow_mut(|text| {
            text.clear();
            write(text);
            let binary = attachments.iter().map(|it| self.binary_size(it));
            let header = server_header_len(text.len());
            self.wire
                .reserve_exact(header + text.len() + binary.sum::<usize>());
            self.push(PartKind::Text, OpCode::Text, text);
            for attachment in attachments {
                self.binary(attachment);
            }
            if text.capacity() > KEPT_CAPACITY {
                *text = Vec::new();
            }
        });
    }

    fn binary(&mut self, content: &[u8]) {
        let prefix = self.binary.prefix();
        match self.binary {
            BinaryForm::Bare | BinaryForm::Typed => {
                self.push_with(PartKind::Binary, OpCode::Binary, prefix, content);
            }
            BinaryForm::Base64 => {
                let encoded = BASE64.encode(content);
                self.push_with(PartKind::Text, OpCode::Text, prefix, encoded.as_bytes());
            }
        }
    }
}

impl Builder {
    fn new(binary: BinaryForm) -> Self {
        Self {
            wire: Vec::new(),
            parts: SmallVec::new(),
            binary,
        }
    }

    /// Upper bound of the bytes of a binary message.
    fn binary_size(&self, content: &[u8]) -> usize {
        let length = match self.binary {
            BinaryForm::Bare | BinaryForm::Typed => content.len(),
            BinaryForm::Base64 => content.len().div_ceil(3) * 4,
        };
        MAX_SERVER_HEADER + self.binary.prefix().len() + length
    }

    fn push(&mut self, kind: PartKind, opcode: OpCode, content: &[u8]) {
        self.push_with(kind, opcode, &[], content);
    }

    fn push_with(&mut self, kind: PartKind, opcode: OpCode, prefix: &[u8], content: &[u8]) {
        self.frame(opcode, prefix, content);
        self.end_part(kind, prefix.len() + content.len());
    }

    fn push_compressed(&mut self, kind: PartKind, opcode: OpCode, content: &[u8]) {
        let header = server_header_len(content.len());
        self.wire.reserve_exact(header + content.len());
        encode_compressed_header(opcode, content.len(), &mut self.wire);
        self.wire.extend_from_slice(content);
        self.end_part(kind, content.len());
    }

    /// The part consists of the last `length` bytes.
    fn end_part(&mut self, kind: PartKind, length: usize) {
        let end = self.wire.len() as u32;
        let start = end - length as u32;
        self.parts.push(PartSpan { kind, start, end });
    }

    fn frame(&mut self, opcode: OpCode, prefix: &[u8], content: &[u8]) {
        let length = prefix.len() + content.len();
        if self.wire.capacity() == 0 {
            self.wire.reserve_exact(server_header_len(length) + length);
        }
        encode_header(opcode, length, &mut self.wire);
        self.wire.extend_from_slice(prefix);
        self.wire.extend_from_slice(content);
    }

    fn finish(self) -> Packet {
        Packet(Rc::new(Encoded {
            wire: self.wire.into_boxed_slice(),
            parts: self.parts,
        }))
    }
}

#[cfg(test)]
impl Packet {
    /// A text packet and its attachments.
    pub(super) fn with_attachments(text: &str, attachments: &[Bytes]) -> Self {
        let mut builder = Builder::new(BinaryForm::Bare);
        builder.text(attachments, |out| out.extend_from_slice(text.as_bytes()));
        builder.finish()
    }

    /// A binary message.
    pub(super) fn binary(content: &[u8]) -> Self {
        let mut builder = Builder::new(BinaryForm::Bare);
        builder.binary(content);
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::engine_io::EngineRevision;
    use crate::protocol::wire_format::Parser;

    #[test]
    fn attachments_follow_their_header_without_a_gap() {
        let packet = Packet::with_attachments("451-[]", &[Bytes::from_static(b"\x01\x02")]);
        assert_eq!(packet.wire(), b"\x81\x06451-[]\x82\x02\x01\x02");
        let parts: Vec<_> = packet
            .parts()
            .map(|p| (p.kind, p.content.to_vec()))
            .collect();
        assert_eq!(
            parts,
            [
                (PartKind::Text, b"451-[]".to_vec()),
                (PartKind::Binary, vec![1, 2])
            ]
        );
    }

    #[test]
    fn binary_messages_of_revision_3_have_their_type_or_are_base64() {
        let payload = crate::model::Payload::event("e", [r#"{"_placeholder":true,"num":0}"#])
            .with_attachments(vec![Bytes::from_static(&[1, 2, 3, 4])]);
        let text = br#"451-["e",{"_placeholder":true,"num":0}]"#.to_vec();
        let parts = |revision, parser| {
            let format = WireFormat {
                revision,
                parser,
                ..WireFormat::default()
            };
            let packet = Packet::encode(format, &ServerPacket::event("/", &payload));
            let contents = packet
                .parts()
                .map(|part| (part.kind, part.content.to_vec()));
            let contents: Vec<_> = contents.collect();
            let content: usize = contents.iter().map(|(_, content)| content.len() + 2).sum();
            assert_eq!(packet.wire().len(), content);
            contents
        };
        let v3 = parts(EngineRevision::V3, Parser::Json);
        let binary = (PartKind::Binary, vec![4, 1, 2, 3, 4]);
        assert_eq!(v3, [(PartKind::Text, text.clone()), binary]);
        let base64 = parts(EngineRevision::V3Base64, Parser::Json);
        let binary = (PartKind::Text, b"b4AQIDBA==".to_vec());
        assert_eq!(base64, [(PartKind::Text, text), binary]);
        let bare = parts(EngineRevision::V4, Parser::Msgpack);
        let [(PartKind::Binary, bare)] = &bare[..] else {
            panic!("{bare:?}");
        };
        let v3 = parts(EngineRevision::V3, Parser::Msgpack);
        let typed = (PartKind::Binary, [&[4], bare.as_slice()].concat());
        assert_eq!(v3, [typed]);
    }

    #[test]
    fn a_close_without_code_is_an_empty_frame() {
        assert_eq!(Packet::close(None, "").wire(), b"\x88\x00");
        assert_eq!(
            Packet::close(Some(1009), "big").wire(),
            b"\x88\x05\x03\xf1big"
        );
    }
}
