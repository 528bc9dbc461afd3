//! Sockets whose identity is revoked.

use std::rc::Rc;

use actix::Context;

use super::identity_index::IdentifiedSocket;
use super::state::Session;
use crate::model::{Identity, SocketId};
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Lists a socket that was registered or identified, for revocations to come. An identity that is revoked already
    /// closes the session. Returns whether it continues.
    pub(super) fn enter_index(&mut self, slot: Slot, ctx: &mut Context<Self>) -> bool {
        self.add_to_index(slot);
        let revocations = &self.worker.users.revocations;
        let revoked = self
            .identity(slot)
            .is_some_and(|identity| revocations.covers(identity));
        if revoked {
            self.close(CloseReason::IdentityRevoked, ctx);
        }
        !revoked
    }

    /// Lists a socket with its present identity.
    pub(super) fn add_to_index(&self, slot: Slot) {
        let Some(socket) = self.socket(slot) else {
            return;
        };
        if let Some(live) = &socket.identity {
            self.worker
                .identity_index
                .borrow_mut()
                .add(IdentifiedSocket {
                    identity: Rc::clone(&live.identity),
                    socket: socket.id,
                    lane: self.lane,
                });
        }
    }

    /// Takes a socket that had this identity off the list.
    pub(super) fn remove_from_index(&self, identity: &Identity, socket: SocketId) {
        self.worker
            .identity_index
            .borrow_mut()
            .remove(identity, socket);
    }

    /// The identity of a socket is revoked: the session closes, and the client runs into `token_revoked` when it connects
    /// again. With `is_final`, nothing would stop it then, so it is disconnected as by a backend.
    pub(super) fn revoke(&mut self, socket: SocketId, is_final: bool, ctx: &mut Context<Self>) {
        let slot = self
            .connection
            .slots()
            .find(|slot| self.socket(*slot).is_some_and(|found| found.id == socket));
        let Some(slot) = slot else { return };
        let body = serde_json::json!({"code": "token_revoked"});
        self.send_notice(slot, "roomwire:auth_revoked", &body);
        if is_final {
            self.disconnect(slot, true, ctx);
        } else {
            self.close(CloseReason::IdentityRevoked, ctx);
        }
    }
}
