//! One packet towards a client, encoded once for every transport.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::protocol::websocket::{MAX_SERVER_HEADER, OpCode, close_frame, encode_header};

/// Bytes of a close frame's header: a control frame is short.
const CLOSE_HEADER: u32 = 2;

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
    /// A text packet, e.g. `2` or `42["event"]`.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::with_attachments(text, &[])
    }

    /// A text packet and the binary messages that must follow it without a gap.
    pub fn with_attachments(text: impl AsRef<[u8]>, attachments: &[Bytes]) -> Self {
        let text = text.as_ref();
        let size: usize = attachments
            .iter()
            .map(|a| a.len() + MAX_SERVER_HEADER)
            .sum();
        let mut builder = Builder::with_capacity(text.len() + size + MAX_SERVER_HEADER);
        builder.push(PartKind::Text, OpCode::Text, text);
        for attachment in attachments {
            builder.push(PartKind::Binary, OpCode::Binary, attachment);
        }
        builder.finish()
    }

    /// A binary message of its own.
    pub fn binary(content: &[u8]) -> Self {
        let mut builder = Builder::with_capacity(content.len() + MAX_SERVER_HEADER);
        builder.push(PartKind::Binary, OpCode::Binary, content);
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
        let mut builder = Builder::with_capacity(content.len() + MAX_SERVER_HEADER);
        builder.frame(OpCode::Pong, content);
        builder.finish()
    }

    /// The websocket frames, ready to be written.
    pub fn wire(&self) -> &[u8] {
        &self.0.wire
    }

    /// Whether binary messages follow it.
    pub(super) fn has_attachments(&self) -> bool {
        self.0.parts.len() > 1
    }

    /// The packet and its attachments in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.parts.iter().map(|span| Part {
            kind: span.kind,
            content: &self.0.wire[span.start as usize..span.end as usize],
        })
    }
}

struct Builder {
    wire: Vec<u8>,
    parts: SmallVec<[PartSpan; 1]>,
}

impl Builder {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            wire: Vec::with_capacity(capacity),
            parts: SmallVec::new(),
        }
    }

    fn push(&mut self, kind: PartKind, opcode: OpCode, content: &[u8]) {
        self.frame(opcode, content);
        let end = self.wire.len() as u32;
        let start = end - content.len() as u32;
        self.parts.push(PartSpan { kind, start, end });
    }

    fn frame(&mut self, opcode: OpCode, content: &[u8]) {
        encode_header(opcode, content.len(), &mut self.wire);
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
mod tests {
    use super::*;

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
    fn a_close_without_code_is_an_empty_frame() {
        assert_eq!(Packet::close(None, "").wire(), b"\x88\x00");
        assert_eq!(
            Packet::close(Some(1009), "big").wire(),
            b"\x88\x05\x03\xf1big"
        );
    }
}
