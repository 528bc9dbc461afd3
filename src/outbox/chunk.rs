//! Reference-counted bytes that the queues of several clients share, and their memory cost.

use std::cell::Cell;
use std::rc::Rc;

use super::Packet;

/// Bytes of a chunk besides its content: counts, pointers, heap headers.
const CHUNK_COST: usize = 96;

/// Bytes held by all chunks of a worker.
pub(super) type Meter = Rc<Cell<usize>>;

/// Frames that several queues reference.
#[derive(Debug)]
pub(super) struct Chunk {
    content: Content,
    meter: Meter,
}

#[derive(Debug)]
enum Content {
    /// Frames of one batch, side by side.
    Frames(Box<[u8]>),
    /// One packet with its attachments.
    Packet(Packet),
}

impl Chunk {
    /// Whole frames of a batch.
    pub(super) fn frames(frames: &[u8], meter: &Meter) -> Rc<Self> {
        Self::new(Content::Frames(frames.into()), meter)
    }

    /// A packet apart from a batch.
    pub(super) fn packet(packet: Packet, meter: &Meter) -> Rc<Self> {
        Self::new(Content::Packet(packet), meter)
    }

    fn new(content: Content, meter: &Meter) -> Rc<Self> {
        let chunk = Self {
            content,
            meter: Rc::clone(meter),
        };
        meter.set(meter.get() + chunk.cost());
        Rc::new(chunk)
    }

    fn cost(&self) -> usize {
        self.bytes().len() + CHUNK_COST
    }

    /// The frames as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Frames(frames) => frames,
            Content::Packet(packet) => packet.wire(),
        }
    }

    /// The packet, unless the chunk holds frames of a batch.
    pub(super) fn as_packet(&self) -> Option<&Packet> {
        match &self.content {
            Content::Frames(_) => None,
            Content::Packet(packet) => Some(packet),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.meter.set(self.meter.get() - self.cost());
    }
}

/// A part of a chunk.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    chunk: Rc<Chunk>,
    start: u32,
    end: u32,
}

impl Slice {
    /// The bytes from `start` to `end`.
    pub(super) fn new(chunk: Rc<Chunk>, start: u32, end: u32) -> Self {
        Self { chunk, start, end }
    }

    /// All of a chunk.
    pub(super) fn whole(chunk: Rc<Chunk>) -> Self {
        let end = chunk.bytes().len() as u32;
        Self::new(chunk, 0, end)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunk.bytes()[self.start as usize..self.end as usize]
    }

    /// The packet of the chunk, if it consists of one.
    pub(super) fn as_packet(&self) -> Option<&Packet> {
        self.chunk.as_packet()
    }

    /// Extends the slice by `next` if it follows in the same chunk; returns whether it did.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let follows = self.end == next.start && Rc::ptr_eq(&self.chunk, &next.chunk);
        if follows {
            self.end = next.end;
        }
        follows
    }
}
