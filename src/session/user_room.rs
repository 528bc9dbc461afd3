//! The room of the user that a socket belongs to: joined when the socket is registered, left when it is removed.

use std::rc::Rc;

use super::state::Session;
use crate::auth::user_room;
use crate::broker::SocketKey;
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
        let Some(identity) = self.identity(slot) else {
            return;
        };
        let pattern = &self.worker.settings.identity.user_room;
        let room = user_room(pattern, &identity.user);
        // The CONNECT response does not wait for the bus, like nothing else that is local.
        drop(self.worker.shard.join(key, &mut vec![room]));
    }

    /// Replaces the identity of a connected socket, which moves to the room of the new user.
    pub(super) fn identify(&mut self, slot: Slot, key: SocketKey, identity: Box<Identity>) {
        let Some(socket) = self.socket_mut(slot) else {
            return;
        };
        let identity = Rc::<Identity>::from(identity);
        let before = socket.identity.replace(Rc::clone(&identity));
        let before = before.map(|before| before.user.clone());
        if before.as_ref() == Some(&identity.user) {
            return;
        }
        if let Some(before) = before {
            let room = user_room(&self.worker.settings.identity.user_room, &before);
            self.worker.shard.leave(key, &[room]);
        }
        self.join_user_room(slot, key);
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
