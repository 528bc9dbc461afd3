//! Sends one event to many clients: encoded once for each worker and wire format in use, and offered to the lane of each
//! member.

use std::time::Instant;

use super::directory::Directory;
use super::messages::{Dispatch, Notice, QueueLimit};
use super::shard::state::State;
use crate::metrics::Metrics;
use crate::metrics::labels::{Direction, SlowPolicy};
use crate::model::{Emit, Selector};
use crate::outbox::{Encodings, Lanes, Offered, Packet, Receivers};
use crate::protocol::ServerPacket;

/// Offers an event to every selected socket of this worker, and returns how many accepted it. Notifies the sessions of
/// clients whose queues overflow. `dispatch` is the dispatch of `emit`.
pub(super) fn emit(
    state: &mut State,
    emit: &Emit,
    dispatch: &Dispatch,
    since: Instant,
    directory: &Directory,
) -> u64 {
    let State {
        rooms,
        lanes,
        acks,
        batch,
        replays,
        ..
    } = state;
    let packet = ServerPacket::Event {
        namespace: &emit.to.namespace,
        ack_id: dispatch.ack_id,
        payload: &emit.payload,
        position: dispatch.position,
    };
    let mut encodings = encodings(lanes, emit);
    let mut slow = Vec::new();
    let (mut dropped, mut acks_dropped) = (0, 0);
    // Of a logged event, where a socket may have to receive older ones first.
    let position = dispatch.position.filter(|_| !replays.is_empty());
    let request = dispatch.ack_id.zip(emit.ack.as_ref());
    rooms.select(&emit.to, |member| {
        if let Some(position) = position
            && replays.withholds(member.socket, emit, position, &dispatch.command)
        {
            return;
        }
        let encode = |format| Packet::encode(format, &packet);
        match lanes.offer_encoded(member.lane, &mut encodings, encode) {
            Offered::Accepted => {
                if let Some((id, token)) = request {
                    acks_dropped += u64::from(acks.expect(id, token, member.socket));
                }
            }
            Offered::Dropped => dropped += 1,
            Offered::Overflowed => slow.push(member.lane),
            Offered::Closed => {}
        }
    });
    let (accepted, bytes) = encodings.accepted();
    if accepted > 0 && batch.add(since) {
        // The lanes wake it only for packets that can be written at once.
        lanes.wake_flusher();
    }
    let metrics = directory.metrics();
    count_sent(metrics, accepted, bytes);
    count_lost(metrics, dropped, acks_dropped, encodings.replaced());
    for lane in slow {
        state.notify(lane, Notice::SlowConsumer(QueueLimit::Client));
    }
    state.report_overdue();
    accepted
}

/// The encodings of an event, of which there are none yet.
fn encodings(lanes: &Lanes, emit: &Emit) -> Encodings {
    let Emit { to, conflate, .. } = emit;
    let conflate = conflate.as_ref();
    let conflate = conflate.map(|key| lanes.conflation_id((&to.namespace, &to.rooms, key)));
    let encodings = Encodings::new(emit.volatile).replacing(conflate);
    match lanes.compresses() {
        false => encodings,
        true => encodings.for_receivers(receivers(to)),
    }
}

fn receivers(to: &Selector) -> Receivers {
    match to.single_socket() {
        Some(_) => Receivers::One,
        None => Receivers::Several,
    }
}

/// Counts volatile events that were dropped, acks that are not awaited any more, and events replaced by later ones.
fn count_lost(metrics: &Metrics, volatile: u64, acks: u64, replaced: u64) {
    let losses = &metrics.slow_consumers_total;
    losses.of(SlowPolicy::VolatileDropped).add(volatile);
    metrics.acks_dropped_total.add(acks);
    metrics.conflated_total.add(replaced);
}

/// Counts packets sent and the bytes of all of them.
pub(super) fn count_sent(metrics: &Metrics, packets: u64, bytes: u64) {
    metrics.messages_total.of(Direction::Sent).add(packets);
    let sent = metrics.message_bytes_total.of(Direction::Sent);
    sent.add(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::shard::state::ShardLimits;
    use super::*;
    use crate::metrics::labels::Origin;
    use crate::model::payload::netstrings::CONVERTED;
    use crate::model::random::OsRandom;
    use crate::model::{
        Command, Namespace, NodeId, Payload, Room, Selector, SocketId, WorkerIndex,
    };
    use crate::outbox::{Bounds, PartKind, Share};
    use crate::protocol::WireFormat;
    use crate::protocol::wire_format::binary_parser;

    #[test]
    fn members_of_one_room_receive_an_event_in_their_own_format_encoded_once_for_each() {
        // Members of the other format need a conversion, whichever encoding the payload arrived in.
        for (payload, conversions) in [
            (Payload::event("e", ["1"]), [1, 0]),
            (Payload::from_netstrings("3:\"e\",1:1,|"), [0, 1]),
        ] {
            publish_to_members_of_two_formats(payload, conversions);
        }
    }

    fn publish_to_members_of_two_formats(payload: Payload, conversions: [usize; 2]) {
        let node = NodeId::random(&OsRandom);
        let directory = Directory::new(node, 1, None, Default::default());
        let limits = ShardLimits {
            outbox: Bounds {
                soft: 1000,
                hard: 2000,
            },
            pending_acks: 1,
            rooms: 1,
        };
        let mut state = State::new(limits, Share::default());
        let (namespace, room) = (Namespace::main(), Room::from("r"));
        let formats = [WireFormat::default(), binary_parser::format()];
        let members: Vec<_> = (0..6)
            .map(|n| {
                let lane = state.lanes.open(formats[n % 2]);
                let id = SocketId::random(node, WorkerIndex::default(), &OsRandom);
                let key = state.rooms.register(&namespace, id, lane);
                state.rooms.join(key, &room, &mut state.changes);
                (lane, formats[n % 2])
            })
            .collect();
        let event = Emit {
            to: Selector::room(namespace, room),
            payload,
            volatile: false,
            ack: None,
            conflate: None,
        };
        binary_parser::ENCODED.set(0);
        CONVERTED.set([0, 0]);
        let command = Command::Emit(event.clone());
        let dispatch = directory.admit(command.into(), Origin::Local);
        let now = crate::clock::now();
        let accepted = emit(&mut state, &event, &dispatch, now, &directory);
        assert_eq!(accepted, 6);
        assert_eq!(binary_parser::ENCODED.get(), 1);
        assert_eq!(CONVERTED.get(), conversions);
        for (lane, format) in members {
            let (kind, content): (_, &[u8]) = match format == WireFormat::default() {
                true => (PartKind::Text, br#"42["e",1]"#),
                false => (PartKind::Binary, br#"B3:"e",1:1,|"#),
            };
            let parts = state.lanes.front(lane).unwrap().parts();
            let parts: Vec<_> = parts.map(|part| (part.kind, part.content)).collect();
            assert_eq!(parts, [(kind, content)]);
        }
    }
}
