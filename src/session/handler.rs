//! Calls of the app's handlers, and the handling of their outcomes.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::connect_queue::ConnectTurn;
use super::state::Session;
use crate::app::gate::PendingDecisions;
use crate::app::{Deferred, Effects, Event, Outcome, SocketContext, SocketHandler};
use crate::model::{AckId, Payload, SocketId};
use crate::protocol::socket_io::state::Slot;

/// Maximum number of pending concurrent outcomes of one socket; with more, its next events wait.
const MAX_CONCURRENT: u32 = 100;

/// A call of a handler whose outcome is not applied yet.
pub(super) struct Invocation {
    pub(super) slot: Slot,
    pub(super) socket: SocketId,
    /// The ack that the event requests.
    pub(super) ack: Option<AckId>,
    pub(super) stage: Stage,
    /// Decisions of gates that the call after the CONNECT response waits for.
    pub(super) pending: PendingDecisions,
    /// Until the socket is connected: its place among those that are being connected.
    pub(super) turn: Option<ConnectTurn>,
}

/// What an outcome decides about its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Whether the socket is connected at all.
    Connecting,
    /// When the next events of the socket are handled.
    InOrder,
    /// Nothing: the next events do not wait.
    Concurrent,
}

impl Session {
    /// Passes an event to the app.
    pub(super) fn run_handler(
        &mut self,
        slot: Slot,
        payload: Payload,
        ack: Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        let Some(socket) = self.socket(slot) else {
            return;
        };
        let event = Event {
            payload,
            ack: ack.clone(),
        };
        let invocation = Invocation {
            slot,
            socket: socket.id,
            ack,
            stage: Stage::InOrder,
            pending: PendingDecisions::default(),
            turn: None,
        };
        let outcome = self.call_handler(&invocation, ctx, |handler, context| {
            handler.on_event(context, event)
        });
        if let Some(outcome) = outcome {
            self.apply_outcome(invocation, outcome, ctx);
        }
    }

    /// Calls the handler of a socket; `None` if the socket is gone.
    pub(super) fn call_handler<T>(
        &self,
        invocation: &Invocation,
        ctx: &Context<Self>,
        call: impl FnOnce(&dyn SocketHandler, &SocketContext<'_>) -> T,
    ) -> Option<T> {
        let socket = self
            .socket(invocation.slot)
            .filter(|socket| socket.id == invocation.socket)?;
        let (handler, key) = (socket.handler.as_deref()?, socket.key);
        let namespace = self.connection.namespace(invocation.slot)?;
        let call = |context: &SocketContext<'_>| call(handler, context);
        Some(self.with_context(socket, key, namespace, ctx, call))
    }

    /// Applies the effects of a handler, now or when they are known.
    pub(super) fn apply_outcome(
        &mut self,
        invocation: Invocation,
        outcome: Outcome,
        ctx: &mut Context<Self>,
    ) {
        match outcome {
            Outcome::Now(effects) => self.complete(invocation, effects, ctx),
            Outcome::Later(deferred) => self.defer(invocation, deferred, ctx),
        }
    }

    fn complete(&mut self, mut invocation: Invocation, effects: Effects, ctx: &mut Context<Self>) {
        if invocation.stage == Stage::Connecting {
            return self.connect_decided(invocation, effects, ctx);
        }
        let Invocation { slot, socket, .. } = invocation;
        self.apply_effects(slot, socket, effects, &mut invocation.ack, ctx);
        self.finish(&invocation, ctx);
    }

    /// Applies the effects of an accepted CONNECT, whose response is sent.
    pub(super) fn connected(
        &mut self,
        mut invocation: Invocation,
        effects: Effects,
        ctx: &mut Context<Self>,
    ) {
        let Invocation { slot, socket, .. } = invocation;
        invocation.turn = None;
        self.apply_effects(slot, socket, effects, &mut invocation.ack, ctx);
        invocation.stage = Stage::InOrder;
        if invocation.pending.is_empty() {
            self.notify_connected(invocation, ctx);
        } else {
            self.await_decisions(invocation, ctx);
        }
    }

    /// Calls the app for a socket whose CONNECT response is sent and on which all gates have decided.
    pub(super) fn notify_connected(&mut self, invocation: Invocation, ctx: &mut Context<Self>) {
        let outcome = self.call_handler(&invocation, ctx, |handler, context| {
            handler.on_connected(context)
        });
        if let Some(outcome) = outcome {
            self.apply_outcome(invocation, outcome, ctx);
        }
    }

    /// Applies an outcome when it is known. The next events of the socket wait for it, unless it is concurrent.
    fn defer(&mut self, mut invocation: Invocation, deferred: Deferred, ctx: &mut Context<Self>) {
        let Deferred { future, concurrent } = deferred;
        let detached = match concurrent {
            true => self.detach(&mut invocation),
            false => None,
        };
        let (awaiting, finished) = match detached {
            Some(detached) => (detached, Some(invocation)),
            None => (invocation, None),
        };
        if finished.is_none()
            && let Some(socket) = self.socket_mut(awaiting.slot)
        {
            socket.busy = true;
        }
        let resume = future
            .into_actor(self)
            .map(move |effects, session, ctx| session.complete(awaiting, effects, ctx));
        ctx.spawn(resume);
        if let Some(finished) = finished {
            self.finish(&finished, ctx);
        }
    }

    /// Splits off an invocation for which the next events do not wait, and which takes over the ack. `None` if too many
    /// are pending.
    fn detach(&mut self, invocation: &mut Invocation) -> Option<Invocation> {
        let socket = self.socket_mut(invocation.slot)?;
        if invocation.stage != Stage::InOrder || socket.concurrent >= MAX_CONCURRENT {
            return None;
        }
        socket.concurrent += 1;
        Some(Invocation {
            slot: invocation.slot,
            socket: invocation.socket,
            ack: invocation.ack.take(),
            stage: Stage::Concurrent,
            pending: PendingDecisions::default(),
            turn: None,
        })
    }

    /// An outcome is applied: the next events of the socket are handled.
    fn finish(&mut self, invocation: &Invocation, ctx: &mut Context<Self>) {
        let Some(socket) = self.socket_mut(invocation.slot) else {
            return;
        };
        if socket.id != invocation.socket {
            return;
        }
        if invocation.ack.is_some() {
            // The app acknowledges the event later.
            socket.late_acks += 1;
        }
        if invocation.stage == Stage::Concurrent {
            socket.concurrent -= 1;
            return;
        }
        if std::mem::take(&mut socket.busy) {
            self.drain_inbox(invocation.slot, ctx);
        }
    }
}
