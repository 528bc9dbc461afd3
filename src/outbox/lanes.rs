//! The lanes of one worker: packets are staged for a batch, or queued for clients whose sockets are full.
//!
//! Within a batch every packet is copied once into an arena; a lane only stores *ranges* of it, and adjacent ranges
//! are merged. Packets for a single client have an arena of their own, so that acks between broadcasts do not separate
//! the ranges of the broadcasts, and so have the encodings of broadcasts. So offering a packet to a room member touches one cache line, flushing a member is one
//! `send` however many packets the batch holds, and personal packets keep their place between broadcasts.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::rc::Rc;
use std::task::Waker;

use super::Packet;
use super::arena::{Arenas, Range};
use super::backlog::Backlogs;
use super::budget::Share;
use super::chunk::Slice;
use super::deflater::{Deflater, Receivers};
use super::encodings::{Encodings, Staged};
use super::lane::{Bounds, Lane, LaneId, MAX_RANGES, Offered, Sink, State};
use crate::protocol::wire_format::{Compression, WireFormat};

/// All lanes are flushed when this many bytes are staged.
const ARENA_LIMIT: usize = 256 * 1024;
/// A lane is flushed when this many bytes are staged for it.
const MAX_LANE_BATCH: usize = 64 * 1024;
/// A packet of at least this size is queued by reference instead of through the arena.
const LARGE_PACKET: usize = 16 * 1024;

/// All lanes of a worker.
pub struct Lanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) backlogs: Backlogs,
    /// Indexes of released lanes.
    free: Vec<u32>,
    pub(super) arenas: Arenas,
    /// Incremented when the arenas are emptied, so that no range outlives its bytes.
    pub(super) arena_generation: u64,
    /// Lanes with staged ranges, in the order in which they are flushed.
    pub(super) dirty: VecDeque<u32>,
    pub(super) bounds: Bounds,
    /// Lanes that exceeded the soft limit, whose sessions have not been notified yet.
    pub(super) overdue: Vec<LaneId>,
    /// This worker's share of the memory budget of the node.
    pub(super) share: Share,
    /// Maximum number of bytes staged for one lane: what its socket does not accept must leave room in the queue.
    batch_limit: usize,
    flusher: Option<Waker>,
    /// Compresses packets for clients whose format has compression.
    deflater: Option<Box<Deflater>>,
    /// Hashes the identities of packets that replace each other.
    pub(super) hasher: RandomState,
}

impl Lanes {
    /// Without lanes. `bounds` limit one client, `share` limits all of them.
    pub fn new(bounds: Bounds, share: Share) -> Self {
        Self {
            lanes: Vec::new(),
            backlogs: Backlogs::default(),
            free: Vec::new(),
            arenas: Arenas::default(),
            arena_generation: 0,
            dirty: VecDeque::new(),
            bounds,
            overdue: Vec::new(),
            share,
            batch_limit: MAX_LANE_BATCH.min(bounds.soft / 2),
            flusher: None,
            deflater: None,
            hasher: RandomState::new(),
        }
    }

    /// Compresses packets from now on, for clients whose format has compression.
    pub fn set_deflater(&mut self, deflater: Deflater) {
        self.deflater = Some(Box::new(deflater));
    }

    /// Whether packets are compressed for clients whose format has compression.
    pub fn compresses(&self) -> bool {
        self.deflater.is_some()
    }

    /// Bytes that can be queued at once for a client whose queue is within the soft limit, so that it stays well below the
    /// hard limit.
    pub fn burst(&self) -> usize {
        self.bounds.hard.saturating_sub(self.bounds.soft) / 2
    }

    /// Opens a lane that queues until a sink is attached. Its client receives packets in `format`.
    pub fn open(&mut self, format: WireFormat) -> LaneId {
        let lane = Lane::new(format);
        if let Some(index) = self.free.pop() {
            debug_assert!(self.lanes[index as usize].state == State::Free);
            debug_assert!(self.backlogs[index as usize].queue.is_empty());
            self.lanes[index as usize] = lane;
            return LaneId(index);
        }
        self.lanes.push(lane);
        self.backlogs.push();
        LaneId(self.lanes.len() as u32 - 1)
    }

    /// Changes the format in which the client of a lane receives packets from now on.
    pub fn set_format(&mut self, id: LaneId, format: WireFormat) {
        self.lanes[id.0 as usize].format = format.code();
    }

    /// Closes a lane and drops its queue. The id may be reused from now on.
    pub fn release(&mut self, id: LaneId) {
        let index = id.0 as usize;
        let lane = &mut self.lanes[index];
        debug_assert!(lane.state != State::Free, "released twice");
        lane.state = State::Free;
        // The lane may still be in the dirty list, which is harmless: without ranges nothing is written.
        lane.range_count = 0;
        lane.sink = None;
        self.backlogs.reset(index);
        self.free.push(id.0);
    }

    /// Attaches the socket of the client. If packets are queued already, [`Lanes::write_queue`] must write them first.
    pub fn attach(&mut self, id: LaneId, sink: Rc<dyn Sink>) {
        let index = id.0 as usize;
        let lane = &mut self.lanes[index];
        debug_assert!(lane.state != State::Free);
        lane.sink = Some(sink);
        if lane.state == State::Queued && self.backlogs[index].queue.is_empty() {
            lane.state = State::Direct;
        }
    }

    /// Rejects further packets. What is queued can still be written.
    pub fn close(&mut self, id: LaneId) {
        self.write_lane(id.0 as usize);
        self.lanes[id.0 as usize].state = State::Closed;
        self.wake(id);
    }

