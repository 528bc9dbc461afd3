//! Events of a client that wait for the app: handled one after the other, at the pace the node allows.
//!
//! Events that arrive faster than `limits.events_per_second` wait with those the app is not ready for, and count against
//! the same bytes: beyond `socket.inbox_limit`, nothing more is read from the client.

use actix::{AsyncContext, Context};

use super::pace::charge_inflation;
use super::socket::event_cost;
use super::state::Session;
use crate::clock;
use crate::limits::Limit;
use crate::model::{AckId, Payload};
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Handles an event of the client, now or in its turn.
    pub(super) fn enqueue_event(
        &mut self,
        slot: Slot,
        payload: Payload,
        ack: Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(exceeded) = self.exceeded_rate(slot, &payload) {
            return self.reject_event(slot, ack, exceeded);
        }
        let Some(socket) = self.socket(slot) else {
            return;
        };
        if self.is_refresh(&payload) {
            return self.refresh(slot, &payload, ack, ctx);
        }
        let must_wait = socket.busy || !socket.waiting.is_empty();
        if !must_wait && self.is_in_pace(ctx) {
            return self.run_handler(slot, payload, ack, ctx);
        }
        let cost = event_cost(&payload, ack.as_ref());
        if let Some(socket) = self.socket_mut(slot) {
            socket.waiting.push_back((payload, ack));
            self.inbox += cost;
        }
    }

    /// Whether one more event of this client may be handled now. If not, a timer drains the inbox later.
    pub(super) fn is_in_pace(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(rate) = self.worker.limits.events() else {
            return true;
        };
        if self.pace.bucket.take(rate, clock::now()) {
            return true;
        }
        if !std::mem::replace(&mut self.pace.held_back, true) {
            self.worker.limit_reached(self.id, Limit::Events);
            self.drain_later(ctx);
        }
        false
    }

    /// Counts compressed messages that became larger by `excess` bytes as events, whatever they contained. Beyond the rate
    /// of the client, nothing more is read for a while.
    pub fn charge_inflation(&mut self, excess: usize, ctx: &mut Context<Self>) {
        let Some(rate) = self.worker.limits.events() else {
            return;
        };
        let wait = charge_inflation(&mut self.pace.bucket, rate, excess, clock::now());
        if wait.is_zero() || std::mem::replace(&mut self.pace.inflated, true) {
            return;
        }
        self.worker.limit_reached(self.id, Limit::Events);
        ctx.run_later(wait, |session, ctx| {
            session.pace.inflated = false;
            if !session.is_behind() {
                session.resume_reading(ctx);
            }
        });
    }

    fn drain_later(&mut self, ctx: &mut Context<Self>) {
        let now = clock::now();
        let rate = self.worker.limits.events();
        let wait = rate.map(|rate| self.pace.bucket.wait(rate, now));
        ctx.run_later(wait.unwrap_or_default(), |session, ctx| {
            for slot in session.connection.slots().collect::<Vec<_>>() {
                session.drain_inbox(slot, ctx);
            }
            let mut sockets = session.sockets.iter().flatten();
            if sockets.any(|socket| socket.is_ready()) {
                session.drain_later(ctx);
            } else {
                session.pace.held_back = false;
            }
        });
    }

    /// Handles the waiting events of a socket, for as long as the app is ready and the pace allows.
    pub(super) fn drain_inbox(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        let was_behind = self.is_behind();
        while self.socket(slot).is_some_and(|socket| socket.is_ready()) && self.is_in_pace(ctx) {
            let socket = self.socket_mut(slot);
            let Some((payload, ack)) = socket.and_then(|socket| socket.waiting.pop_front()) else {
                break;
            };
            self.inbox -= event_cost(&payload, ack.as_ref());
            self.run_handler(slot, payload, ack, ctx);
        }
        if was_behind && !self.is_behind() {
            self.resume_reading(ctx);
        }
    }

    /// The inbox is within its limit again: the client is read from, and a held POST continues.
    pub(super) fn resume_reading(&mut self, ctx: &mut Context<Self>) {
        self.extend_ping_deadline();
        let lane = self.lane;
        self.worker.shard.with_lanes(|lanes| lanes.wake(lane));
        if let Some(held) = self.held_post.take() {
            self.continue_post(held.rest, held.reply, ctx);
        }
    }
}
