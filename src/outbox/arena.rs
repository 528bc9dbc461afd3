//! The packets of a batch: arenas for packets to several clients, by their encoding, and one for packets to a single
//! client. Each client receives most of its packets from one arena, so that their ranges are adjacent.

use std::rc::Rc;

use super::chunk::{Chunk, Meter, Slice};
use crate::protocol::server_packet::Positions;
use crate::protocol::wire_format::{Compression, Parser, WireFormat};

/// Capacity that an arena keeps when it is emptied, in bytes.
const KEPT_CAPACITY: usize = 256 * 1024;

/// The arena of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arena {
    /// For several lanes: JSON, the encoding of most clients.
    Json = 0,
    /// For several lanes: compressed.
    Compressed = 1,
    /// For several lanes: all other encodings.
    Other = 2,
    /// For one lane.
    Personal = 3,
}

/// Number of arenas.
const ARENAS: usize = 4;

impl Arena {
    /// The arena of packets in this format for several lanes. Revisions of Engine.IO share texts, so they share an arena.
    pub(super) fn of(format: WireFormat) -> Self {
        match (format.compression, format.parser, format.positions) {
            (Compression::Deflate, ..) => Self::Compressed,
            (Compression::None, Parser::Json, Positions::Omitted) => Self::Json,
            _ => Self::Other,
        }
    }
}

/// A range of bytes of an arena. The highest two bits of both ends identify the arena, so ranges of different arenas are
/// never adjacent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    end: u32,
}

impl Range {
    /// Length in bytes.
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// The range without its first `bytes` bytes.
    pub(super) fn skip(self, bytes: usize) -> Self {
        Self {
            start: self.start + bytes as u32,
            end: self.end,
        }
    }

    /// Appends `next` if it is adjacent; returns whether it was.
    #[inline]
    pub(super) fn extend(&mut self, next: Self) -> bool {
        let follows = self.end == next.start;
        if follows {
            self.end = next.end;
        }
        follows
    }
}

/// The arenas of a worker.
#[derive(Default)]
pub(super) struct Arenas {
    bytes: [Vec<u8>; ARENAS],
    /// Copies of this batch that queues reference, created when the first client does not accept its bytes.
    shared: [Vec<Piece>; ARENAS],
}

/// A copy of the bytes of an arena from `start` on.
struct Piece {
    start: u32,
    chunk: Rc<Chunk>,
}

impl Piece {
    fn end(&self) -> u32 {
        self.start + self.chunk.bytes().len() as u32
    }
}

impl Arenas {
    /// The numbers of bytes of an arena lie below, its number is a multiple.
    const FIRST: u32 = 1 << 30;

    /// Bytes in all arenas.
    pub(super) fn len(&self) -> usize {
        self.bytes.iter().map(Vec::len).sum()
    }

    /// Copies a packet to the end of an arena.
    pub(super) fn push(&mut self, arena: Arena, bytes: &[u8]) -> Range {
        let flag = arena as u32 * Self::FIRST;
        let arena = &mut self.bytes[arena as usize];
        let start = arena.len() as u32 | flag;
        arena.extend_from_slice(bytes);
        Range {
            start,
            end: arena.len() as u32 | flag,
        }
    }

    /// The bytes of a range.
    #[inline]
    pub(super) fn bytes(&self, range: Range) -> &[u8] {
        let arena = &self.bytes[Self::index(range)];
        &arena[(range.start % Self::FIRST) as usize..(range.end % Self::FIRST) as usize]
    }

    #[inline]
    fn index(range: Range) -> usize {
        (range.start / Self::FIRST) as usize
    }

    /// Bytes of the arena that contains a range.
    pub(super) fn len_around(&self, range: Range) -> usize {
        self.bytes[Self::index(range)].len()
    }

    /// Passes the bytes of a range to `take`, as slices of copies that all queues share.
    pub(super) fn share(&mut self, range: Range, meter: &Meter, mut take: impl FnMut(Slice)) {
        let index = Self::index(range);
        let (start, end) = (range.start % Self::FIRST, range.end % Self::FIRST);
        let (arena, pieces) = (&self.bytes[index], &mut self.shared[index]);
        let covered = pieces.last().map_or(0, Piece::end);
        if covered < end {
            pieces.push(Piece {
                start: covered,
                chunk: Chunk::frames(&arena[covered as usize..], meter),
            });
        }
        let first = pieces.partition_point(|piece| piece.end() <= start);
        for piece in pieces[first..].iter().take_while(|piece| piece.start < end) {
            let from = start.max(piece.start) - piece.start;
            let to = end.min(piece.end()) - piece.start;
            take(Slice::new(Rc::clone(&piece.chunk), from, to));
        }
    }

    /// Empties all arenas.
    pub(super) fn clear(&mut self) {
        self.shared.iter_mut().for_each(Vec::clear);
        for arena in &mut self.bytes {
            arena.clear();
            if arena.capacity() > KEPT_CAPACITY {
                *arena = Vec::new();
            }
        }
    }
}