    /// The packet as the client of a lane receives it: compressed, if that is part of its format and saves anything.
    pub fn compressed(&mut self, id: LaneId, packet: Packet) -> Packet {
        let Some(deflater) = &mut self.deflater else {
            return packet;
        };
        match self.lanes[id.0 as usize].format.format().compression {
            Compression::None => packet,
            Compression::Deflate => {
                let compressed = deflater.deflate(&packet, Receivers::One);
                compressed.unwrap_or(packet)
            }
        }
    }

    /// Offers a packet to one lane only. It must be encoded in the format of the lane, and is not compressed here.
    pub fn offer(&mut self, id: LaneId, packet: Packet) -> Offered {
        let format = self.lanes[id.0 as usize].format;
        self.offer_staged(id, &mut Staged::personal(format, packet))
    }

    /// Offers a publish to one of its receivers. `encode` is called if it has not been encoded yet in the format of the
    /// lane.
    #[inline]
    pub fn offer_encoded(
        &mut self,
        id: LaneId,
        publish: &mut Encodings,
        encode: impl FnOnce(WireFormat) -> Packet,
    ) -> Offered {
        let format = self.lanes[id.0 as usize].format;
        let staged = publish.staged(format, self.deflater.as_deref_mut(), encode);
        let offered = self.offer_staged(id, staged);
        staged.accepted += u64::from(offered == Offered::Accepted);
        offered
    }

    #[inline]
    pub(super) fn offer_staged(&mut self, id: LaneId, staged: &mut Staged) -> Offered {
        let index = id.0 as usize;
        match self.lanes[index].state {
            State::Direct => {
                let pending = self.lanes[index].pending();
                if pending > 0 && pending + staged.packet.wire().len() > self.batch_limit {
                    self.write_lane(index);
                }
                let range = self.stage(staged);
                // The socket of this lane may have turned out to be full.
                if self.lanes[index].state != State::Direct {
                    return self.enqueue(index, staged);
                }
                self.add_range(index, range);
                Offered::Accepted
            }
            State::Queued => self.enqueue(index, staged),
            State::Closed | State::Free => Offered::Closed,
        }
    }

    /// Copies the packet into an arena unless this batch has it already.
    #[inline]
    fn stage(&mut self, staged: &mut Staged) -> Range {
        if let Some((generation, range)) = staged.range
            && generation == self.arena_generation
        {
            return range;
        }
        let wire = staged.packet.wire();
        if self.arenas.len() + wire.len() > ARENA_LIMIT && self.arenas.len() > 0 {
            self.flush_all();
        }
        let range = self.arenas.push(staged.arena, wire);
        staged.range = Some((self.arena_generation, range));
        range
    }

    #[inline]
    fn add_range(&mut self, index: usize, range: Range) {
        let lane = &mut self.lanes[index];
        lane.count(range.len());
        let count = usize::from(lane.range_count);
        if count == 0 {
            lane.ranges[0] = range;
            lane.range_count = 1;
            self.dirty.push_back(index as u32);
            if self.dirty.len() == 1 {
                self.wake_flusher();
            }
            return;
        }
        if lane.ranges[count - 1].extend(range) {
            return;
        }
        if count < MAX_RANGES {
            lane.ranges[count] = range;
            lane.range_count += 1;
            return;
        }
        self.write_lane(index);
        let lane = &mut self.lanes[index];
        // The lane is still in the dirty list, so it will be flushed.
        lane.ranges[0] = range;
        lane.range_count = 1;
    }

    /// Queues a packet for a lane that cannot be written directly.
    fn enqueue(&mut self, index: usize, staged: &mut Staged) -> Offered {
        let mut waiting = self.waiting(index);
        if staged.volatile && (waiting > 0 || self.backlogs[index].waker.is_none()) {
            self.backlogs.count_dropped(index);
            return Offered::Dropped;
        }
        if let Some(id) = staged.conflate {
            staged.replaced += u64::from(self.remove_replaced(index, id));
            waiting = self.waiting(index);
        }
        let size = staged.packet.wire().len();
        if !self.fits(waiting, size) {
            // After a burst within one turn the socket may accept data again.
            let _ = self.write_queue(LaneId(index as u32));
            if self.lanes[index].state == State::Direct {
                return self.offer_staged(LaneId(index as u32), staged);
            }
            if !self.fits(self.waiting(index), size) {
                self.discard(LaneId(index as u32));
                return Offered::Overflowed;
            }
        }
        let conflate = staged.conflate;
        if size >= LARGE_PACKET || staged.packet.has_attachments() || conflate.is_some() {
            self.write_lane(index);
            self.lanes[index].count(size);
            let slice = Slice::whole(staged.chunk(&self.backlogs.shared));
            self.backlogs.change(index, |queue| match conflate {
                None => queue.push_shared(slice),
                Some(id) => queue.push_replaceable(slice, id),
            });
            self.grown(index);
            self.wake_flusher();
        } else {
            let range = self.stage(staged);
            self.add_range(index, range);
        }
        Offered::Accepted
    }

    /// Sets the task that calls [`Lanes::flush`]. It is woken when there is something to flush.
    pub fn set_flusher(&mut self, waker: &Waker) {
        if !self
            .flusher
            .as_ref()
            .is_some_and(|old| old.will_wake(waker))
        {
            self.flusher = Some(waker.clone());
        }
    }

    /// Wakes the task that calls [`Lanes::flush`].
    pub fn wake_flusher(&self) {
        if let Some(waker) = &self.flusher {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
