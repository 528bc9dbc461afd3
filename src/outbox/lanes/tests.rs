use super::*;
use crate::outbox::fake_socket::FakeSocket;
use crate::outbox::{Share, Tally};
use crate::protocol::wire_format::binary_parser;

fn lanes(soft: usize) -> Lanes {
    let bounds = Bounds {
        soft,
        hard: 2 * soft,
    };
    Lanes::new(bounds, Share::default())
}

fn open(lanes: &mut Lanes, socket: &Rc<FakeSocket>) -> LaneId {
    let id = lanes.open(WireFormat::default());
    lanes.attach(id, Rc::clone(socket) as Rc<dyn Sink>);
    id
}

#[test]
fn a_batch_is_one_write_and_keeps_the_order_of_each_lane() {
    // Broadcasts with gaps, and personal packets between them.
    let mut lanes = lanes(1000);
    let sockets: Vec<_> = (0..3)
        .map(|_| FakeSocket::with_room(usize::MAX / 2))
        .collect();
    let ids: Vec<_> = sockets.iter().map(|s| open(&mut lanes, s)).collect();
    let mut expected = vec![Vec::new(); 3];
    for n in 0..12 {
        let packet = Packet::text(format!("4{n}"));
        let mut staged = Staged::reliable(packet.clone());
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
        assert_eq!(*socket.received.borrow(), expected);
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
fn members_of_each_encoding_receive_a_batch_in_one_write() {
    let plain = WireFormat::default();
    let compressed = WireFormat {
        compression: Compression::Deflate,
        ..plain
    };
    let mut lanes = lanes(100_000);
    lanes.set_deflater(Deflater::new(100, 1, Default::default()));
    let members = [plain, binary_parser::format(), compressed].map(|format| {
        let socket = FakeSocket::with_room(usize::MAX / 2);
        let id = lanes.open(format);
        lanes.attach(id, Rc::clone(&socket) as Rc<dyn Sink>);
        (id, socket)
    });
    for n in 0..16 {
        let mut publish = Encodings::new(false);
        for (id, _) in &members {
            lanes.offer_encoded(*id, &mut publish, |format| match format == plain {
                true => Packet::text(format!("4{n}").repeat(100)),
                false => Packet::binary(&[n]),
            });
        }
    }
    lanes.flush(usize::MAX);
    for (id, socket) in members {
        assert_eq!(socket.writes.get(), 1);
        assert_eq!(lanes.tally(id).packets, 16);
    }
}

#[test]
fn a_full_socket_queues_then_catches_up_in_order() {
    let mut lanes = lanes(1000);
    let socket = FakeSocket::with_room(5);
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
    assert_eq!(*socket.received.borrow(), expected[..5]);
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
    assert_eq!(*socket.received.borrow(), expected);
}

#[test]
fn above_the_limit_a_lane_closes_and_other_lanes_are_not_affected() {
    let mut lanes = lanes(100);
    let (stuck, fine) = (
        FakeSocket::with_room(0),
        FakeSocket::with_room(usize::MAX / 2),
    );
    let (stuck_id, fine_id) = (open(&mut lanes, &stuck), open(&mut lanes, &fine));
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        let mut staged = Staged::reliable(Packet::text("4 twenty bytes long."));
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
    assert_eq!(fine.received.borrow().len(), 20 * 22);
    assert_eq!(lanes.queued_bytes(stuck_id), 0);
    assert_eq!(lanes.queued_total(), 0);
}

#[test]
fn a_batch_that_a_full_socket_rejects_leaves_room_in_the_queue() {
    let mut lanes = lanes(1000);
    let socket = FakeSocket::with_room(30);
    let id = open(&mut lanes, &socket);
    let outcomes: Vec<_> = (0..100)
        .map(|_| {
            let packet = Packet::text("4 twenty bytes long.");
            lanes.offer_staged(id, &mut Staged::volatile(packet))
        })
        .collect();
    lanes.flush(10);
    assert!(outcomes.contains(&Offered::Dropped));
    assert!(lanes.queued_bytes(id) <= 500);
    assert_eq!(lanes.offer(id, Packet::text("4end")), Offered::Accepted);
}

#[test]
fn volatile_packets_are_never_queued() {
    let mut lanes = lanes(1000);
    let id = lanes.open(WireFormat::default());
    let mut volatile = Staged::volatile(Packet::text("4v"));
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
    assert_eq!(lanes.open(WireFormat::default()), id);
    assert_eq!(lanes.tally(id), Tally::default());
}

#[test]
fn a_reused_lane_receives_no_packets_of_the_previous_client() {
    let mut lanes = lanes(1000);
    let (old, new) = (
        FakeSocket::with_room(usize::MAX / 2),
        FakeSocket::with_room(usize::MAX / 2),
    );
    let id = open(&mut lanes, &old);
    lanes.offer(id, Packet::text("4old"));
    lanes.release(id);
    let reused = open(&mut lanes, &new);
    assert_eq!(id, reused);
    lanes.offer(reused, Packet::text("4new"));
    lanes.flush(10);
    assert_eq!(*new.received.borrow(), Packet::text("4new").wire());
    assert!(old.received.borrow().is_empty());
}
