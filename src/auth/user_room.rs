//! The room of a user, in which all sockets of the user are.

use crate::config::UserRoom;
use crate::model::Room;

/// The room of `user`, by the pattern `auth.user_room`. The only place that makes the name.
pub fn user_room(pattern: &UserRoom, user: &str) -> Room {
    Room::from(pattern.room(user))
}
