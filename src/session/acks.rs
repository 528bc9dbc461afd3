//! Acks in both directions (docs/protocol.md#23-acks).

use tokio::sync::oneshot;

use super::socket::PendingAck;
use super::state::Session;
use crate::model::{AckId, Payload};
use crate::protocol::ServerPacket;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Acknowledges an event of the client.
    pub(super) fn send_ack(&self, slot: Slot, id: &AckId, payload: &Payload) {
        if let Some(namespace) = self.connection.namespace(slot) {
            self.send_packet(&ServerPacket::Ack {
                namespace,
                id,
                payload,
            });
        }
    }

    /// Acknowledges an earlier event of the client.
    pub(super) fn send_late_ack(&mut self, slot: Slot, id: &AckId, payload: &Payload) {
        self.send_ack(slot, id, payload);
        if let Some(socket) = self.socket_mut(slot) {
            socket.late_acks = socket.late_acks.saturating_sub(1);
        }
    }

    /// Sends the client an event that requests an ack. Beyond `socket.max_pending_acks`, the oldest pending ack is
    /// dropped.
    pub(super) fn emit_with_ack(
        &mut self,
        slot: Slot,
        payload: &Payload,
        reply: oneshot::Sender<Payload>,
    ) {
        let id = self.worker.shard.directory().next_ack_id();
        let limit = self.worker.settings.max_pending_acks;
        if let Some(socket) = self.socket_mut(slot) {
            let acks = &mut socket.by_handle().acks;
            acks.push_back(PendingAck { id, reply });
            if acks.len() > limit {
                acks.pop_front();
                self.worker.metrics().acks_dropped_total.increment();
            }
        }
        self.send_event(slot, Some(id), payload);
    }

    /// Receives an ack of the client: for a handle of its socket, or for an emit that came through the broker.
    pub(super) fn receive_ack(&mut self, slot: Slot, id: u32, payload: Payload) {
        let Some(socket) = self.socket_mut(slot) else {
            return;
        };
        let Some(key) = socket.key else { return };
        if let Some(by_handle) = &mut socket.by_handle {
            let position = by_handle.acks.iter().position(|ack| ack.id == id);
            if let Some(ack) = position.and_then(|position| by_handle.acks.remove(position)) {
                // The wait for it may have reached its deadline.
                let _ = ack.reply.send(payload);
                return;
            }
        }
        self.worker.shard.acknowledged(key, id, payload);
    }
}
