//! Responses to polls, as soon as there is something to send.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::{ActorContext, ActorFuture, Context};

use super::pending_poll::EmptyPacket;
use super::state::Session;
use crate::protocol::engine_io::state::CloseReason;

/// Responds to a pending poll when there is something to send, and notices when its client aborts it. Runs for as long
/// as the session is pulled from.
pub(super) struct PollResponder;

impl ActorFuture<Session> for PollResponder {
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
        let Some(pending) = &mut session.poll else {
            session
                .worker
                .shard
                .with_lanes(|lanes| lanes.clear_waker(lane));
            return Poll::Pending;
        };
        if pending.poll_aborted(cx) {
            session.poll = None;
            session.close(CloseReason::TransportError, ctx);
            // Even if it had ended before: no client is left to fetch the rest.
            ctx.stop();
            return Poll::Pending;
        }
        session
            .worker
            .shard
            .with_lanes(|lanes| lanes.set_waker(lane, cx.waker()));
        session.respond_to_poll(ctx);
        Poll::Pending
    }
}

impl Session {
    /// Responds to the pending poll if there is something to send.
    pub(super) fn respond_to_poll(&mut self, ctx: &mut Context<Self>) {
        let lane = self.lane;
        let shard = Rc::clone(&self.worker.shard);
        let has_packets = shard.with_lanes(|lanes| lanes.front(lane).is_some());
        let ended = self.has_ended();
        if has_packets && let Some(poll) = self.poll.take() {
            let max_payload = self.worker.settings.timing.max_payload;
            let target = (lane, self.revision());
            shard.with_lanes(|lanes| poll.respond(lanes, target, max_payload, ended));
        } else if ended && let Some(poll) = self.poll.take() {
            // The queue of a slow client was dropped, including the close packet.
            poll.respond_end(self.revision());
        } else if self.upgrading.is_some()
            && let Some(poll) = self.poll.take()
        {
            poll.respond_empty(self.revision(), EmptyPacket::Noop, false);
        }
        if ended && shard.with_lanes(|lanes| lanes.front(lane).is_none()) {
            ctx.stop();
        }
    }
}
