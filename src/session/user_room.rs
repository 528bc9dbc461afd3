//! The room of the user that a socket belongs to: joined when the socket is registered, left when it is removed.

use std::rc::Rc;

use actix::Context;

use super::live_identity::LiveIdentity;
use super::state::Session;
use crate::auth::user_room;
use crate::broker::SocketKey;
use crate::clock;
use crate::model::{Identity, Room};
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// The identity of a socket.
    pub(super) fn identity(&self, slot: Slot) -> Option<&Identity> {
        let live = self.socket(slot)?.identity.as_ref()?;
        Some(&live.identity)
    }

    /// Puts a socket whose identity is known into the room of its user.
    pub(super) fn join_user_room(&self, slot: Slot, key: SocketKey) {
        if let Some(room) = self.user_room(slot) {
            // The bus delivers to it already if a gate established the identity, see `prepare_rooms`.
            drop(self.worker.shard.join(key, &mut vec![room]));
        }
    }

    /// The room of a socket's user, if its identity is known.
    pub(super) fn user_room(&self, slot: Slot) -> Option<Room> {
        let identity = self.identity(slot)?;
        let pattern = &self.worker.settings.identity.user_room;
        Some(user_room(pattern, &identity.user))
    }

    /// Replaces the identity of a connected socket, which moves to the room of the new user. A revoked identity closes
    /// the session instead.
    pub(super) fn identify(
        &mut self,
        slot: Slot,
        key: SocketKey,
        identity: Rc<Identity>,
        ctx: &mut Context<Self>,
    ) {
        let Some(socket) = self.socket_mut(slot) else {
            return;
        };
        let (id, former) = (socket.id, socket.identity.take());
        if let Some(former) = &former {
            self.remove_from_index(&former.identity, id);
        }
        let (same, other) = match former {
            Some(former) if former.identity.user == identity.user => (Some(former), None),
            former => (None, former),
        };
        if let Some(other) = other {
            let pattern = &self.worker.settings.identity.user_room;
            let room = user_room(pattern, &other.identity.user);
            self.worker.shard.leave(key, &[room]);
        }
        let is_same = same.is_some();
        let mut live = same.unwrap_or_else(|| Box::new(LiveIdentity::new(Rc::clone(&identity))));
        live.replace(Rc::clone(&identity), clock::now());
        if let Some(socket) = self.socket_mut(slot) {
            socket.identity = Some(live);
        }
        if !self.enter_index(slot, ctx) {
            return;
        }
        if !is_same {
            self.worker.shard.identified(key, &identity);
            self.join_user_room(slot, key);
            self.user_registered(slot);
            self.admit_identified(slot, ctx);
        }
    }

    /// Takes a socket out of rooms, except that of its user.
    pub(super) fn leave_rooms(&self, slot: Slot, key: SocketKey, mut rooms: Vec<Room>) {
        rooms.retain(|room| !self.is_user_room(slot, room));
        self.worker.shard.leave(key, &rooms);
    }

    /// Takes a socket out of all rooms, except its own and that of its user.
    pub(super) fn leave_all_rooms(&self, slot: Slot, key: SocketKey) {
        self.leave_rooms(slot, key, self.worker.shard.joined(key));
    }

    /// Whether a room is that of the socket's user.
    fn is_user_room(&self, slot: Slot, room: &Room) -> bool {
        let pattern = &self.worker.settings.identity.user_room;
        self.identity(slot)
            .is_some_and(|identity| pattern.user(room) == Some(&*identity.user))
    }
}
