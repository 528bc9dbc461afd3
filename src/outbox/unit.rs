//! What a polling transport takes out of a queue at a time: a packet with its attachments.

use super::Packet;
use super::packet::{Part, PartKind};
use crate::protocol::websocket::{OpCode, split_header};

/// The first packet of a queue, with its attachments.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a>(Kind<'a>);

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Packet(&'a Packet),
    /// A packet of one frame, in the copy of its batch.
    Frame {
        wire: &'a [u8],
        part: Option<Part<'a>>,
    },
}

impl<'a> Unit<'a> {
    pub(super) fn of_packet(packet: &'a Packet) -> Self {
        Self(Kind::Packet(packet))
    }

    /// The first of these frames, if it is complete.
    pub(super) fn of_frames(frames: &'a [u8]) -> Option<Self> {
        let (opcode, header, length) = split_header(frames)?;
        let wire = frames.get(..header.checked_add(length)?)?;
        let kind = match opcode {
            OpCode::Text => Some(PartKind::Text),
            OpCode::Binary => Some(PartKind::Binary),
            OpCode::Close => Some(PartKind::Close),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => None,
        };
        let content = &wire[header..];
        let part = kind.map(|kind| Part { kind, content });
        Some(Self(Kind::Frame { wire, part }))
    }

    /// Its websocket frames.
    pub fn wire(&self) -> &'a [u8] {
        match self.0 {
            Kind::Packet(packet) => packet.wire(),
            Kind::Frame { wire, .. } => wire,
        }
    }

    /// The packet and its attachments in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let (packet, frame) = match self.0 {
            Kind::Packet(packet) => (Some(packet), None),
            Kind::Frame { part, .. } => (None, part),
        };
        let parts = packet.into_iter().flat_map(Packet::parts);
        parts.chain(frame)
    }
}
