//! Effects of an app, applied to broker and client.

use std::rc::Rc;

use actix::Context;
use log::debug;

use super::state::Session;
use crate::app::{Effect, Effects};
use crate::broker::SocketKey;
use crate::model::{AckId, Payload, SocketId};
use crate::protocol::ServerPacket;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Applies effects in order, for as long as the socket exists. `ack` is the ack requested by the event that is
    /// handled.
    pub(super) fn apply_effects(
        &mut self,
        slot: Slot,
        socket: SocketId,
        effects: Effects,
        ack: &mut Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        for effect in effects {
            let found = self.socket(slot).filter(|found| found.id == socket);
            let Some(key) = found.and_then(|socket| socket.key) else {
                return;
            };
            self.apply_effect(slot, key, effect, ack, ctx);
        }
    }

    fn apply_effect(
        &mut self,
        slot: Slot,
        key: SocketKey,
        effect: Effect,
        ack: &mut Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        let shard = &self.worker.shard;
        match effect {
            Effect::Identify(identity) => self.identify(slot, key, Rc::from(identity), ctx),
            Effect::Emit(payload) => self.send_event(slot, None, &payload),
            Effect::Ack(payload) => {
                if let Some(id) = ack.take() {
                    self.send_ack(slot, &id, &payload);
                }
            }
            Effect::LateAck(id, payload) => self.send_late_ack(slot, &id, &payload),
            Effect::Dispatch(command) => shard.dispatch(command),
            Effect::Join(mut rooms) => drop(shard.join(key, &mut rooms)),
            Effect::Leave(rooms) => self.leave_rooms(slot, key, rooms),
            Effect::LeaveAll => self.leave_all_rooms(slot, key),
            Effect::Disconnect { close } => self.disconnect(slot, close, ctx),
            Effect::Hangup => self.close(CloseReason::UpstreamLost, ctx),
            Effect::ForceReconnect(selector) => {
                self.worker.users.revocations.force_reconnect(&selector);
            }
            Effect::Reject(_) => {
                debug!(sid = self.log_name(); "rejection ignored: the socket is connected already");
            }
        }
    }

    pub(super) fn send_event(&self, slot: Slot, ack_id: Option<u32>, payload: &Payload) {
        if let Some(namespace) = self.connection.namespace(slot) {
            self.send_packet(&ServerPacket::Event {
                namespace,
                ack_id,
                payload,
                position: None,
            });
        }
    }
}
