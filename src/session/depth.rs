//! Refuses events whose JSON nests deeper than `socket.max_depth`, since they would crash other clients.

use actix::Context;

use super::Session;
use crate::limits::Limit;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::packet::AckId;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Refuses an event with the ack that the app defines for it. An app without one cannot notify the client, so the
    /// connection closes.
    pub(super) fn refuse_deep(&mut self, slot: Slot, ack: Option<AckId>, ctx: &mut Context<Self>) {
        let message = format!("{} ({})", Limit::Depth.message(), Limit::Depth.key());
        match self.worker.app.refusal(&Limit::Depth.code(), &message) {
            None => self.close(CloseReason::NestedTooDeeply, ctx),
            Some(answer) => {
                self.worker.refused(self.id, Limit::Depth);
                if let Some(id) = ack {
                    self.send_ack(slot, &id, &answer);
                }
            }
        }
    }
}
