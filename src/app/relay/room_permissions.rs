//! What room tokens permit sockets in the rooms that they joined with them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::model::{Actions, Room, SocketChange, SocketEvent, SocketId};

/// Maximum number of rooms for which a socket has permissions; beyond it, the oldest is forgotten.
const MOST: usize = 1000;

/// The permissions of the sockets of a worker, beyond the join. They end with the membership, whichever way that ends.
#[derive(Debug, Default)]
pub(super) struct TokenPermissions(RefCell<HashMap<SocketId, Vec<(Room, Actions)>>>);

impl TokenPermissions {
    /// Those of one socket.
    pub(super) fn of_socket(self: &Rc<Self>, socket: SocketId) -> RoomPermissions {
        let all = Rc::clone(self);
        RoomPermissions { all, socket }
    }

    /// Ends the permissions of a socket that has left a room, or is gone.
    pub(super) fn apply(&self, event: &SocketEvent) {
        match &event.change {
            SocketChange::Left(room) => self.remove(event.socket, room),
            SocketChange::Disconnected { .. } => drop(self.0.borrow_mut().remove(&event.socket)),
            SocketChange::Connected { .. }
            | SocketChange::Identified { .. }
            | SocketChange::Joined(_) => {}
        }
    }

    fn remove(&self, socket: SocketId, room: &Room) {
        if let Some(rooms) = self.0.borrow_mut().get_mut(&socket) {
            rooms.retain(|(known, _)| known != room);
        }
    }
}

/// The permissions of one socket.
#[derive(Debug, Clone)]
pub(in crate::app) struct RoomPermissions {
    all: Rc<TokenPermissions>,
    socket: SocketId,
}

impl RoomPermissions {
    /// The permissions for a room.
    pub(super) fn of(&self, room: &Room) -> Actions {
        let all = self.all.0.borrow();
        let mut rooms = all.get(&self.socket).into_iter().flatten();
        let found = rooms.find(|(known, _)| known == room);
        found.map_or(Actions::NONE, |(_, actions)| *actions)
    }

    /// The socket is connected and presents a token: permissions can be set until it is gone.
    pub(super) fn begin(&self) {
        self.all.0.borrow_mut().entry(self.socket).or_default();
    }

    /// Replaces the permissions for a room; has no effect if the socket is gone.
    pub(super) fn set(&self, room: &Room, actions: Actions) {
        let mut all = self.all.0.borrow_mut();
        let Some(rooms) = all.get_mut(&self.socket) else {
            return;
        };
        rooms.retain(|(known, _)| known != room);
        if Actions::JOIN.contains(actions) {
            return;
        }
        if rooms.len() == MOST {
            rooms.remove(0);
        }
        rooms.push((room.clone(), actions));
    }

    /// Forgets the permissions for a room.
    pub(super) fn remove(&self, room: &Room) {
        self.all.remove(self.socket, room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId};

    fn permissions() -> (Rc<TokenPermissions>, RoomPermissions) {
        let all = Rc::<TokenPermissions>::default();
        let node = NodeId::random(&OsRandom);
        let socket = SocketId::random(node, Default::default(), &OsRandom);
        let permissions = all.of_socket(socket);
        permissions.begin();
        (all, permissions)
    }

    fn event(permissions: &RoomPermissions, change: SocketChange) -> SocketEvent {
        SocketEvent {
            namespace: Namespace::main(),
            socket: permissions.socket,
            is_catching_up: false,
            change,
        }
    }

    #[test]
    fn the_last_token_of_a_room_counts_until_it_is_left() {
        let (_, permissions) = permissions();
        let (a, b) = (Room::from("a"), Room::from("b"));
        permissions.set(&a, Actions::JOIN | Actions::EMIT);
        permissions.set(&b, Actions::JOIN);
        assert_eq!(permissions.of(&a), Actions::JOIN | Actions::EMIT);
        assert_eq!(permissions.of(&b), Actions::NONE, "nothing but the join");
        permissions.set(&a, Actions::JOIN);
        assert_eq!(permissions.of(&a), Actions::NONE);
        permissions.set(&a, Actions::ASK);
        permissions.remove(&a);
        assert_eq!(permissions.of(&a), Actions::NONE);
    }

    #[test]
    fn permissions_end_with_the_membership_and_with_the_socket() {
        let (all, permissions) = permissions();
        let (a, b) = (Room::from("a"), Room::from("b"));
        permissions.set(&a, Actions::EMIT);
        permissions.set(&b, Actions::EMIT);
        all.apply(&event(&permissions, SocketChange::Left(a.clone())));
        assert_eq!(permissions.of(&a), Actions::NONE);
        assert_eq!(permissions.of(&b), Actions::EMIT);
        let gone = SocketChange::Disconnected { reason: "" };
        all.apply(&event(&permissions, gone));
        // A check of a token that completes only now.
        permissions.set(&a, Actions::EMIT);
        assert!(all.0.borrow().is_empty());
    }

    #[test]
    fn the_number_of_rooms_is_bounded() {
        let (all, permissions) = permissions();
        let room = |number: usize| Room::from(format!("{number}"));
        for number in 0..=MOST {
            permissions.set(&room(number), Actions::EMIT);
        }
        assert_eq!(all.0.borrow()[&permissions.socket].len(), MOST);
        assert_eq!(permissions.of(&room(0)), Actions::NONE);
        assert_eq!(permissions.of(&room(MOST)), Actions::EMIT);
    }
}
