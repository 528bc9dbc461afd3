//! Batches for transports that pull: long polling, and websockets held by other nodes.

use std::task::Context as TaskContext;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::messages::{Batch, BatchFormat, PullError, Ready};
use crate::outbox::{LaneId, Lanes, PartKind, Unit};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::engine_io::payload::{MAX_PACKETS, PayloadWriter};

/// A packet without content.
#[derive(Debug, Clone, Copy)]
pub(super) enum EmptyPacket {
    /// `1`: the session has ended.
    Close,
    /// `6`: completes a poll.
    Noop,
}

/// A transport that waits for its next batch.
#[derive(Debug)]
pub(super) struct PendingPoll {
    format: BatchFormat,
    sender: oneshot::Sender<Result<Batch, PullError>>,
}

impl PendingPoll {
    /// The pending response to a request.
    pub(super) fn new(ready: Ready) -> Self {
        Self {
            format: ready.format,
            sender: ready.reply,
        }
    }

    /// Rejects the request.
    pub(super) fn reject(self, error: PullError) {
        // The transport may be gone; then the response is dropped.
        let _ = self.sender.send(Err(error));
    }

    /// Responds with one packet that has no content, to a client with this revision.
    pub(super) fn respond_empty(self, revision: EngineRevision, packet: EmptyPacket, last: bool) {
        let body = match (revision.is_v3(), packet) {
            (false, EmptyPacket::Close) => "1",
            (false, EmptyPacket::Noop) => "6",
            (true, EmptyPacket::Close) => "1:1",
            (true, EmptyPacket::Noop) => "1:6",
        };
        self.send(Bytes::from_static(body.as_bytes()), last);
    }

    fn send(self, body: Bytes, last: bool) {
        let _ = self.sender.send(Ok(Batch { body, last }));
    }

    /// Responds that the session has ended. A websocket gets no close frame: its connection ends with this batch.
    pub(super) fn respond_end(self, revision: EngineRevision) {
        match self.format {
            BatchFormat::Polling => self.respond_empty(revision, EmptyPacket::Close, true),
            BatchFormat::Websocket { .. } => self.send(Bytes::new(), true),
        }
    }

    /// Responds with the packets that wait in the lane.
    pub(super) fn respond(
        self,
        lanes: &mut Lanes,
        (lane, revision): (LaneId, EngineRevision),
        max_payload: usize,
        ended: bool,
    ) {
        let body = match self.format {
            BatchFormat::Polling => polling_body(lanes, lane, revision, max_payload),
            BatchFormat::Websocket { bytes } => websocket_frames(lanes, lane, bytes),
        };
        let last = ended && lanes.front(lane).is_none();
        self.send(body.into(), last);
    }

    /// Whether the transport is gone; otherwise the task is woken then.
    pub(super) fn poll_aborted(&mut self, cx: &mut TaskContext<'_>) -> bool {
        self.sender.poll_closed(cx).is_ready()
    }
}

fn polling_body(
    lanes: &mut Lanes,
    lane: LaneId,
    revision: EngineRevision,
    max_payload: usize,
) -> Vec<u8> {
    let mut writer = PayloadWriter::new(revision, MAX_PACKETS, max_payload);
    while let Some(packet) = lanes.front(lane) {
        if !has_room(&writer, packet) || (is_close(packet) && writer.packets() > 0) {
            break;
        }
        for part in packet.parts() {
            match part.kind {
                PartKind::Text => writer.push_text(part.content),
                PartKind::Binary => writer.push_binary(part.content),
                PartKind::Close => writer.push_text(b"1"),
            }
        }
        lanes.pop(lane);
    }
    writer.finish()
}

/// The close packet has a batch of its own: stock clients emit events a turn after they arrived, and none after a close.
fn is_close(packet: Unit<'_>) -> bool {
    packet.parts().any(|part| part.kind == PartKind::Close)
}

/// A packet and its attachments stay together.
fn has_room(writer: &PayloadWriter, packet: Unit<'_>) -> bool {
    let sizes = packet.parts().map(|part| match part.kind {
        PartKind::Binary => writer.binary_size(part.content.len()),
        PartKind::Text | PartKind::Close => writer.text_size(part.content.len()),
    });
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    writer.fits(count, bytes)
}

fn websocket_frames(lanes: &mut Lanes, lane: LaneId, bytes: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    while let Some(packet) = lanes.front(lane) {
        if !frames.is_empty() && frames.len() + packet.wire().len() > bytes {
            break;
        }
        frames.extend_from_slice(packet.wire());
        lanes.pop(lane);
    }
    frames
}
