//! A socket: the part of a session in one namespace.

use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::live_identity::LiveIdentity;
use crate::app::{SocketHandler, SocketRequest};
use crate::broker::{RoomHold, SocketKey};
use crate::model::{AckId, Payload, Room, SocketId};
use crate::recovery::RecoveryRequest;

/// One socket.
pub(super) struct SessionSocket {
    pub(super) id: SocketId,
    /// Handles its events, and owns what the app keeps for it. `None` until the gates have decided.
    pub(super) handler: Option<Rc<dyn SocketHandler>>,
    /// `None` until it is connected.
    pub(super) key: Option<SocketKey>,
    /// Established by a gate; boxed, because many sockets have none.
    pub(super) identity: Option<Box<LiveIdentity>>,
    /// Rooms that it joins when it is connected.
    pub(super) entry: Option<Box<EntryRooms>>,
    /// What its client requests of recovery, until it is connected.
    pub(super) recovery: Option<Box<RecoveryRequest>>,
    /// An outcome is pending; later events wait here in order.
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<(Payload, Option<AckId>)>,
    /// Pending outcomes for which the next events do not wait.
    pub(super) concurrent: u32,
    /// Events that the app has yet to acknowledge by [`Effect::LateAck`](crate::app::Effect::LateAck).
    pub(super) late_acks: u32,
    /// State of requests through handles; boxed, because few sockets have any.
    pub(super) by_handle: Option<Box<ByHandle>>,
}

/// The rooms that a socket is in from its CONNECT response on.
pub(super) struct EntryRooms {
    pub(super) rooms: Vec<Room>,
    /// Keeps their subscriptions until the join.
    pub(super) _hold: RoomHold,
}

/// The requests that arrived through the handle of a socket.
#[derive(Debug, Default)]
pub(super) struct ByHandle {
    /// Requests from before the socket was connected.
    pub(super) early: Vec<SocketRequest>,
    /// Acks that the client owes, oldest first.
    pub(super) acks: VecDeque<PendingAck>,
}

/// An ack that the client owes to a handle.
#[derive(Debug)]
pub(super) struct PendingAck {
    pub(super) id: u32,
    pub(super) reply: oneshot::Sender<Payload>,
}

impl SessionSocket {
    /// A socket that is not connected yet.
    pub(super) fn new(id: SocketId) -> Self {
        Self {
            id,
            handler: None,
            key: None,
            identity: None,
            entry: None,
            recovery: None,
            busy: false,
            waiting: VecDeque::new(),
            concurrent: 0,
            late_acks: 0,
            by_handle: None,
        }
    }

    /// Whether the app is ready for an event that waits.
    pub(super) fn is_ready(&self) -> bool {
        !self.busy && !self.waiting.is_empty()
    }

    /// Bytes of events that wait for the app.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting
            .iter()
            .map(|(payload, ack)| event_cost(payload, ack.as_ref()))
            .sum()
    }

    /// Whether neither an outcome nor an ack in either direction is pending, apart from acks that the broker keeps.
    pub(super) fn is_settled(&self) -> bool {
        let awaits_ack = self
            .by_handle
            .as_ref()
            .is_some_and(|by_handle| by_handle.acks.iter().any(|ack| !ack.reply.is_closed()));
        let refreshes = self.identity.as_ref().is_some_and(|live| live.refreshing);
        !self.busy && self.concurrent == 0 && self.late_acks == 0 && !awaits_ack && !refreshes
    }

    pub(super) fn by_handle(&mut self) -> &mut ByHandle {
        self.by_handle.get_or_insert_default()
    }
}

/// Bytes that an event counts for while it waits.
pub(super) fn event_cost(payload: &Payload, ack: Option<&AckId>) -> usize {
    payload.size() + ack.map_or(0, AckId::size) + 64
}
