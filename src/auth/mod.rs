//! Users: who the clients are, and what follows from it for as long as they are connected.

mod user_room;

pub use user_room::user_room;
