//! The lanes of one worker: direct writes in batches, and a queue for whoever cannot be written.
//!
//! Within a batch every packet is copied once into an arena; a lane only remembers *ranges* of it, and
//! neighbouring ranges grow together. What goes to one client alone has an arena of its own, so that acks
//! between broadcasts do not keep those apart. So a room member costs one cache line to offer to and one `send` to
//! flush, however many packets the batch holds, and personal packets keep their place between broadcasts.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Waker;

use super::Packet;
use super::arena::{Arenas, Range};
use super::backlog::Backlogs;
use super::budget::Share;
use super::chunk::Slice;
use super::staged::Staged;

/// A flush is due at the latest when this many bytes are staged.
const ARENA_LIMIT: usize = 256 * 1024;
/// A lane flushes by itself when it has this many bytes staged.
const MAX_LANE_BATCH: usize = 64 * 1024;
/// A lane flushes by itself when its packets lie in more separate ranges than this.
const MAX_RANGES: usize = 4;
/// A packet of at least this size is queued by itself instead of through the arena.
const LARGE_PACKET: usize = 16 * 1024;
/// Anything smaller is copied into a queue: a reference would cost as much.
const SHARED_FROM: usize = 128;
/// Anything less than one in this many parts of its batch is copied into a queue, so that a small packet never keeps a
/// large batch alive.
const SHARED_PART: usize = 4;

/// Limits on the queue of one client, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Above it the client must make progress.
    pub soft: usize,
    /// Above it the lane closes. One packet always fits on top of the soft limit.
    pub hard: usize,
}

/// Where a lane's bytes go: a socket that takes what it can at this instant and never blocks.
pub trait Sink {
    /// Writes as much as fits. `WouldBlock` and any other error leave the rest to the lane's owner,
    /// whose own read or write meets the error again and ends the session.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Number of a lane among its worker's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub(super) u32);

impl LaneId {
    /// The number. Those of closed lanes are assigned again, so numbers stay small.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What became of an offered packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// Written at the next flush, or queued.
    Accepted,
    /// Volatile, and the client was not ready for it.
    Dropped,
    /// The queue is full: the lane is closed now and its session must end as a slow consumer.
    Overflowed,
    /// The lane was closed before.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// The sink takes data; nothing waits in the queue.
    Direct,
    /// Packets wait in the queue.
    Queued,
    /// Nothing is taken any more.
    Closed,
}

/// What an offer touches: exactly one cache line.
#[repr(align(64))]
pub(super) struct Lane {
    sink: Option<Rc<dyn Sink>>,
    ranges: [Range; MAX_RANGES],
    pub(super) range_count: u8,
    pub(super) state: State,
    pub(super) taken_packets: u32,
    pub(super) taken_bytes: u64,
}

const _: () = assert!(size_of::<Lane>() == 64);

impl Lane {
    /// Counts a packet of this many bytes.
    #[inline]
    fn count(&mut self, bytes: usize) {
        self.taken_packets = self.taken_packets.saturating_add(1);
        self.taken_bytes += bytes as u64;
    }

    /// Bytes to be written at the next flush.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        let ranges = &self.ranges[..usize::from(self.range_count)];
        ranges.iter().map(|range| range.len()).sum()
    }
}

/// All lanes of a worker.
pub struct Lanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) backlogs: Backlogs,
    free: Vec<u32>,
    arenas: Arenas,
    /// Counts emptied arenas, so that a range from an earlier one is never used.
    arena_generation: u64,
    dirty: VecDeque<u32>,
    pub(super) bounds: Bounds,
    /// Lanes that exceeded the soft limit, whose sessions have not been notified yet.
    pub(super) overdue: Vec<LaneId>,
    /// This worker's share of the memory budget of the node.
    pub(super) share: Share,
    /// Bytes one lane may have staged before it is written: what its socket does not take must leave room
    /// in the queue.
    batch_limit: usize,
    flusher: Option<Waker>,
}

