//! A packet on its way into lanes, copied into an arena once for all of them.

use super::Packet;
use super::arena::{Arena, Range};

/// A packet on its way to several lanes of a worker.
#[derive(Debug)]
pub struct Staged {
    pub(super) packet: Packet,
    pub(super) volatile: bool,
    pub(super) arena: Arena,
    /// Where it lies, and in which generation of the arenas.
    pub(super) range: Option<(u64, Range)>,
}

impl Staged {
    /// Prepares a packet; a volatile one may be dropped by lanes that are not ready.
    pub fn new(packet: Packet, volatile: bool) -> Self {
        Self {
            packet,
            volatile,
            arena: Arena::Shared,
            range: None,
        }
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
