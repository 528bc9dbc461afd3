//! Writing to sockets: a lane at the end of a batch, and a queue when its socket accepts data again.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::arena::Range;
use super::lane::{LaneId, MAX_RANGES, State};
use super::lanes::Lanes;

/// Smaller parts are copied into a queue: a reference would cost as much.
const SHARED_FROM: usize = 128;
/// A part smaller than its batch divided by this is copied into a queue, so that a small packet never keeps a large batch
/// alive.
const SHARED_PART: usize = 4;

impl Lanes {
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

    /// Writes all lanes.
    pub(super) fn flush_all(&mut self) {
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
