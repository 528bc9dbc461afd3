//! One event to many clients: encoded once per worker, offered to each member's lane.

use super::directory::Directory;
use super::shard::State;
use crate::model::{Emit, Payload};
use crate::outbox::{Offered, Packet, Staged};
use crate::protocol::socket_io::encode::encode_event;

/// Offers an event to every selected socket of this worker. Clients that do not read are reported.
pub(super) fn emit(state: &mut State, emit: &Emit, ack_id: Option<u32>, directory: &Directory) {
    let State {
        rooms, lanes, acks, ..
    } = state;
    let mut staged: Option<Staged> = None;
    let mut slow = Vec::new();
    let mut dropped = 0;
    let mut given_up = 0;
    let question = ack_id.zip(emit.ack.as_ref());
    rooms.select(&emit.to, |member| {
        let staged = staged.get_or_insert_with(|| {
            let packet = event_packet(&emit.to.namespace, ack_id, &emit.payload);
            Staged::new(packet, emit.volatile)
        });
        match lanes.offer_staged(member.lane, staged) {
            Offered::Accepted => {
                if let Some((id, token)) = question {
                    given_up += u64::from(acks.expect(id, token, member.socket));
                }
            }
            Offered::Dropped => dropped += 1,
            Offered::Overflowed => slow.push(member.lane),
            Offered::Closed => {}
        }
    });
    directory.metrics().volatile_dropped_total.add(dropped);
    directory.metrics().acks_dropped_total.add(given_up);
    for lane in slow {
        state.report_slow(lane, directory);
    }
}

/// The packet a client gets for an event.
pub fn event_packet(namespace: &str, ack_id: Option<u32>, payload: &Payload) -> Packet {
    let text = encode_event(namespace, ack_id.map(u64::from), payload);
    Packet::with_attachments(&text, &payload.attachments)
}
