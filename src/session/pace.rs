//! A client's events, one after the other and at the pace the node allows.
//!
//! Events that come faster than `limits.events_per_second` wait with those the app is not ready for, and count
//! against the same bytes: past `socket.inbox_limit` nothing more is read from the client.

use std::time::Instant;

use actix::{AsyncContext, Context};

use super::Session;
use super::socket::event_cost;
use crate::limits::{Limit, TokenBucket};
use crate::model::Payload;
use crate::protocol::socket_io::packet::AckId;
use crate::protocol::socket_io::state::Slot;

/// How fast a session's events come.
pub(super) struct Pace {
    bucket: TokenBucket,
    /// A timer runs until the next event may be handed on.
    held_back: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bucket: TokenBucket::full(now),
            held_back: false,
        }
    }
}

impl Session {
    /// Takes an event of the client: the app gets it now, or in its turn.
    pub(super) fn event(
        &mut self,
        slot: Slot,
        payload: Payload,
        ack: Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        let Some(socket) = self.socket(slot) else {
            return;
        };
        let must_wait = socket.busy || !socket.waiting.is_empty();
        if !must_wait && self.is_in_pace(ctx) {
            return self.start(slot, payload, ack, ctx);
        }
        if let Some(socket) = self.sockets.get_mut(slot.get()).and_then(Option::as_mut) {
            self.inbox += event_cost(&payload, ack.as_ref());
            socket.waiting.push_back((payload, ack));
        }
    }

    /// Whether the app may have something more of this client now; if not, a timer looks again.
    pub(super) fn is_in_pace(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(rate) = self.worker.limits.events() else {
            return true;
        };
        let now = crate::clock::now();
        if self.pace.bucket.take(rate, now) {
            return true;
        }
        if !std::mem::replace(&mut self.pace.held_back, true) {
            self.worker.refused(self.id, Limit::Events);
            self.look_again(ctx);
        }
        false
    }

    fn look_again(&mut self, ctx: &mut Context<Self>) {
        let now = crate::clock::now();
        let wait = self
            .worker
            .limits
            .events()
            .map(|rate| self.pace.bucket.wait(rate, now));
        ctx.run_later(wait.unwrap_or_default(), |session, ctx| {
            for slot in session.connection.slots().collect::<Vec<_>>() {
                session.go_on(slot, ctx);
            }
            if session
                .sockets
                .iter()
                .flatten()
                .any(|socket| socket.is_ready())
            {
                session.look_again(ctx);
            } else {
                session.pace.held_back = false;
            }
        });
    }

    /// Hands on what waits in a socket, for as long as the app is ready and the pace allows.
    pub(super) fn go_on(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        let was_behind = self.is_behind();
        while self.socket(slot).is_some_and(|socket| socket.is_ready()) && self.is_in_pace(ctx) {
            let socket = self.sockets.get_mut(slot.get()).and_then(Option::as_mut);
            let Some((payload, ack)) = socket.and_then(|socket| socket.waiting.pop_front()) else {
                break;
            };
            self.inbox -= event_cost(&payload, ack.as_ref());
            self.start(slot, payload, ack, ctx);
        }
        if was_behind && !self.is_behind() {
            self.caught_up(ctx);
        }
    }

    /// Less waits for the app again: the client is read on.
    pub(super) fn caught_up(&mut self, ctx: &mut Context<Self>) {
        self.extend_ping_deadline();
        let lane = self.lane;
        self.worker.shard.with_lanes(|lanes| lanes.wake(lane));
        if let Some(held) = self.held_post.take() {
            self.continue_post(held.rest, held.reply, ctx);
        }
    }
}
