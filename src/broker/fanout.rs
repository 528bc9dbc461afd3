//! Sends one event to many clients: encoded once for each worker, and offered to the lane of each member.

use std::time::Instant;

use super::directory::Directory;
use super::messages::{Notice, QueueLimit};
use super::shard::state::State;
use crate::metrics::Metrics;
use crate::metrics::labels::{Direction, SlowPolicy};
use crate::model::{Emit, Payload};
use crate::outbox::{Offered, Packet, Staged};
use crate::protocol::socket_io::encode::encode_event;

/// Offers an event to every selected socket of this worker, and returns how many accepted it. Notifies the sessions of
/// clients whose queues overflow.
pub(super) fn emit(
    state: &mut State,
    emit: &Emit,
    ack_id: Option<u32>,
    since: Instant,
    directory: &Directory,
) -> u64 {
    let State {
        rooms,
        lanes,
        acks,
        batch,
        ..
    } = state;
    let mut staged: Option<Staged> = None;
    let mut slow = Vec::new();
    let mut accepted = 0;
    let mut dropped = 0;
    let mut acks_dropped = 0;
    let request = ack_id.zip(emit.ack.as_ref());
    rooms.select(&emit.to, |member| {
        let staged = staged.get_or_insert_with(|| {
            let packet = event_packet(&emit.to.namespace, ack_id, &emit.payload);
            Staged::new(packet, emit.volatile)
        });
        match lanes.offer_staged(member.lane, staged) {
            Offered::Accepted => {
                accepted += 1;
                if let Some((id, token)) = request {
                    acks_dropped += u64::from(acks.expect(id, token, member.socket));
                }
            }
            Offered::Dropped => dropped += 1,
            Offered::Overflowed => slow.push(member.lane),
            Offered::Closed => {}
        }
    });
    if accepted > 0 && batch.add(since) {
        // The lanes wake it only for packets that can be written at once.
        lanes.wake_flusher();
    }
    let metrics = directory.metrics();
    let bytes = staged.map_or(0, |staged| staged.wire_len() as u64);
    count_sent(metrics, accepted, bytes);
    let losses = &metrics.slow_consumers_total;
    losses.of(SlowPolicy::VolatileDropped).add(dropped);
    metrics.acks_dropped_total.add(acks_dropped);
    for lane in slow {
        state.notify(lane, Notice::SlowConsumer(QueueLimit::Client));
    }
    state.report_overdue();
    accepted
}

/// Counts packets of `bytes` each.
pub(super) fn count_sent(metrics: &Metrics, packets: u64, bytes: u64) {
    metrics.messages_total.of(Direction::Sent).add(packets);
    let sent = metrics.message_bytes_total.of(Direction::Sent);
    sent.add(packets * bytes);
}

/// The packet in which clients receive an event.
pub fn event_packet(namespace: &str, ack_id: Option<u32>, payload: &Payload) -> Packet {
    let text = encode_event(namespace, ack_id.map(u64::from), payload);
    Packet::with_attachments(&text, &payload.attachments)
}
