//! One lane: where it writes, and what is staged for it.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::arena::Range;
use crate::protocol::wire_format::{FormatCode, WireFormat};

/// A lane is flushed at once when its packets lie in more separate ranges than this.
pub(super) const MAX_RANGES: usize = 4;

/// Limits on the queue of one client, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Above it the client must make progress.
    pub soft: usize,
    /// Above it the lane closes. One packet always fits on top of the soft limit.
    pub hard: usize,
}

/// A socket that accepts what it can at this instant and never blocks.
pub trait Sink {
    /// Writes as much as the socket accepts, and returns how many bytes it accepted.
    ///
    /// # Errors
    /// `WouldBlock` if it accepts nothing now. After any other error the connection is unusable: the rest stays queued, and
    /// the task that owns the connection gets the error from its next read or write and ends the session.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Index of a lane among the lanes of its worker. Reused after [`Lanes::release`](super::Lanes::release).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub(super) u32);

impl LaneId {
    /// The index. Those of closed lanes are assigned again, so indexes stay small.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The result of offering a packet to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// Written at the next flush, or queued.
    Accepted,
    /// A volatile packet, and the client was not ready for it.
    Dropped,
    /// The queue was full: the lane is closed now and its session must end as a slow consumer.
    Overflowed,
    /// The lane was closed before.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// The sink accepts data; the queue is empty.
    Direct,
    /// Packets wait in the queue.
    Queued,
    /// Further packets are rejected.
    Closed,
}

/// The part of a lane that every packet touches: exactly one cache line.
#[repr(align(64))]
pub(super) struct Lane {
    pub(super) sink: Option<Rc<dyn Sink>>,
    pub(super) ranges: [Range; MAX_RANGES],
    pub(super) range_count: u8,
    pub(super) state: State,
    pub(super) format: FormatCode,
    pub(super) accepted_packets: u32,
    pub(super) accepted_bytes: u64,
}

const _: () = assert!(size_of::<Lane>() == 64);

impl Lane {
    /// A lane that queues until a sink is attached.
    pub(super) fn new(format: WireFormat) -> Self {
        Self {
            sink: None,
            ranges: [Range::default(); MAX_RANGES],
            range_count: 0,
            state: State::Queued,
            format: format.code(),
            accepted_packets: 0,
            accepted_bytes: 0,
        }
    }

    /// Counts an accepted packet of `bytes` bytes.
    #[inline]
    pub(super) fn count(&mut self, bytes: usize) {
        self.accepted_packets = self.accepted_packets.saturating_add(1);
        self.accepted_bytes += bytes as u64;
    }

    /// Bytes to be written at the next flush.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        let ranges = &self.ranges[..usize::from(self.range_count)];
        ranges.iter().map(|range| range.len()).sum()
    }
}
