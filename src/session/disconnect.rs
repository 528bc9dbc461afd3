//! The end of a socket's stay in a namespace, whoever wants it.

use actix::Context;
use log::debug;

use super::Session;
use crate::model::{Namespace, SocketId, TransportName};
use crate::outbox::Packet;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::encode;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Whether the session stays until a polling client, or a node that holds its websocket, has fetched the last
    /// batch: only if the server ended the session.
    pub(super) fn waits_for_farewell(&self, reason: CloseReason) -> bool {
        use CloseReason::{
            ConnectTimeout, ForcedClose, InboxOverflow, NestedTooDeeply, ServerDisconnect,
            ServerShuttingDown, SlowConsumer, UpstreamLost,
        };
        let ours = matches!(
            reason,
            ServerDisconnect
                | ServerShuttingDown
                | ForcedClose
                | ConnectTimeout
                | InboxOverflow
                | NestedTooDeeply
                | SlowConsumer
                | UpstreamLost
        );
        // A client that never polled, and whose websocket no other node holds, does not fetch it.
        let may_ask = self.arrival.has_polled() || self.transport == TransportName::Websocket;
        !self.attached && may_ask && ours
    }

    /// The server ends a socket's stay: the client hears `41` and does not come back by itself.
    pub(super) fn disconnect(&mut self, slot: Slot, close: bool, ctx: &mut Context<Self>) {
        let slots: Vec<Slot> = if close {
            self.connection.slots().collect()
        } else {
            vec![slot]
        };
        for slot in slots {
            if let Some(namespace) = self.connection.namespace(slot) {
                self.send(Packet::text(encode::encode_disconnect(namespace)));
            }
            self.drop_socket(slot, CloseReason::ServerDisconnect.as_str(), ctx);
        }
        if close {
            self.close(CloseReason::ServerDisconnect, ctx);
        } else if self.held_post.is_some() && !self.is_behind() {
            // What the post waited for has gone with the socket.
            self.caught_up(ctx);
        }
    }

    /// A command of somebody else ends a socket's stay.
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

    /// The socket leaves the index and the app hears of it.
    pub(super) fn drop_socket(&mut self, slot: Slot, reason: &'static str, ctx: &Context<Self>) {
        let socket = self.sockets.get_mut(slot.get()).and_then(Option::take);
        let Some(namespace) = self.connection.leave(slot) else {
            return;
        };
        let Some(socket) = socket else { return };
        self.inbox -= socket.waiting_bytes();
        let unheard = socket.waiting.len() as u64;
        self.worker.metrics().events_unheard_total.add(unheard);
        if let Some(key) = socket.key {
            self.worker.shard.unregister(key, reason);
        }
        if socket.known_to_app {
            self.ask_app(&socket, None, &namespace, ctx, |app, peer| {
                app.on_disconnect(peer, reason);
            });
        }
        debug!(
            sid = self.log_name(), socket:% = socket.id, namespace:%, reason:%;
            "socket disconnected"
        );
    }
}
