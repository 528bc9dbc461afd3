//! Policy for clients that do not keep up: progress, back-pressure and the memory budget.

use std::cmp::Reverse;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use super::budget::Claim;
use super::lane::{LaneId, State};
use super::lanes::Lanes;

impl Lanes {
    /// Bytes that a lane has queued or staged.
    pub(super) fn waiting(&self, index: usize) -> usize {
        self.backlogs[index].queue.weight() + self.lanes[index].pending()
    }

    /// Whether a packet of `size` bytes may be queued behind `waiting` bytes.
    pub(super) fn fits(&self, waiting: usize, size: usize) -> bool {
        waiting <= self.bounds.soft || waiting + size <= self.bounds.hard
    }

    /// Handles the growth of a queue.
    pub(super) fn grown(&mut self, index: usize) {
        let id = LaneId(index as u32);
        if self.backlogs[index].queue.weight() > self.bounds.soft && self.backlogs.overdue(index) {
            self.overdue.push(id);
        }
        self.wake(id);
    }

    /// Lanes that exceeded the soft limit since the last call.
    pub fn take_overdue(&mut self) -> Vec<LaneId> {
        std::mem::take(&mut self.overdue)
    }

    /// When a client whose queue exceeds the soft limit last made progress. `None`: the queue is within the limit
    /// again; [`Lanes::take_overdue`] returns the lane if it exceeds it again.
    pub fn stalled_since(&mut self, id: LaneId) -> Option<Instant> {
        self.backlogs.stalled_since(id.0 as usize)
    }

