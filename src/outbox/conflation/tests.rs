use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::outbox::fake_socket::FakeSocket;
use crate::outbox::{Bounds, Encodings, LaneId, Offered, Packet, Share};
use crate::protocol::WireFormat;

const KIB: usize = 1024;

fn lanes(soft: usize) -> Lanes {
    let bounds = Bounds {
        soft,
        hard: 32 * soft,
    };
    Lanes::new(bounds, Share::default())
}

/// A lane without a socket, as that of a polling client.
fn polling(lanes: &mut Lanes) -> LaneId {
    lanes.open(WireFormat::default())
}

fn websocket(lanes: &mut Lanes) -> (LaneId, Rc<FakeSocket>) {
    let (id, socket) = (polling(lanes), FakeSocket::with_room(0));
    lanes.attach(id, Rc::clone(&socket) as _);
    (id, socket)
}

/// Offers a packet; returns how many it replaced.
fn offer(lanes: &mut Lanes, to: &[LaneId], key: Option<&str>, packet: &Packet) -> u64 {
    let id = key.map(|key| lanes.conflation_id(key));
    let mut publish = Encodings::new(false).replacing(id);
    for lane in to {
        let offered = lanes.offer_encoded(*lane, &mut publish, |_| packet.clone());
        assert_eq!(offered, Offered::Accepted);
    }
    publish.replaced()
}

fn offer_text(lanes: &mut Lanes, to: LaneId, key: Option<&str>, text: &str) -> u64 {
    offer(lanes, &[to], key, &Packet::text(text))
}

/// Takes everything out of a lane, as a poll does.
fn drain(lanes: &mut Lanes, id: LaneId) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(unit) = lanes.front(id) {
        let parts = unit.parts();
        let parts = parts.map(|part| String::from_utf8_lossy(part.content).into_owned());
        texts.push(parts.collect::<Vec<_>>().join("+"));
        lanes.pop(id);
    }
    texts
}

#[test]
fn the_latest_packet_of_a_key_takes_the_place_at_the_end() {
    let mut lanes = lanes(100 * KIB);
    let id = polling(&mut lanes);
    for (key, text, replaced) in [
        (Some("a"), "a1", 0),
        (None, "plain 1", 0),
        (Some("b"), "b1", 0),
        (Some("a"), "a2", 1),
        (Some("a"), "a3", 1),
        (None, "plain 2", 0),
        (Some("b"), "b2", 1),
        (Some("c"), "c1", 0),
    ] {
        assert_eq!(offer_text(&mut lanes, id, key, text), replaced, "{text}");
    }
    let expected = ["plain 1", "a3", "plain 2", "b2", "c1"];
    let bytes: usize = expected.iter().map(|text| text.len() + 2).sum();
    lanes.flush(10);
    assert_eq!(lanes.queued_bytes(id), bytes);
    assert_eq!(drain(&mut lanes, id), expected);
    assert_eq!((lanes.memory(), lanes.queued_total()), (0, 0));
    assert!(lanes.backlogs[id.index()].queue.replaceable.is_none());
    // What has been sent is not replaced.
    assert_eq!(offer_text(&mut lanes, id, Some("a"), "a4"), 0);
    assert_eq!(drain(&mut lanes, id), ["a4"]);
}

#[test]
fn a_lane_that_is_not_behind_receives_every_packet() {
    let mut lanes = lanes(100 * KIB);
    let (id, socket) = websocket(&mut lanes);
    socket.room.set(KIB);
    for text in ["a1", "a2", "a3"] {
        assert_eq!(offer_text(&mut lanes, id, Some("a"), text), 0);
    }
    lanes.flush(1);
    assert_eq!(*socket.received.borrow(), b"\x81\x02a1\x81\x02a2\x81\x02a3");
}

#[test]
fn a_packet_that_is_partly_written_is_not_replaced() {
    let mut lanes = lanes(100 * KIB);
    let (id, socket) = websocket(&mut lanes);
    // The socket is full: the lane is behind from now on.
    offer_text(&mut lanes, id, None, "x");
    lanes.flush(1);
    offer_text(&mut lanes, id, Some("a"), "first");
    socket.room.set(5);
    assert!(!lanes.write_queue(id).unwrap());
    assert_eq!(offer_text(&mut lanes, id, Some("a"), "second"), 0);
    assert_eq!(offer_text(&mut lanes, id, Some("a"), "third"), 1);
    socket.room.set(KIB);
    assert!(lanes.write_queue(id).unwrap());
    let expected = b"\x81\x01x\x81\x05first\x81\x05third";
    assert_eq!(*socket.received.borrow(), expected);
    assert_eq!(lanes.memory(), 0);
}

#[test]
fn attachments_are_replaced_with_their_packet() {
    let mut lanes = lanes(100 * KIB);
    let id = polling(&mut lanes);
    let packet = |name: &'static str| {
        let attachment = Bytes::from_static(name.as_bytes());
        Packet::with_attachments("451-[]", &[attachment.clone(), attachment])
    };
    offer(&mut lanes, &[id], Some("a"), &packet("old"));
    offer(&mut lanes, &[id], None, &Packet::text("between"));
    assert_eq!(offer(&mut lanes, &[id], Some("a"), &packet("new")), 1);
    assert_eq!(drain(&mut lanes, id), ["between", "451-[]+new+new"]);
}

