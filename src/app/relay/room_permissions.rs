//! What room tokens permit a socket in the rooms that it joined with them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Actions, Room};

/// Maximum number of rooms for which a socket has permissions; beyond it, the oldest is forgotten.
const MOST: usize = 1000;

/// Permissions beyond the join, for as long as the socket is a member.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct RoomPermissions(Rc<RefCell<Vec<(Room, Actions)>>>);

impl RoomPermissions {
    /// The permissions for a room.
    pub(super) fn of(&self, room: &Room) -> Actions {
        let all = self.0.borrow();
        let found = all.iter().find(|(known, _)| known == room);
        found.map_or(Actions::NONE, |(_, actions)| *actions)
    }

    /// Replaces the permissions for a room.
    pub(super) fn set(&self, room: &Room, actions: Actions) {
        self.remove(room);
        if Actions::JOIN.contains(actions) {
            return;
        }
        let mut all = self.0.borrow_mut();
        if all.len() == MOST {
            all.remove(0);
        }
        all.push((room.clone(), actions));
    }

    /// Forgets the permissions for a room.
    pub(super) fn remove(&self, room: &Room) {
        self.0.borrow_mut().retain(|(known, _)| known != room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_of_a_room_counts_until_it_is_left() {
        let permissions = RoomPermissions::default();
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
    fn the_number_of_rooms_is_bounded() {
        let permissions = RoomPermissions::default();
        let room = |number: usize| Room::from(format!("{number}"));
        for number in 0..=MOST {
            permissions.set(&room(number), Actions::EMIT);
        }
        assert_eq!(permissions.0.borrow().len(), MOST);
        assert_eq!(permissions.of(&room(0)), Actions::NONE);
        assert_eq!(permissions.of(&room(MOST)), Actions::EMIT);
    }
}
