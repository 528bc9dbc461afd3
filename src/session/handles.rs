//! Requests that arrive through the handle of a socket.

use actix::{AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use super::context::complete_join;
use super::state::Session;
use crate::app::{JoinedRooms, SocketMessage, SocketRequest};
use crate::broker::SocketKey;
use crate::model::{Room, SocketId};
use crate::protocol::socket_io::state::Slot;

impl Handler<SocketMessage> for Session {
    type Result = ();

    fn handle(&mut self, message: SocketMessage, ctx: &mut Self::Context) {
        let SocketMessage {
            socket,
            request,
            pending: _pending,
        } = message;
        let slot = self
            .connection
            .slots()
            .find(|slot| self.socket(*slot).is_some_and(|found| found.id == socket));
        let Some(slot) = slot else { return };
        if let Some(socket) = self.socket_mut(slot)
            && socket.key.is_none()
        {
            // The CONNECT response must be sent first. It may depend on a future that awaits the join, so the join
            // fails.
            let joins = matches!(
                request,
                SocketRequest::Join { .. } | SocketRequest::JoinSince { .. }
            );
            if !joins {
                socket.by_handle().early.push(request);
            }
            return;
        }
        self.apply_request(slot, socket, request, ctx);
    }
}

impl Session {
    /// Applies the requests that arrived before the socket was connected.
    pub(super) fn apply_early_requests(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        let Some(socket) = self.socket_mut(slot) else {
            return;
        };
        let id = socket.id;
        let Some(by_handle) = &mut socket.by_handle else {
            return;
        };
        for request in std::mem::take(&mut by_handle.early) {
            self.apply_request(slot, id, request, ctx);
        }
    }

    fn apply_request(
        &mut self,
        slot: Slot,
        id: SocketId,
        request: SocketRequest,
        ctx: &mut Context<Self>,
    ) {
        let found = self.socket(slot).filter(|socket| socket.id == id);
        let Some(key) = found.and_then(|socket| socket.key) else {
            return;
        };
        match request {
            SocketRequest::Apply { effects, reply } => {
                self.apply_effects(slot, id, effects, &mut None, ctx);
                if let Some(reply) = reply {
                    // The app may no longer await it.
                    let _ = reply.send(());
                }
            }
            SocketRequest::Join { rooms, reply } => self.join((id, key), rooms, reply, ctx),
            SocketRequest::JoinSince { room, since, reply } => {
                self.join_since((id, key), room, since, reply, ctx);
            }
            SocketRequest::EmitWithAck { payload, reply } => {
                self.emit_with_ack(slot, &payload, reply);
            }
        }
    }

    fn join(
        &self,
        (socket, key): (SocketId, SocketKey),
        mut rooms: Vec<Room>,
        reply: oneshot::Sender<JoinedRooms>,
        ctx: &mut Context<Self>,
    ) {
        let degraded = self.worker.shard.directory().is_cut_off();
        let confirmed = self.worker.shard.join(key, &mut rooms);
        let saved = self.worker.tracker();
        let saved = saved.and_then(|tracker| tracker.saved(socket));
        // The app may no longer await the join.
        if confirmed.is_none() && saved.is_none() {
            let _ = reply.send(JoinedRooms { rooms, degraded });
            return;
        }
        let respond = async move {
            let degraded = complete_join(degraded, confirmed, saved).await;
            let _ = reply.send(JoinedRooms { rooms, degraded });
        };
        ctx.spawn(respond.into_actor(self));
    }
}
