//! What an app wants of a socket outside of its answers, and the answers to what it asked that way.

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::{AsyncContext, Context, Handler};

use super::Session;
use crate::app::{Capacity, Door, Doorway, Push, Unasked};
use crate::broker::Shard;
use crate::broker::fanout::event_packet;
use crate::model::{Payload, SocketId};
use crate::outbox::{LaneId, Lanes};
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

/// Makes doors to a socket of the session whose context this is.
pub(super) struct Entrance<'a> {
    pub(super) ctx: &'a Context<Session>,
    pub(super) socket: SocketId,
    pub(super) shard: &'a Rc<Shard>,
    pub(super) lane: LaneId,
}

impl Doorway for Entrance<'_> {
    fn door(&self) -> Door {
        let capacity = LaneCapacity {
            shard: Rc::clone(self.shard),
            lane: self.lane,
        };
        let session = self.ctx.address().recipient();
        Door::new(self.socket, session, Rc::new(capacity))
    }
}

/// Reports whether the lane of a session has room.
struct LaneCapacity {
    shard: Rc<Shard>,
    lane: LaneId,
}

impl Capacity for LaneCapacity {
    fn poll_capacity(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let poll = |lanes: &mut Lanes| lanes.poll_capacity(self.lane, cx);
        self.shard.with_lanes(poll)
    }
}

impl Handler<Unasked> for Session {
    type Result = ();

    fn handle(&mut self, unasked: Unasked, ctx: &mut Self::Context) {
        let Unasked {
            socket,
            pushes,
            in_flight: _in_flight,
        } = unasked;
        let slot = self
            .connection
            .slots()
            .find(|slot| self.socket(*slot).is_some_and(|found| found.id == socket));
        let Some(slot) = slot else { return };
        if let Some(socket) = self.sockets[slot.get()].as_mut()
            && socket.key.is_none()
        {
            // Its CONNECT answer comes first.
            socket.early.extend(pushes);
            return;
        }
        self.carry_out_pushes(slot, socket, pushes, ctx);
    }
}

impl Session {
    /// The socket is in: what came too early for it follows.
    pub(super) fn let_in(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        let Some(socket) = self.sockets.get_mut(slot.get()).and_then(Option::as_mut) else {
            return;
        };
        let (id, early) = (socket.id, std::mem::take(&mut socket.early));
        self.carry_out_pushes(slot, id, early, ctx);
    }

    fn carry_out_pushes(
        &mut self,
        slot: Slot,
        id: SocketId,
        pushes: Vec<Push>,
        ctx: &mut Context<Self>,
    ) {
        for push in pushes {
            let Some(key) = self
                .socket(slot)
                .filter(|socket| socket.id == id)
                .and_then(|socket| socket.key)
            else {
                return;
            };
            match push {
                Push::Emit(payload) => self.send_event(slot, None, &payload),
                Push::Ask { payload, question } => self.ask_client(slot, &payload, question),
                Push::Reply(ack, payload) => {
                    self.send_ack(slot, &ack, &payload);
                    if let Some(socket) = self.sockets[slot.get()].as_mut() {
                        socket.owed = socket.owed.saturating_sub(1);
                    }
                }
                Push::Dispatch(command) => self.worker.shard.dispatch(command),
                Push::Join(mut rooms) => drop(self.worker.shard.join(key, &mut rooms)),
                Push::Leave(rooms) => self.worker.shard.leave(key, &rooms),
                Push::Disconnect { close } => self.disconnect(slot, close, ctx),
                Push::Hangup => self.close(CloseReason::UpstreamLost, ctx),
            }
        }
    }

    fn send_event(&self, slot: Slot, ack_id: Option<u32>, payload: &Payload) {
        if let Some(namespace) = self.connection.namespace(slot) {
            self.send(event_packet(namespace, ack_id, payload));
        }
    }

    fn ask_client(&mut self, slot: Slot, payload: &Payload, question: u64) {
        let id = self.worker.shard.directory().next_ack_id();
        let limit = self.worker.settings.max_pending_acks;
        if let Some(socket) = self.sockets.get_mut(slot.get()).and_then(Option::as_mut) {
            socket.asked.push_back((id, question));
            if socket.asked.len() > limit {
                socket.asked.pop_front();
                self.worker.metrics().acks_dropped_total.increment();
            }
        }
        self.send_event(slot, Some(id), payload);
    }

    /// The client answers: the app, if it asked, else whoever asked through the broker.
    pub(super) fn acked(&mut self, slot: Slot, id: u32, answer: Payload, ctx: &Context<Self>) {
        let Some(socket) = self.sockets.get_mut(slot.get()).and_then(Option::as_mut) else {
            return;
        };
        let Some(key) = socket.key else { return };
        let position = socket.asked.iter().position(|(asked, _)| *asked == id);
        let Some((_, question)) = position.and_then(|at| socket.asked.remove(at)) else {
            return self.worker.shard.answered(key, id, answer);
        };
        let socket = self.socket(slot);
        if let Some((socket, namespace)) = socket.zip(self.connection.namespace(slot)) {
            self.ask_app(socket, Some(key), namespace, ctx, |app, peer| {
                app.on_reply(peer, question, &answer);
            });
        }
    }
}