impl Lanes {
    /// No lanes yet. `bounds` limit one client, `share` all of them.
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
        }
    }

    /// Opens a lane that queues until a sink is attached.
    pub fn open(&mut self) -> LaneId {
        let lane = Lane {
            sink: None,
            ranges: [Range::default(); MAX_RANGES],
            range_count: 0,
            state: State::Queued,
            taken_packets: 0,
            taken_bytes: 0,
        };
        if let Some(index) = self.free.pop() {
            self.lanes[index as usize] = lane;
            return LaneId(index);
        }
        self.lanes.push(lane);
        self.backlogs.push();
        LaneId(self.lanes.len() as u32 - 1)
    }

    /// Gives the lane's number back; what still waits is lost.
    pub fn release(&mut self, id: LaneId) {
        let index = id.0 as usize;
        let lane = &mut self.lanes[index];
        lane.state = State::Free;
        // A number left in the dirty list is harmless: a lane without ranges writes nothing.
        lane.range_count = 0;
        lane.sink = None;
        self.backlogs.reset(index);
        self.free.push(id.0);
    }

    /// From now on the lane writes into `sink`; what waits goes first, by [`Lanes::write_queue`].
    pub fn attach(&mut self, id: LaneId, sink: Rc<dyn Sink>) {
        let index = id.0 as usize;
        let lane = &mut self.lanes[index];
        lane.sink = Some(sink);
        if lane.state == State::Queued && self.backlogs[index].queue.is_empty() {
            lane.state = State::Direct;
        }
    }

    /// Takes nothing more; what waits can still be written.
    pub fn close(&mut self, id: LaneId) {
        self.write_lane(id.0 as usize);
        self.lanes[id.0 as usize].state = State::Closed;
        self.wake(id);
    }

    /// Offers one packet to one lane.
    pub fn offer(&mut self, id: LaneId, packet: Packet) -> Offered {
        self.offer_staged(id, &mut Staged::personal(packet))
    }

    /// Offers a packet that goes to several lanes.
    #[inline]
    pub fn offer_staged(&mut self, id: LaneId, staged: &mut Staged) -> Offered {
        let index = id.0 as usize;
        match self.lanes[index].state {
            State::Direct => {
                let pending = self.lanes[index].pending();
                if pending > 0 && pending + staged.packet.wire().len() > self.batch_limit {
                    self.write_lane(index);
                }
                let range = self.stage(staged);
                // Writing may have found this lane's socket full.
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

    /// Copies the packet into the arena, once per batch.
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
        let waiting = self.waiting(index);
        if staged.volatile && (waiting > 0 || self.backlogs[index].waker.is_none()) {
            self.backlogs.count_dropped(index);
            return Offered::Dropped;
        }
        let size = staged.packet.wire().len();
        if !self.fits(waiting, size) {
            // The burst may have come at once, and the socket may have room by now.
            let _ = self.write_queue(LaneId(index as u32));
            if self.lanes[index].state == State::Direct {
                return self.offer_staged(LaneId(index as u32), staged);
            }
            if !self.fits(self.waiting(index), size) {
                self.give_up(LaneId(index as u32));
                return Offered::Overflowed;
            }
        }
        if size >= LARGE_PACKET || staged.packet.has_attachments() {
            self.write_lane(index);
            self.lanes[index].count(size);
            let slice = Slice::whole(staged.chunk(&self.backlogs.shared));
            self.backlogs
                .change(index, |queue| queue.push_shared(slice));
            self.grown(index);
            self.wake_flusher();
        } else {
            let range = self.stage(staged);
            self.add_range(index, range);
        }
        Offered::Accepted
    }

    /// The task that calls [`Lanes::flush`]; woken when there is something to flush.
    pub fn set_flusher(&mut self, waker: &Waker) {
        if !self
            .flusher
            .as_ref()
            .is_some_and(|old| old.will_wake(waker))
        {
            self.flusher = Some(waker.clone());
        }
    }

    /// Wakes the task that flushes.
    pub fn wake_flusher(&self) {
        if let Some(waker) = &self.flusher {
            waker.wake_by_ref();
        }
    }

    /// Writes at most `budget` lanes; returns whether more are due.
    pub fn flush(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(index) = self.dirty.pop_front() else {
                break;
            };
            self.write_lane(index as usize);
        }
        self.recycle_arena();
        !self.dirty.is_empty()
    }

    fn flush_all(&mut self) {
        while let Some(index) = self.dirty.pop_front() {
            self.write_lane(index as usize);
        }
        self.recycle_arena();
    }

    fn recycle_arena(&mut self) {
        if !self.dirty.is_empty() || self.arenas.len() == 0 {
            return;
        }
        self.arena_generation += 1;
        self.arenas.clear();
    }

    /// Writes what a lane remembers of the arena; what the socket does not take waits in the queue.
    #[inline]
    pub(super) fn write_lane(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let count = usize::from(lane.range_count);
        if count == 0 {
            return;
        }
        lane.range_count = 0;
        if lane.state == State::Queued {
            return self.keep_rest(index, count, 0);
        }
        let Some(sink) = &lane.sink else { return };
        let mut slices = [IoSlice::new(&[]); MAX_RANGES];
        let mut total = 0;
        for (slice, range) in slices.iter_mut().zip(&lane.ranges[..count]) {
            let bytes = self.arenas.bytes(*range);
            total += bytes.len();
            *slice = IoSlice::new(bytes);
        }
        let taken = sink.try_write(&slices[..count]).unwrap_or(0);
        if taken < total {
            self.keep_rest(index, count, taken);
        }
    }

    #[cold]
    fn keep_rest(&mut self, index: usize, count: usize, mut taken: usize) {
        let lane = &mut self.lanes[index];
        let ranges = lane.ranges;
        if lane.state == State::Direct {
            lane.state = State::Queued;
        }
        for range in &ranges[..count] {
            let skip = taken.min(range.len());
            taken -= skip;
            if skip < range.len() {
                self.keep(index, range.skip(skip));
            }
        }
        self.grown(index);
    }

    /// Adds a range to a queue: by reference to a copy for all lanes of this batch, or, if it is small, by a copy of
    /// its own.
    fn keep(&mut self, index: usize, range: Range) {
        let Self {
            arenas, backlogs, ..
        } = self;
        let least = SHARED_FROM.max(arenas.len_around(range) / SHARED_PART);
        if range.len() < least {
            return backlogs.change(index, |queue| queue.push_own(arenas.bytes(range)));
        }
        let meter = Rc::clone(&backlogs.shared);
        backlogs.change(index, |queue| {
            arenas.share(range, &meter, |slice| queue.push_shared(slice));
        });
    }

    /// Writes the queue into the lane's sink until it is empty (true) or the sink is full (false).
    ///
    /// # Errors
    /// What the sink reports, `WouldBlock` apart: the connection is gone.
    pub fn write_queue(&mut self, id: LaneId) -> io::Result<bool> {
        let index = id.0 as usize;
        let Some(sink) = self.lanes[index].sink.clone() else {
            return Ok(true);
        };
        let written = self.backlogs.take(index, self.bounds.soft, |queue| {
            queue.write_to(|slices| sink.try_write(slices))
        });
        let lane = &mut self.lanes[index];
        let empty = match written {
            Ok(empty) => empty,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        if empty && lane.state == State::Queued {
            lane.state = State::Direct;
        }
        Ok(empty)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::outbox::Tally;

    /// A socket that takes `room` bytes until more is granted.
    #[derive(Default)]
    struct FakeSocket {
        seen: RefCell<Vec<u8>>,
        room: Cell<usize>,
        writes: Cell<usize>,
    }

    impl Sink for FakeSocket {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes.set(self.writes.get() + 1);
            if self.room.get() == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut taken = 0;
            for slice in slices {
                let n = slice.len().min(self.room.get());
                self.seen.borrow_mut().extend_from_slice(&slice[..n]);
                self.room.set(self.room.get() - n);
                taken += n;
            }
            Ok(taken)
        }
    }

    fn socket(room: usize) -> Rc<FakeSocket> {
        let socket = Rc::new(FakeSocket::default());
        socket.room.set(room);
        socket
    }

    fn lanes(soft: usize) -> Lanes {
        let bounds = Bounds {
            soft,
            hard: 2 * soft,
        };
        Lanes::new(bounds, Share::default())
    }

    fn open(lanes: &mut Lanes, socket: &Rc<FakeSocket>) -> LaneId {
        let id = lanes.open();
        lanes.attach(id, Rc::clone(socket) as Rc<dyn Sink>);
        id
    }

    #[test]
    fn a_batch_is_one_write_and_keeps_the_order_of_each_lane() {
        // Broadcasts with gaps, and personal packets between them.
        let mut lanes = lanes(1000);
        let sockets: Vec<_> = (0..3).map(|_| socket(usize::MAX / 2)).collect();
        let ids: Vec<_> = sockets.iter().map(|s| open(&mut lanes, s)).collect();
        let mut expected = vec![Vec::new(); 3];
        for n in 0..12 {
            let packet = Packet::text(format!("4{n}"));
            let mut staged = Staged::new(packet.clone(), false);
            if n % 4 == 0 {
                let ack = Packet::text(format!("43{n}[]"));
                expected[1].extend_from_slice(ack.wire());
                lanes.offer(ids[1], ack);
            }
            for lane in (0..3).filter(|lane| n % 7 != *lane) {
                assert_eq!(
                    lanes.offer_staged(ids[lane], &mut staged),
                    Offered::Accepted
                );
                expected[lane].extend_from_slice(packet.wire());
            }
        }
        assert!(!lanes.flush(10));
        for ((socket, expected), id) in sockets.iter().zip(expected).zip(ids) {
            assert_eq!(*socket.seen.borrow(), expected);
            let tally = lanes.tally(id);
            let frames = expected.iter().filter(|byte| **byte == 0x81).count();
            assert_eq!(
                (tally.packets as usize, tally.bytes as usize),
                (frames, expected.len())
            );
        }
        // An unbroken run of broadcasts is a single range even while others are sent acks.
        assert_eq!(sockets[2].writes.get(), 1);
    }

    #[test]
    fn a_full_socket_queues_then_catches_up_in_order() {
        let mut lanes = lanes(1000);
        let socket = socket(5);
        let id = open(&mut lanes, &socket);
        let mut expected = Vec::new();
        for n in 0..9 {
            let packet = Packet::text(format!("4message {n}"));
            expected.extend_from_slice(packet.wire());
            lanes.offer(id, packet);
            if n % 2 == 0 {
                lanes.flush(10);
            }
        }
        assert_eq!(*socket.seen.borrow(), expected[..5]);
        assert_eq!(lanes.queued_total(), expected.len() - 5);
        assert!(!lanes.write_queue(id).unwrap());
        socket.room.set(11);
        assert!(!lanes.write_queue(id).unwrap());
        socket.room.set(usize::MAX / 2);
        assert!(lanes.write_queue(id).unwrap());
        assert_eq!(lanes.queued_total(), 0);
        lanes.offer(id, Packet::text("4after"));
        lanes.flush(10);
        expected.extend_from_slice(Packet::text("4after").wire());
        assert_eq!(*socket.seen.borrow(), expected);
    }

    #[test]
    fn past_the_limit_the_lane_closes_and_others_do_not_notice() {
        let mut lanes = lanes(100);
        let (stuck, fine) = (socket(0), socket(usize::MAX / 2));
        let (stuck_id, fine_id) = (open(&mut lanes, &stuck), open(&mut lanes, &fine));
        let mut outcomes = Vec::new();
        for _ in 0..20 {
            let mut staged = Staged::new(Packet::text("4 twenty bytes long."), false);
            outcomes.push(lanes.offer_staged(stuck_id, &mut staged));
            lanes.offer_staged(fine_id, &mut staged);
            lanes.flush(10);
        }
        let overflowed = outcomes
            .iter()
            .position(|o| *o == Offered::Overflowed)
            .unwrap();
        assert!(
            outcomes[overflowed + 1..]
                .iter()
                .all(|o| *o == Offered::Closed)
        );
        assert_eq!(fine.seen.borrow().len(), 20 * 22);
        assert_eq!(lanes.queued_bytes(stuck_id), 0);
        assert_eq!(lanes.queued_total(), 0);
    }

    #[test]
    fn what_a_full_socket_leaves_of_a_batch_keeps_room_in_the_queue() {
        let mut lanes = lanes(1000);
        let socket = socket(30);
        let id = open(&mut lanes, &socket);
        let outcomes: Vec<_> = (0..100)
            .map(|_| {
                let packet = Packet::text("4 twenty bytes long.");
                lanes.offer_staged(id, &mut Staged::new(packet, true))
            })
            .collect();
        lanes.flush(10);
        assert!(outcomes.contains(&Offered::Dropped));
        assert!(lanes.queued_bytes(id) <= 500);
        assert_eq!(lanes.offer(id, Packet::text("4end")), Offered::Accepted);
    }

    #[test]
    fn volatile_packets_never_wait() {
        let mut lanes = lanes(1000);
        let id = lanes.open();
        let mut volatile = Staged::new(Packet::text("4v"), true);
        assert_eq!(lanes.offer_staged(id, &mut volatile), Offered::Dropped);
        lanes.set_waker(id, Waker::noop());
        assert_eq!(lanes.offer_staged(id, &mut volatile), Offered::Accepted);
        assert_eq!(lanes.offer_staged(id, &mut volatile), Offered::Dropped);
        lanes.flush(10);
        assert_eq!(lanes.offer_staged(id, &mut volatile), Offered::Dropped);
        let tally = Tally {
            packets: 1,
            bytes: 4,
            dropped: 3,
        };
        assert_eq!(lanes.tally(id), tally);
        lanes.release(id);
        assert_eq!(lanes.open(), id);
        assert_eq!(lanes.tally(id), Tally::default());
    }

    #[test]
    fn a_reused_lane_gets_nothing_of_its_predecessor() {
        let mut lanes = lanes(1000);
        let (old, new) = (socket(usize::MAX / 2), socket(usize::MAX / 2));
        let id = open(&mut lanes, &old);
        lanes.offer(id, Packet::text("4old"));
        lanes.release(id);
        let reused = open(&mut lanes, &new);
        assert_eq!(id, reused);
        lanes.offer(reused, Packet::text("4new"));
        lanes.flush(10);
        assert_eq!(*new.seen.borrow(), Packet::text("4new").wire());
        assert!(old.seen.borrow().is_empty());
    }
}
