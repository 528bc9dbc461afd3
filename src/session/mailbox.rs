//! Messages to a session that concern it as a whole. Those of POST requests are in `posts.rs`, of upgrades in `upgrade.rs`,
//! of socket handles in `handles.rs`.

use std::time::Duration;

use actix::{ActorContext, AsyncContext, Handler};

use super::messages::{BatchFormat, Detached, PullError, Ready, Receive, ShutDown};
use super::pending_poll::{EmptyPacket, PendingPoll};
use super::state::Session;
use crate::broker::messages::{Notice, QueueLimit};
use crate::clock;
use crate::limits::Limit;
use crate::model::TransportName;
use crate::protocol::engine_io::state::CloseReason;

/// How often a session that is shutting down checks whether it is settled.
const SETTLING_INTERVAL: Duration = Duration::from_millis(50);

impl Handler<Ready> for Session {
    type Result = ();

    fn handle(&mut self, ready: Ready, ctx: &mut Self::Context) {
        let websocket = matches!(ready.format, BatchFormat::Websocket { .. });
        let poll = PendingPoll::new(ready);
        if websocket != (self.transport == TransportName::Websocket) || self.attached {
            return poll.reject(PullError::TransportMismatch);
        }
        self.follow_up.note_pull();
        if let Some(first) = self.poll.take() {
            first.respond_empty(self.revision(), EmptyPacket::Close, true);
            poll.reject(PullError::Duplicate);
            return self.close(CloseReason::TransportError, ctx);
        }
        self.poll = Some(poll);
        self.respond_to_poll(ctx);
    }
}

impl Handler<Receive> for Session {
    type Result = ();

    fn handle(&mut self, message: Receive, ctx: &mut Self::Context) {
        // This node cannot stop reading a websocket that another node holds.
        if self.is_behind() {
            return self.close(CloseReason::InboxOverflow, ctx);
        }
        match message {
            Receive::Text(text) => self.receive_text(&text, clock::now(), ctx),
            Receive::Binary(content) => self.receive_binary(content, clock::now(), ctx),
        }
    }
}

impl Handler<Detached> for Session {
    type Result = ();

    fn handle(&mut self, Detached { reason }: Detached, ctx: &mut Self::Context) {
        self.close(reason, ctx);
        if reason == CloseReason::TransportClose {
            // Even if it had ended before: no client is left to fetch the rest.
            ctx.stop();
        }
    }
}

impl Handler<ShutDown> for Session {
    type Result = ();

    fn handle(&mut self, shut_down: ShutDown, ctx: &mut Self::Context) {
        let reason = match shut_down.is_fenced {
            true => CloseReason::NodeFenced,
            false => CloseReason::ServerShuttingDown,
        };
        if self.is_settled() || shut_down.ack_timeout.is_zero() {
            return self.close(reason, ctx);
        }
        let deadline = clock::now() + shut_down.ack_timeout;
        ctx.run_interval(SETTLING_INTERVAL, move |session, ctx| {
            if session.is_settled() || clock::now() >= deadline {
                session.close(reason, ctx);
            }
        });
    }
}

impl Handler<Notice> for Session {
    type Result = ();

    fn handle(&mut self, notice: Notice, ctx: &mut Self::Context) {
        match notice {
            Notice::Overdue => self.watch_outbox(ctx),
            Notice::SlowConsumer(QueueLimit::Client) => {
                self.end_slow_client(Limit::OutboxHard, ctx)
            }
            Notice::SlowConsumer(QueueLimit::Node) => {
                self.end_slow_client(Limit::OutboxMemory, ctx)
            }
            Notice::Disconnect {
                namespace,
                socket,
                close,
            } => self.kick(&namespace, socket, close, ctx),
            Notice::Replaced { namespace, socket } => self.replace(&namespace, socket, ctx),
            Notice::Revoked { socket, is_final } => self.revoke(socket, is_final, ctx),
            Notice::Reconnect => self.close(CloseReason::ReconnectRequested, ctx),
        }
    }
}