    /// Ready when the queue of a client is within the soft limit, or the client is gone; otherwise the task is woken
    /// then.
    pub fn poll_capacity(&mut self, id: LaneId, cx: &TaskContext<'_>) -> Poll<()> {
        let state = self.lanes[id.0 as usize].state;
        if state == State::Queued {
            self.write_lane(id.0 as usize);
        }
        let is_open = !matches!(state, State::Closed | State::Free);
        match self.backlogs.slow_mut(id.0 as usize) {
            Some(slow) if slow.since.is_some() && is_open => {
                if !slow.waiting.iter().any(|old| old.will_wake(cx.waker())) {
                    slow.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Enforces the memory budget of the node: discards lanes that are closed already, then those above the soft limit,
    /// the longest without progress first, then the largest. Returns the discarded lanes.
    pub fn keep_to_budget(&mut self) -> Vec<LaneId> {
        let Claim::Over { keep } = self.share.claim(self.backlogs.memory()) else {
            return Vec::new();
        };
        let mut holders: Vec<u32> = (0..self.lanes.len() as u32)
            .filter(|index| !self.backlogs[*index as usize].queue.is_empty())
            .collect();
        holders.sort_by_cached_key(|index| {
            let backlog = &self.backlogs[*index as usize];
            let since = backlog.slow.as_ref().and_then(|slow| slow.since);
            // The session has ended: its queue is dropped before the session of another client is closed.
            let is_open = self.lanes[*index as usize].state != State::Closed;
            let size = Reverse(backlog.queue.weight());
            (is_open, since.is_none(), since, size)
        });
        let mut discarded = Vec::new();
        for index in holders {
            if self.backlogs.memory() <= keep {
                break;
            }
            self.discard(LaneId(index));
            discarded.push(LaneId(index));
        }
        self.share.claim(self.backlogs.memory());
        discarded
    }

    /// Closes a lane and drops its queue.
    pub fn discard(&mut self, id: LaneId) {
        let index = id.0 as usize;
        self.lanes[index].range_count = 0;
        self.lanes[index].state = State::Closed;
        self.backlogs.empty(index);
        self.wake(id);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::outbox::encodings::Staged;
    use crate::outbox::fake_socket::FakeSocket;
    use crate::outbox::{Bounds, Budget, Offered, Packet, Share};
    use crate::protocol::WireFormat;

    const KIB: usize = 1024;
    const SECOND: Duration = Duration::from_secs(1);
    const MIB: usize = 1024 * KIB;
    const SHIPPED: Bounds = Bounds {
        soft: MIB,
        hard: 32 * MIB,
    };

    fn attached(lanes: &mut Lanes) -> (LaneId, Rc<FakeSocket>) {
        let (id, socket) = (open(lanes), FakeSocket::with_room(0));
        lanes.attach(id, Rc::clone(&socket) as _);
        (id, socket)
    }

    fn open(lanes: &mut Lanes) -> LaneId {
        lanes.open(WireFormat::default())
    }

    fn poll_capacity(lanes: &mut Lanes, id: LaneId) -> Poll<()> {
        lanes.poll_capacity(id, &TaskContext::from_waker(Waker::noop()))
    }

    #[test]
    fn small_packets_for_500_clients_share_their_memory() {
        let mut lanes = Lanes::new(SHIPPED, Share::default());
        let ids: Vec<_> = (0..500).map(|_| open(&mut lanes)).collect();
        let (each, packets) = (Packet::text(r#"42["e"]"#), 22_000);
        for number in 0..packets {
            let mut staged = Staged::reliable(each.clone());
            for id in &ids {
                assert_eq!(lanes.offer_staged(*id, &mut staged), Offered::Accepted);
            }
            if number % 1000 == 0 {
                lanes.flush(ids.len());
            }
        }
        lanes.flush(ids.len());
        let bytes = packets * each.wire().len();
        assert_eq!(lanes.queued_total(), bytes * ids.len());
        assert!(lanes.memory() < 4 * bytes, "{}", lanes.memory());
        // Flushed one by one, the packets are copied for each client, into few chunks.
        let mut lanes = Lanes::new(SHIPPED, Share::default());
        let ids: Vec<_> = (0..5).map(|_| open(&mut lanes)).collect();
        for _ in 0..packets {
            let mut staged = Staged::reliable(each.clone());
            for id in &ids {
                lanes.offer_staged(*id, &mut staged);
            }
            lanes.flush(ids.len());
        }
        let held = lanes.memory();
        assert!(held < ids.len() * bytes * 102 / 100, "{held}");
        ids.into_iter().for_each(|id| lanes.release(id));
        assert_eq!((lanes.memory(), lanes.queued_total()), (0, 0));
    }

    #[test]
    fn the_unwritten_rest_of_a_large_packet_is_copied_once_for_all_sockets() {
        let mut lanes = Lanes::new(SHIPPED, Share::default());
        let clients: Vec<_> = (0..400).map(|_| attached(&mut lanes)).collect();
        for (number, (_, socket)) in clients.iter().enumerate() {
            socket.room.set(number * 100);
        }
        let mut staged = Staged::reliable(Packet::text("x".repeat(990_000)));
        let packet = staged.packet.clone();
        for (id, _) in &clients {
            lanes.offer_staged(*id, &mut staged);
        }
        // A second packet of this size does not fit the batch.
        let small = Packet::text("4small");
        lanes.offer(clients[0].0, small.clone());
        lanes.flush(clients.len());
        assert!(lanes.queued_total() > 380_000_000);
        assert!(lanes.memory() < 1_100_000, "{}", lanes.memory());
        for (number, (id, socket)) in clients.iter().enumerate() {
            socket.room.set(usize::MAX / 2);
            assert!(lanes.write_queue(*id).unwrap());
            let rest = if number == 0 { small.wire() } else { &[] };
            let expected = [packet.wire(), rest].concat();
            assert!(*socket.received.borrow() == expected, "{number}");
        }
        assert_eq!(lanes.memory(), 0);
    }

    #[test]
    fn a_small_packet_does_not_keep_a_large_batch_alive() {
        let mut lanes = Lanes::new(SHIPPED, Share::default());
        let (few, (most, socket)) = (open(&mut lanes), attached(&mut lanes));
        socket.room.set(usize::MAX / 2);
        for number in 0..1000 {
            let mut staged = Staged::reliable(Packet::text("x".repeat(200)));
            lanes.offer_staged(most, &mut staged);
            if number == 500 {
                lanes.offer_staged(few, &mut staged);
            }
        }
        lanes.flush(2);
        assert!(lanes.memory() < 400, "{}", lanes.memory());
    }

    #[test]
    fn above_the_soft_limit_a_client_must_make_progress() {
        let bounds = Bounds {
            soft: 10 * KIB,
            hard: MIB,
        };
        let mut lanes = Lanes::new(bounds, Share::default());
        let (id, socket) = attached(&mut lanes);
        assert_eq!(lanes.stalled_since(id), None);
        assert!(poll_capacity(&mut lanes, id).is_ready());
        let packet = Packet::text("x".repeat(KIB));
        for _ in 0..100 {
            assert_eq!(lanes.offer(id, packet.clone()), Offered::Accepted);
            lanes.flush(1);
        }
        assert_eq!(lanes.take_overdue(), [id], "reported once");
        let stalled = lanes.stalled_since(id).unwrap();
        assert!(poll_capacity(&mut lanes, id).is_pending());
        assert_eq!(lanes.stalled_since(id), Some(stalled), "no progress yet");
        socket.room.set(1);
        assert!(!lanes.write_queue(id).unwrap());
        let taken = lanes.stalled_since(id).unwrap();
        assert!(taken > stalled, "one byte is progress");
        socket.room.set(95 * KIB);
        assert!(!lanes.write_queue(id).unwrap());
        assert!(poll_capacity(&mut lanes, id).is_ready());
        assert_eq!(lanes.stalled_since(id), None);
        // And again.
        for _ in 0..10 {
            lanes.offer(id, packet.clone());
        }
        lanes.flush(1);
        assert_eq!(lanes.take_overdue(), [id]);
    }

    #[test]
    fn a_batch_counts_as_progress_while_a_slow_connection_transfers_it() {
        let bounds = Bounds {
            soft: 10 * KIB,
            hard: 10 * MIB,
        };
        let mut lanes = Lanes::new(bounds, Share::default());
        let id = open(&mut lanes);
        for _ in 0..8 {
            lanes.offer(id, Packet::text("x".repeat(160 * KIB)));
        }
        let start = crate::clock::now();
        // The batch of a poll: 320 KiB take 20 s at 16 KiB/s.
        lanes.pop(id);
        lanes.pop(id);
        let transfer = Duration::from_secs(20);
        let stalled = |lanes: &mut Lanes| lanes.stalled_since(id).unwrap();
        let end = stalled(&mut lanes);
        assert!(end >= start + transfer && end <= crate::clock::now() + transfer + SECOND);
        // The allowance is bounded for a client that polls again sooner.
        for _ in 0..5 {
            lanes.pop(id);
        }
        assert!(stalled(&mut lanes) <= crate::clock::now() + Duration::from_secs(60));
        // The allowance remains while the queue is short.
        lanes.pop(id);
        assert_eq!(lanes.stalled_since(id), None);
        lanes.offer(id, Packet::text("x".repeat(160 * KIB)));
        lanes.offer(id, Packet::text("4"));
        assert!(stalled(&mut lanes) > start + transfer);
    }

    #[test]
    fn a_burst_beyond_the_hard_limit_is_offered_to_the_socket_before_the_lane_is_discarded() {
        let bounds = Bounds {
            soft: 10 * KIB,
            hard: 100 * KIB,
        };
        let packet = Packet::text("x".repeat(KIB));
        for (room, last) in [(MIB, Offered::Accepted), (0, Offered::Overflowed)] {
            let mut lanes = Lanes::new(bounds, Share::default());
            let (id, socket) = attached(&mut lanes);
            // The socket is full temporarily.
            lanes.offer(id, packet.clone());
            lanes.flush(1);
            socket.room.set(room);
            let outcomes: Vec<_> = (0..200).map(|_| lanes.offer(id, packet.clone())).collect();
            assert!(outcomes.contains(&last), "{room}");
            assert_eq!(outcomes.contains(&Offered::Overflowed), room == 0);
        }
    }

    #[test]
    fn one_packet_of_any_size_fits_on_top_of_the_soft_limit() {
        let bounds = Bounds {
            soft: 10 * KIB,
            hard: 20 * KIB,
        };
        let mut lanes = Lanes::new(bounds, Share::default());
        let id = open(&mut lanes);
        let large = Packet::text("x".repeat(16 * MIB));
        assert_eq!(lanes.offer(id, Packet::text("4first")), Offered::Accepted);
        assert_eq!(lanes.offer(id, large.clone()), Offered::Accepted);
        assert_eq!(lanes.offer(id, Packet::text("4")), Offered::Overflowed);
        assert_eq!(lanes.memory(), 0);
    }

    #[test]
    fn above_the_budget_lanes_without_progress_are_discarded_first() {
        let bounds = Bounds {
            soft: 100 * KIB,
            hard: MIB,
        };
        let budget = Budget::new(1100 * KIB, 1);
        let mut lanes = Lanes::new(bounds, Share::of(&budget, 0));
        let ids: Vec<_> = (0..4).map(|_| open(&mut lanes)).collect();
        // The first is within its limit, the others exceeded it one after the other.
        for (id, kib) in ids.iter().zip([90, 200, 400, 300]) {
            for _ in 0..kib {
                lanes.offer(*id, Packet::text("x".repeat(KIB)));
                lanes.flush(1);
            }
        }
        assert_eq!(lanes.keep_to_budget(), [ids[1]]);
        assert_eq!(lanes.offer(ids[1], Packet::text("4")), Offered::Closed);
        assert_eq!(lanes.keep_to_budget(), []);
        budget.set_limit(200 * KIB);
        assert_eq!(lanes.keep_to_budget(), [ids[2], ids[3]]);
        assert!(lanes.queued_bytes(ids[0]) > 90 * KIB);
    }

    #[test]
    fn above_the_budget_queues_of_ended_sessions_are_dropped_first() {
        let bounds = Bounds {
            soft: 100 * KIB,
            hard: MIB,
        };
        let budget = Budget::new(1000 * KIB, 1);
        let mut lanes = Lanes::new(bounds, Share::of(&budget, 0));
        let (ended, slow, fine) = (open(&mut lanes), open(&mut lanes), open(&mut lanes));
        for (id, kib) in [(ended, 700), (slow, 300), (fine, 50)] {
            for _ in 0..kib {
                lanes.offer(id, Packet::text("x".repeat(KIB)));
                lanes.flush(1);
            }
        }
        lanes.close(ended);
        assert_eq!(lanes.keep_to_budget(), [ended]);
        assert_eq!(lanes.queued_bytes(ended), 0);
        assert_eq!(lanes.offer(slow, Packet::text("4")), Offered::Accepted);
        assert!(lanes.memory() < 500 * KIB, "{}", lanes.memory());
    }
}
