//! The end of a socket: by its client, its app or a command of another one.

use actix::Context;
use log::debug;

use super::state::Session;
use crate::model::{Namespace, SocketId};
use crate::protocol::ServerPacket;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

/// The reason of a disconnect whose session continues with another socket.
const REPLACED: &str = "replaced";

impl Session {
    /// Disconnects a socket by a `41` packet, after which stock clients do not reconnect by themselves; with `close`, all
    /// sockets of the session, which ends.
    pub(super) fn disconnect(&mut self, slot: Slot, close: bool, ctx: &mut Context<Self>) {
        let slots: Vec<Slot> = if close {
            self.connection.slots().collect()
        } else {
            vec![slot]
        };
        for slot in slots {
            if let Some(namespace) = self.connection.namespace(slot) {
                self.send_packet(&ServerPacket::Disconnect { namespace });
            }
            self.drop_socket(slot, CloseReason::ServerDisconnect.as_str(), ctx);
        }
        if close {
            self.close(CloseReason::ServerDisconnect, ctx);
        } else if self.held_post.is_some() && !self.is_behind() {
            // The events for which the POST was held are gone with the socket.
            self.resume_reading(ctx);
        }
    }

    /// Disconnects a socket by a command, if it is still the socket of this namespace.
    pub(super) fn kick(
        &mut self,
        namespace: &Namespace,
        socket: SocketId,
        close: bool,
        ctx: &mut Context<Self>,
    ) {
        let slot = self.connection.slot(namespace);
        let current = slot
            .and_then(|slot| self.socket(slot))
            .map(|socket| socket.id);
        if let (Some(slot), true) = (slot, current == Some(socket)) {
            self.disconnect(slot, close, ctx);
        }
    }

    /// Disconnects a socket whose session continues with another one, like [`Self::kick`]. Observers and the app receive
    /// a reason of its own.
    pub(super) fn replace(
        &mut self,
        namespace: &Namespace,
        socket: SocketId,
        ctx: &mut Context<Self>,
    ) {
        let slot = self.connection.slot(namespace);
        let current = slot.and_then(|slot| self.socket(slot));
        if let (Some(slot), true) = (slot, current.is_some_and(|it| it.id == socket)) {
            self.send_packet(&ServerPacket::Disconnect { namespace });
            self.drop_socket(slot, REPLACED, ctx);
            if self.held_post.is_some() && !self.is_behind() {
                self.resume_reading(ctx);
            }
        }
    }

    /// Removes a socket from the index, notifies its handler, and drops it.
    pub(super) fn drop_socket(&mut self, slot: Slot, reason: &'static str, ctx: &Context<Self>) {
        let socket = self.sockets.get_mut(slot.get()).and_then(Option::take);
        let Some(namespace) = self.connection.leave(slot) else {
            return;
        };
        let Some(socket) = socket else { return };
        self.inbox -= socket.waiting_bytes();
        let discarded = socket.waiting.len() as u64;
        self.worker.metrics().events_discarded_total.add(discarded);
        if let Some(key) = socket.key {
            if let Some(tracker) = self.worker.tracker() {
                tracker.ending(socket.id);
            }
            self.worker.shard.unregister(key, reason);
            if let Some(live) = &socket.identity {
                self.remove_from_index(&live.identity, socket.id);
            }
        }
        if let Some(handler) = &socket.handler {
            self.with_context(&socket, None, &namespace, ctx, |context| {
                handler.on_disconnect(context, reason);
            });
        }
        debug!(
            sid = self.log_name(), socket = socket.id.log_name(), namespace:%, reason:%;
            "socket disconnected"
        );
    }
}
