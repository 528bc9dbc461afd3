//! Batches for transports that ask: long polling, and websockets held by other nodes.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::{ActorContext, ActorFuture, Context};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::Session;
use super::messages::{Batch, BatchFormat, PullError, Ready};
use crate::outbox::{LaneId, Lanes, PartKind, Unit};
use crate::protocol::engine_io::payload::{MAX_PACKETS, PayloadWriter};
use crate::protocol::engine_io::state::CloseReason;

/// A transport that waits for its next batch.
#[derive(Debug)]
pub(super) struct PendingPoll {
    format: BatchFormat,
    sender: oneshot::Sender<Result<Batch, PullError>>,
}

impl PendingPoll {
    /// The outlet of a request.
    pub(super) fn new(ready: Ready) -> Self {
        Self {
            format: ready.format,
            sender: ready.outlet,
        }
    }

    /// Refuses the request.
    pub(super) fn refuse(self, error: PullError) {
        // Whoever asked may be gone; then nobody needs the answer.
        let _ = self.sender.send(Err(error));
    }

    /// Answers with one text packet.
    pub(super) fn answer_text(self, text: &'static str, last: bool) {
        let body = Bytes::from_static(text.as_bytes());
        let _ = self.sender.send(Ok(Batch { body, last }));
    }

    /// Responds that the session has ended. A websocket gets no close frame: its connection ends with this batch.
    pub(super) fn answer_end(self) {
        match self.format {
            BatchFormat::Polling => self.answer_text("1", true),
            BatchFormat::Websocket { .. } => self.answer_text("", true),
        }
    }

    /// Answers with what waits in the lane.
    pub(super) fn answer(self, lanes: &mut Lanes, lane: LaneId, max_payload: usize, ended: bool) {
        let body = match self.format {
            BatchFormat::Polling => polling_body(lanes, lane, max_payload),
            BatchFormat::Websocket { bytes } => websocket_frames(lanes, lane, bytes),
        };
        let last = ended && lanes.front(lane).is_none();
        let _ = self.sender.send(Ok(Batch {
            body: body.into(),
            last,
        }));
    }

    fn poll_aborted(&mut self, cx: &mut TaskContext<'_>) -> bool {
        self.sender.poll_closed(cx).is_ready()
    }
}

fn polling_body(lanes: &mut Lanes, lane: LaneId, max_payload: usize) -> Vec<u8> {
    let mut writer = PayloadWriter::new(MAX_PACKETS, max_payload);
    while let Some(packet) = lanes.front(lane) {
        if !has_room(&writer, packet) || (ends(packet) && writer.packets() > 0) {
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

/// The end has a batch of its own: stock clients hand out events a turn after they came, and after an end no more.
fn ends(packet: Unit<'_>) -> bool {
    packet.parts().any(|part| part.kind == PartKind::Close)
}

/// A packet and its attachments stay together.
fn has_room(writer: &PayloadWriter, packet: Unit<'_>) -> bool {
    let sizes = packet.parts().map(|part| match part.kind {
        PartKind::Binary => part.content.len().div_ceil(3) * 4 + 2,
        PartKind::Text | PartKind::Close => part.content.len() + 1,
    });
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    writer.packets() == 0 || (writer.packets() + count <= MAX_PACKETS && writer.fits_text(bytes))
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

/// Answers the waiting outlet when there is something to say, and notices when its client gives up.
/// Runs as long as the session is pulled from.
pub(super) struct Drain;

impl ActorFuture<Session> for Drain {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if session.attached {
            return Poll::Ready(());
        }
        let lane = session.lane;
        let Some(outlet) = &mut session.outlet else {
            session
                .worker
                .shard
                .with_lanes(|lanes| lanes.clear_waker(lane));
            return Poll::Pending;
        };
        if outlet.poll_aborted(cx) {
            session.outlet = None;
            session.close(CloseReason::TransportError, ctx);
            // Also if it had ended before: nobody is left to fetch the rest.
            ctx.stop();
            return Poll::Pending;
        }
        session
            .worker
            .shard
            .with_lanes(|lanes| lanes.set_waker(lane, cx.waker()));
        session.answer_outlet(ctx);
        Poll::Pending
    }
}
