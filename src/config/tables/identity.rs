//! `[auth]`: clients whose identity is known, for as long as they are connected.

use crate::config::declare::table;
use crate::config::forms::text;
use crate::config::user_room::UserRoom;

table! {
    /// Clients whose identity is known.
    pub IdentityConfig = "auth" {
        /// Name of the room that the sockets of a user are in, with `{user}` in place of the user. Clients can neither
        /// join nor leave these rooms by request.
        user_room: UserRoom = "user:{user}", text("name with `{user}`", UserRoom::parse);
    }
}
