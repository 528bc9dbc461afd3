//! POST requests of a polling client.

use actix::{ActorContext, Context, Handler};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::messages::{Abort, Post, PostAborted, PostError, PostStarted};
use super::pending_poll::EmptyPacket;
use super::state::{HeldPost, Session};
use crate::clock;
use crate::model::TransportName;
use crate::protocol::engine_io::PayloadPacket;
use crate::protocol::engine_io::payload::BodyPackets;
use crate::protocol::engine_io::state::CloseReason;

impl Handler<PostStarted> for Session {
    type Result = ();

    fn handle(&mut self, started: PostStarted, ctx: &mut Self::Context) {
        self.follow_up.note_request();
        if self.post.is_some() || self.held_post.is_some() {
            self.post = None;
            return self.close(CloseReason::TransportError, ctx);
        }
        self.post = Some(started);
    }
}

impl Handler<PostAborted> for Session {
    type Result = ();

    fn handle(&mut self, PostAborted { post, why }: PostAborted, ctx: &mut Self::Context) {
        let aborted = self.post.take_if(|started| started.post == post);
        // After an upgrade, errors of a late POST are ignored.
        let polling = self.transport == TransportName::Polling;
        if aborted.is_some() && why == Abort::BrokeOff && polling {
            self.close(CloseReason::TransportError, ctx);
        }
    }
}

impl Handler<Post> for Session {
    type Result = ();

    fn handle(&mut self, post: Post, ctx: &mut Self::Context) {
        let in_order = self
            .post
            .take()
            .is_some_and(|started| started.post == post.post);
        let error = if self.transport != TransportName::Polling {
            PostError::TransportMismatch
        } else if self.has_ended() || !in_order {
            PostError::Duplicate
        } else {
            return self.continue_post(Some(post.body), post.reply, ctx);
        };
        let _ = post.reply.send(Err(error));
    }
}

impl Session {
    /// Receives packets of a body until too many events wait for the app; then the rest, and the response, wait too.
    pub(super) fn continue_post(
        &mut self,
        body: Option<Bytes>,
        reply: oneshot::Sender<Result<(), PostError>>,
        ctx: &mut Context<Self>,
    ) {
        let received = body.map_or(Ok(None), |body| self.receive_payload(&body, ctx));
        match received {
            Ok(rest) if self.is_behind() && !self.has_ended() => {
                self.held_post = Some(HeldPost { reply, rest });
            }
            received => drop(reply.send(received.map(drop))),
        }
    }

    /// Returns the packets that were not received because the session is behind.
    fn receive_payload(
        &mut self,
        body: &Bytes,
        ctx: &mut Context<Self>,
    ) -> Result<Option<Bytes>, PostError> {
        let now = clock::now();
        let revision = self.revision();
        let Ok(mut packets) = BodyPackets::decode(revision, body) else {
            self.close(CloseReason::ParseError, ctx);
            return Err(PostError::Malformed);
        };
        while let Some(packet) = packets.next() {
            match packet {
                Ok(PayloadPacket::Packet(packet)) => self.receive_packet(packet, now, ctx),
                Ok(PayloadPacket::Binary(content)) => {
                    self.receive_binary_message(content.into(), now, ctx);
                }
                Err(_) => self.close(CloseReason::ParseError, ctx),
            }
            match self.end_reason() {
                None if self.is_behind() => {
                    return Ok(packets.rest().map(|rest| body.slice_ref(rest)));
                }
                None => {}
                Some(CloseReason::ParseError) => return Err(PostError::Malformed),
                Some(CloseReason::TransportClose) => {
                    self.stop_polling(ctx);
                    return Ok(None);
                }
                Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The client closed the session: its pending poll ends with a noop, and it sends no other (docs/protocol.md#17-errors).
    fn stop_polling(&mut self, ctx: &mut Context<Self>) {
        if let Some(poll) = self.poll.take() {
            poll.respond_empty(self.revision(), EmptyPacket::Noop, true);
        }
        ctx.stop();
    }
}
