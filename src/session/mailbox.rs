//! The session's mailbox: one handler per message.

use std::time::Duration;

use actix::{ActorContext, AsyncContext, Context, Handler};
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::Session;
use super::messages::{
    Abort, BatchFormat, Detached, Post, PostAborted, PostError, PostStarted, ProbeFailed,
    ProbeStarted, Probed, PullError, Ready, Receive, ShutDown, Upgraded,
};
use super::pending_poll::PendingPoll;
use crate::broker::messages::{Notice, Slowness};
use crate::limits::Limit;
use crate::model::TransportName;
use crate::protocol::engine_io::packet::Packet as EnginePacket;
use crate::protocol::engine_io::payload::{self, PayloadPacket};
use crate::protocol::engine_io::state::CloseReason;

/// How often a session that must end looks whether it can.
const SETTLING_INTERVAL: Duration = Duration::from_millis(50);

/// A post whose answer waits until the app has caught up.
pub(super) struct HeldPost {
    pub(super) reply: oneshot::Sender<Result<(), PostError>>,
    /// Its packets that are not decoded yet: decoded events take many times their memory.
    pub(super) rest: Option<ByteString>,
}

impl Handler<Ready> for Session {
    type Result = ();

    fn handle(&mut self, ready: Ready, ctx: &mut Self::Context) {
        let websocket = matches!(ready.format, BatchFormat::Websocket { .. });
        let outlet = PendingPoll::new(ready);
        if websocket != (self.transport == TransportName::Websocket) || self.attached {
            return outlet.refuse(PullError::TransportMismatch);
        }
        self.arrival.note_pull();
        if let Some(first) = self.outlet.take() {
            first.answer_text("1", true);
            outlet.refuse(PullError::Duplicate);
            return self.close(CloseReason::TransportError, ctx);
        }
        self.outlet = Some(outlet);
        self.answer_outlet(ctx);
    }
}

impl Handler<PostStarted> for Session {
    type Result = ();

    fn handle(&mut self, started: PostStarted, ctx: &mut Self::Context) {
        self.arrival.note_request();
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
        // After an upgrade, the fate of a late post does not matter.
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
        let answer = if self.transport != TransportName::Polling {
            Err(PostError::TransportMismatch)
        } else if self.has_ended() || !in_order {
            Err(PostError::Duplicate)
        } else {
            return self.take_post(post, ctx);
        };
        let _ = post.reply.send(answer);
    }
}

impl Session {
    fn take_post(&mut self, post: Post, ctx: &mut Context<Self>) {
        match ByteString::try_from(post.body) {
            Ok(body) => self.continue_post(Some(body), post.reply, ctx),
            Err(_) => {
                self.close(CloseReason::ParseError, ctx);
                let _ = post.reply.send(Err(PostError::Malformed));
            }
        }
    }

    /// Takes packets of a body until too many events wait for the app; the rest, and the answer, wait too.
    pub(super) fn continue_post(
        &mut self,
        body: Option<ByteString>,
        reply: oneshot::Sender<Result<(), PostError>>,
        ctx: &mut Context<Self>,
    ) {
        let taken = body.map_or(Ok(None), |body| self.receive_payload(&body, ctx));
        match taken {
            Ok(rest) if self.is_behind() && !self.has_ended() => {
                self.held_post = Some(HeldPost { reply, rest });
            }
            taken => drop(reply.send(taken.map(drop))),
        }
    }

    /// Returns what it left because the session is behind.
    fn receive_payload(
        &mut self,
        body: &ByteString,
        ctx: &mut Context<Self>,
    ) -> Result<Option<ByteString>, PostError> {
        let now = crate::clock::now();
        let mut packets = payload::decode(body);
        while let Some(packet) = packets.next() {
            match packet {
                Ok(PayloadPacket::Packet(packet)) => {
                    if let EnginePacket::Message(message) = packet {
                        self.count_received(message.len());
                    }
                    self.receive(packet, now, ctx);
                }
                Ok(PayloadPacket::Binary(content)) => self.receive_binary(content.into(), ctx),
                Err(_) => self.close(CloseReason::ParseError, ctx),
            }
            match self.end_reason() {
                None if self.is_behind() => {
                    return Ok(packets.rest().map(|rest| body.slice_ref(rest)));
                }
                None => {}
                Some(CloseReason::ParseError) => return Err(PostError::Malformed),
                Some(CloseReason::TransportClose) => {
                    self.say_goodbye(ctx);
                    return Ok(None);
                }
                Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The client closed: its pending poll ends with a noop (protocol notes 1.7), and it asks for nothing more.
    fn say_goodbye(&mut self, ctx: &mut Context<Self>) {
        if let Some(outlet) = self.outlet.take() {
            outlet.answer_text("6", true);
        }
        ctx.stop();
    }
}

impl Handler<ProbeStarted> for Session {
    type Result = ();

    fn handle(&mut self, started: ProbeStarted, _ctx: &mut Self::Context) {
        let possible = self.begin_upgrade();
        if started.reply.send(possible).is_err() && possible {
            self.upgrade_failed();
        }
    }
}

impl Handler<Probed> for Session {
    type Result = ();

    fn handle(&mut self, _: Probed, _ctx: &mut Self::Context) {
        self.probed();
    }
}

impl Handler<ProbeFailed> for Session {
    type Result = ();

    fn handle(&mut self, _: ProbeFailed, _ctx: &mut Self::Context) {
        self.upgrade_failed();
    }
}

impl Handler<Upgraded> for Session {
    type Result = ();

    fn handle(&mut self, _: Upgraded, _ctx: &mut Self::Context) {
        self.upgraded(false);
    }
}

impl Handler<Receive> for Session {
    type Result = ();

    fn handle(&mut self, message: Receive, ctx: &mut Self::Context) {
        // A websocket held by another node cannot be left unread from here.
        if self.is_behind() {
            return self.close(CloseReason::InboxOverflow, ctx);
        }
        match message {
            Receive::Text(text) => self.receive_text(&text, crate::clock::now(), ctx),
            Receive::Binary(content) => self.receive_binary(content, ctx),
        }
    }
}

impl Handler<Detached> for Session {
    type Result = ();

    fn handle(&mut self, Detached { reason }: Detached, ctx: &mut Self::Context) {
        self.close(reason, ctx);
        if reason == CloseReason::TransportClose {
            // Also if it had ended before: nobody is left to fetch the rest.
            ctx.stop();
        }
    }
}

impl Handler<ShutDown> for Session {
    type Result = ();

    fn handle(&mut self, told: ShutDown, ctx: &mut Self::Context) {
        if self.is_settled() || told.patience.is_zero() {
            return self.close(CloseReason::ServerShuttingDown, ctx);
        }
        let deadline = crate::clock::now() + told.patience;
        ctx.run_interval(SETTLING_INTERVAL, move |session, ctx| {
            if session.is_settled() || crate::clock::now() >= deadline {
                session.close(CloseReason::ServerShuttingDown, ctx);
            }
        });
    }
}

impl Handler<Notice> for Session {
    type Result = ();

    fn handle(&mut self, notice: Notice, ctx: &mut Self::Context) {
        match notice {
            Notice::Overdue => self.watch_outbox(ctx),
            Notice::SlowConsumer(Slowness::Overflow) => self.give_up(Limit::OutboxHard, ctx),
            Notice::SlowConsumer(Slowness::Memory) => self.give_up(Limit::OutboxMemory, ctx),
            Notice::Kick {
                namespace,
                socket,
                close,
            } => self.kick(&namespace, socket, close, ctx),
        }
    }
}
