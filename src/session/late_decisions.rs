//! Decisions of gates that follow the CONNECT response ([`GateOutcome::AfterConnect`]): the socket receives events
//! meanwhile, and those of its client wait.
//!
//! [`GateOutcome::AfterConnect`]: crate::app::gate::GateOutcome::AfterConnect

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use log::debug;

use super::gates::{Decided, check_revoked};
use super::handler::Invocation;
use super::state::Session;
use crate::app::gate::{GateRejection, Passed};
use crate::broker::SocketKey;
use crate::model::Room;
use crate::protocol::engine_io::state::CloseReason;

impl Session {
    /// Waits for the pending decisions on a connected socket, then calls the app.
    pub(super) fn await_decisions(&mut self, mut invocation: Invocation, ctx: &mut Context<Self>) {
        if let Some(socket) = self.socket_mut(invocation.slot) {
            socket.busy = true;
        }
        let decided = std::mem::take(&mut invocation.pending).decide();
        let waiting = decided.into_actor(self).map(|decided, session, ctx| {
            session.decided_late(invocation, decided, ctx);
        });
        ctx.spawn(waiting);
    }

    fn decided_late(&mut self, invocation: Invocation, decided: Decided, ctx: &mut Context<Self>) {
        // The client may have left the namespace meanwhile.
        let Some(key) = self.connected_key(&invocation) else {
            return;
        };
        let users = Arc::clone(&self.worker.users);
        match decided.and_then(|passed| check_revoked(&users, passed)) {
            Ok(Passed {
                identity, rooms, ..
            }) => {
                if let Some(identity) = identity {
                    self.identify(invocation.slot, key, identity, ctx);
                }
                self.join_late(invocation, rooms, ctx);
            }
            Err(rejection) => self.reject_late(&invocation, &rejection, ctx),
        }
    }

    /// Joins the rooms of the decisions, and calls the app once the bus delivers to them and to that of the user.
    fn join_late(&mut self, invocation: Invocation, mut rooms: Vec<Room>, ctx: &mut Context<Self>) {
        // It is not if its user is not admitted.
        let Some(key) = self.connected_key(&invocation) else {
            return;
        };
        // Already joined, but the bus may not deliver to it yet.
        rooms.extend(self.user_room(invocation.slot));
        let Some(confirmed) = self.worker.shard.join(key, &mut rooms) else {
            return self.notify_connected(invocation, ctx);
        };
        let joined = confirmed.into_actor(self);
        ctx.spawn(joined.map(|_, session, ctx| session.notify_connected(invocation, ctx)));
    }

    /// Ends the connection of a client that a gate rejects after the CONNECT response.
    fn reject_late(
        &mut self,
        invocation: &Invocation,
        rejection: &GateRejection,
        ctx: &mut Context<Self>,
    ) {
        let (socket, code) = (invocation.socket, &*rejection.code);
        debug!(socket = socket.log_name(), code; "rejected after the CONNECT response: {}", rejection.message);
        if rejection.temporary {
            self.close(CloseReason::UpstreamLost, ctx);
        } else {
            self.disconnect(invocation.slot, false, ctx);
        }
    }

    /// The key of the socket of an invocation, if it is connected.
    fn connected_key(&self, invocation: &Invocation) -> Option<SocketKey> {
        let socket = self.socket(invocation.slot)?;
        socket.key.filter(|_| socket.id == invocation.socket)
    }
}
