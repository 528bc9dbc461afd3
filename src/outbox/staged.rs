//! A packet on its way into lanes, copied into an arena once for all of them.

use std::rc::Rc;

use super::Packet;
use super::arena::{Arena, Range};
use super::chunk::{Chunk, Meter};

/// A packet on its way to several lanes of a worker.
#[derive(Debug)]
pub struct Staged {
    pub(super) packet: Packet,
    pub(super) volatile: bool,
    pub(super) arena: Arena,
    /// Where it lies, and in which generation of the arenas.
    pub(super) range: Option<(u64, Range)>,
    /// How queues reference it by itself.
    chunk: Option<Rc<Chunk>>,
}

impl Staged {
    /// Prepares a packet; a volatile one may be dropped by lanes that are not ready.
    pub fn new(packet: Packet, volatile: bool) -> Self {
        Self {
            packet,
            volatile,
            arena: Arena::Shared,
            range: None,
            chunk: None,
        }
    }

    /// The packet as queues reference it, made once for all of them.
    pub(super) fn chunk(&mut self, meter: &Meter) -> Rc<Chunk> {
        let chunk = self
            .chunk
            .get_or_insert_with(|| Chunk::packet(self.packet.clone(), meter));
        Rc::clone(chunk)
    }

    /// Bytes of it on a websocket.
    pub fn wire_len(&self) -> usize {
        self.packet.wire().len()
    }

    pub(super) fn personal(packet: Packet) -> Self {
        Self {
            arena: Arena::Personal,
            ..Self::new(packet, false)
        }
    }
}
