//! The queues of lanes, as seen by transports and sessions.

use std::task::Waker;

use super::lane::{LaneId, State};
use super::lanes::Lanes;
use super::queue::Queue;
use super::unit::Unit;

/// What a lane has been offered since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets accepted, whether written or not; at most 2^32 - 1.
    pub packets: u32,
    /// Bytes of these packets on a websocket.
    pub bytes: u64,
    /// Volatile packets dropped.
    pub dropped: u32,
}

impl Lanes {
    /// Sets the waker of the transport. It is woken when packets are queued, when the lane closes, and when its socket is
    /// full. A lane with a waker and an empty queue is ready for volatile packets.
    pub fn set_waker(&mut self, id: LaneId, waker: &Waker) {
        let slot = self.backlogs.waker_mut(id.0 as usize);
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Removes the waker of the transport. Until the next one is set, volatile packets are dropped.
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

    /// Removes the first packet queued, after the transport has taken it.
    pub fn pop(&mut self, id: LaneId) {
        let index = id.0 as usize;
        let before = self.backlogs[index].queue.bytes();
        self.backlogs.take(index, self.bounds.soft, Queue::pop);
        let taken = before - self.backlogs[index].queue.bytes();
        self.backlogs.allow_transfer(index, taken);
    }

    /// What the lane has been offered since it was opened.
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

    /// Bytes of memory of all queues of this worker; shared bytes count once.
    pub fn memory(&self) -> usize {
        self.backlogs.memory()
    }

    /// Bytes queued for this client.
    pub fn queued_bytes(&self, id: LaneId) -> usize {
        self.backlogs[id.0 as usize].queue.bytes()
    }
}