#[test]
fn a_client_that_stops_reading_holds_one_packet_for_each_key() {
    let mut lanes = lanes(100 * KIB);
    let (id, _socket) = websocket(&mut lanes);
    offer_text(&mut lanes, id, None, "x");
    lanes.flush(1);
    let keys: Vec<_> = (0..10).map(|key| format!("key {key}")).collect();
    for number in 0..100_000 {
        let packet = Packet::text(format!("{number:0500}"));
        offer(&mut lanes, &[id], Some(&keys[number % 10]), &packet);
        lanes.flush(1);
    }
    assert_eq!(lanes.queued_bytes(id), 3 + 10 * 504);
    assert!(lanes.memory() < 20 * KIB, "{}", lanes.memory());
    lanes.release(id);
    assert_eq!((lanes.memory(), lanes.queued_total()), (0, 0));
}

#[test]
fn a_queue_that_shrinks_below_the_limit_by_replacement_is_not_slow() {
    let mut lanes = lanes(8 * KIB);
    let id = polling(&mut lanes);
    offer_text(&mut lanes, id, Some("a"), &"x".repeat(10 * KIB));
    assert_eq!(lanes.take_overdue(), [id]);
    assert!(lanes.stalled_since(id).is_some());
    offer_text(&mut lanes, id, Some("a"), "small");
    assert!(lanes.stalled_since(id).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Offer {
        key: Option<u8>,
        size: usize,
    },
    Flush,
    /// The client reads bytes, or takes packets.
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.8, 0..6u8);
    prop_oneof![
        6 => (key, 4..200usize).prop_map(|(key, size)| Step::Offer { key, size }),
        1 => Just(Step::Offer { key: Some(1), size: 20 * KIB }),
        2 => Just(Step::Flush),
        3 => (0..400usize).prop_map(Step::Read),
    ]
}

/// Numbers of the text frames in what a socket received.
fn numbers(mut wire: &[u8]) -> Vec<usize> {
    use crate::protocol::websocket::split_header;
    let mut found = Vec::new();
    while let Some((_, header, length)) = split_header(wire) {
        let text = std::str::from_utf8(&wire[header..header + length]).unwrap();
        found.push(text.trim_start_matches('x').parse().unwrap());
        wire = &wire[header + length..];
    }
    found
}

/// The sums of a queue agree with its entries.
fn assert_exact(queue: &Queue) {
    let bytes: usize = queue.entries.iter().map(|entry| entry.bytes().len()).sum();
    assert_eq!(queue.bytes, bytes);
    assert!(!matches!(queue.entries.front(), Some(Entry::Vacant)));
    let vacant = queue.entries.iter();
    let vacant = vacant
        .filter(|entry| matches!(entry, Entry::Vacant))
        .count();
    assert!(vacant <= 32.max(queue.entries.len() / 2), "{vacant}");
    assert!(vacant == 0 || queue.replaceable.is_some());
}

proptest! {
    #[test]
    fn the_newest_of_each_key_and_everything_else_arrives_in_order(
        steps in prop::collection::vec(step(), 1..400)
    ) {
        let mut lanes = lanes(KIB * KIB);
        let ((socket_lane, socket), polling_lane) =
            (websocket(&mut lanes), polling(&mut lanes));
        let both = [socket_lane, polling_lane];
        let (mut newest, mut plain) = (BTreeMap::new(), BTreeSet::new());
        let (mut offered, mut replaced, mut polled) = (0, 0, Vec::new());
        for step in steps {
            match step {
                Step::Offer { key, size } => {
                    let packet = Packet::text(format!("{offered:x>size$}"));
                    let name = key.map(|key| key.to_string());
                    replaced += offer(&mut lanes, &both, name.as_deref(), &packet);
                    match key {
                        Some(key) => drop(newest.insert(key, offered)),
                        None => drop(plain.insert(offered)),
                    }
                    offered += 1;
                }
                Step::Flush => drop(lanes.flush(10)),
                Step::Read(amount) => {
                    socket.room.set(amount);
                    lanes.write_queue(socket_lane).unwrap();
                    for _ in 0..amount / 100 {
                        let Some(unit) = lanes.front(polling_lane) else { break };
                        polled.extend(numbers(unit.wire()));
                        lanes.pop(polling_lane);
                    }
                }
            }
            both.iter().for_each(|id| assert_exact(&lanes.backlogs[id.index()].queue));
        }
        // A lane is due once for each time that its packets of the batch were queued early.
        while lanes.flush(10) {}
        socket.room.set(usize::MAX / 2);
        prop_assert!(lanes.write_queue(socket_lane).unwrap());
        while let Some(unit) = lanes.front(polling_lane) {
            polled.extend(numbers(unit.wire()));
            lanes.pop(polling_lane);
        }
        let written = numbers(&socket.received.borrow());
        prop_assert_eq!((written.len() + polled.len()) as u64 + replaced, 2 * offered as u64);
        for received in [written, polled] {
            prop_assert!(received.is_sorted_by(|one, next| one < next), "{:?}", received);
            let received = BTreeSet::from_iter(received);
            prop_assert!(received.is_superset(&plain));
            prop_assert!(newest.values().all(|number| received.contains(number)));
        }
        prop_assert_eq!((lanes.memory(), lanes.queued_total()), (0, 0));
    }
}
