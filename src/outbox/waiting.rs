//! The queues of lanes, as seen by transports and sessions.

use std::task::Waker;

use super::lane::{LaneId, State};
use super::lanes::Lanes;
use super::queue::Queue;
use super::unit::Unit;

/// What a lane was offered since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets taken, written or not; at most 2^32 - 1.
    pub packets: u32,
    /// Bytes of those, as on a websocket.
    pub bytes: u64,
    /// Volatile packets dropped.
    pub dropped: u32,
}

impl Lanes {
    /// Woken when something is queued, the lane closes, or its socket turned out to be full. A lane with a
    /// waker counts as ready for a volatile packet while nothing waits.
    pub fn set_waker(&mut self, id: LaneId, waker: &Waker) {
        let slot = self.backlogs.waker_mut(id.0 as usize);
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// No transport pulls at the moment: volatile packets are dropped.
    pub fn clear_waker(&mut self, id: LaneId) {
        *self.backlogs.waker_mut(id.0 as usize) = None;
    }

    /// Wakes the transport, for instance to read again.
    pub fn wake(&self, id: LaneId) {
        if let Some(waker) = &self.backlogs[id.0 as usize].waker {
            waker.wake_by_ref();
        }
    }

    /// The first packet queued, with its attachments.
    pub fn front(&mut self, id: LaneId) -> Option<Unit<'_>> {
        let index = id.0 as usize;
        if self.lanes[index].state == State::Queued {
            self.write_lane(index);
        }
        self.backlogs[index].queue.front()
    }

    /// Drops the first packet queued: its client has it.
    pub fn pop(&mut self, id: LaneId) {
        let index = id.0 as usize;
        let before = self.backlogs[index].queue.bytes();
        self.backlogs.take(index, self.bounds.soft, Queue::pop);
        let taken = before - self.backlogs[index].queue.bytes();
        self.backlogs.allow_transfer(index, taken);
    }

    /// What the lane was offered since it was opened.
    pub fn tally(&self, id: LaneId) -> Tally {
        let lane = &self.lanes[id.0 as usize];
        Tally {
            packets: lane.accepted_packets,
            bytes: lane.accepted_bytes,
            dropped: self.backlogs[id.0 as usize].dropped,
        }
    }

    /// Bytes queued for all clients of this worker.
    pub fn queued_total(&self) -> usize {
        self.backlogs.bytes()
    }

    /// Memory of all queues of this worker; what several share counts once.
    pub fn memory(&self) -> usize {
        self.backlogs.memory()
    }

    /// Bytes queued for this client.
    pub fn queued_bytes(&self, id: LaneId) -> usize {
        self.backlogs[id.0 as usize].queue.bytes()
    }
}
