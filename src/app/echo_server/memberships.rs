//! The users that sockets of a worker are in presence channels.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;

use super::answer::EchoMember;
use crate::model::{Room, SocketChange, SocketEvent, SocketId};
use crate::presence::PresenceRooms;

/// One socket in one presence channel.
struct ChannelMembership {
    channel: Room,
    member: EchoMember,
    /// Whether the user was entered into the presence of the node.
    is_entered: bool,
}

/// The users whom the backend has admitted. A user is entered into the presence of the node when its socket joins the
/// room, and removed when the socket leaves the room.
pub(super) struct Memberships {
    presence: Option<Arc<PresenceRooms>>,
    sockets: RefCell<HashMap<SocketId, Vec<ChannelMembership>>>,
}

impl Memberships {
    pub(super) fn new(presence: Option<Arc<PresenceRooms>>) -> Self {
        Self {
            presence,
            sockets: RefCell::default(),
        }
    }

    pub(super) fn presence(&self) -> Option<Arc<PresenceRooms>> {
        self.presence.clone()
    }

    /// The user as whom the socket is present in a channel.
    pub(super) fn user(&self, socket: SocketId, channel: &str) -> Option<String> {
        let sockets = self.sockets.borrow();
        let mut memberships = sockets.get(&socket)?.iter();
        let found = memberships.find(|membership| &*membership.channel == channel)?;
        found.is_entered.then(|| found.member.user.clone())
    }

    /// The backend has admitted the socket, which is about to join the channel.
    pub(super) fn admit(&self, socket: SocketId, channel: &Room, member: EchoMember) {
        let mut sockets = self.sockets.borrow_mut();
        let memberships = sockets.entry(socket).or_default();
        memberships.retain(|membership| membership.is_entered || membership.channel != *channel);
        if memberships.iter().all(|other| other.channel != *channel) {
            memberships.push(ChannelMembership {
                channel: channel.clone(),
                member,
                is_entered: false,
            });
        }
    }

    /// The socket has not joined the channel.
    pub(super) fn withdraw(&self, socket: SocketId, channel: &Room) {
        let mut sockets = self.sockets.borrow_mut();
        if let Some(memberships) = sockets.get_mut(&socket) {
            memberships.retain(|other| other.is_entered || other.channel != *channel);
            if memberships.is_empty() {
                sockets.remove(&socket);
            }
        }
    }

    /// The socket is in the channel: its user is present.
    pub(super) fn enter(&self, event: &SocketEvent, channel: &Room) {
        let mut sockets = self.sockets.borrow_mut();
        let memberships = sockets.get_mut(&event.socket);
        let membership = memberships.and_then(|memberships| {
            let mut memberships = memberships.iter_mut();
            memberships.find(|membership| membership.channel == *channel)
        });
        let Some(membership) = membership.filter(|membership| !membership.is_entered) else {
            return;
        };
        membership.is_entered = true;
        let EchoMember { user, data } = &mut membership.member;
        let data = std::mem::take(data);
        if let Some(presence) = &self.presence {
            let room = (&event.namespace, channel);
            presence.enter_with(room, user, event.socket, &data);
        }
    }

    fn leave(&self, event: &SocketEvent, channel: &Room) {
        let mut sockets = self.sockets.borrow_mut();
        let Some(memberships) = sockets.get_mut(&event.socket) else {
            return;
        };
        let position = memberships
            .iter()
            .position(|other| other.channel == *channel);
        let left = position.map(|position| memberships.swap_remove(position));
        let left = left.filter(|left| left.is_entered);
        if let (Some(ChannelMembership { member, .. }), Some(presence)) = (left, &self.presence) {
            let (namespace, socket) = (&event.namespace, event.socket);
            presence.leave(namespace, channel, &member.user, socket);
        }
        if memberships.is_empty() {
            sockets.remove(&event.socket);
        }
    }

    /// Follows the sockets of the worker.
    pub(super) fn on_event(&self, event: &SocketEvent) {
        match &event.change {
            SocketChange::Joined(channel) => self.enter(event, channel),
            SocketChange::Left(channel) => self.leave(event, channel),
            SocketChange::Disconnected { .. } => {
                self.sockets.borrow_mut().remove(&event.socket);
            }
            SocketChange::Connected { .. } | SocketChange::Identified { .. } => {}
        }
    }
}
