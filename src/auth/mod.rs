//! Users: who the clients are, and what follows from it for as long as they are connected.

mod counts;
mod known;
mod order;
mod places;
mod revocation;
mod revocations;
mod user_room;
mod users;

pub use counts::{UserConnection, UserCounts};
pub use order::Order;
pub use places::{Displace, PlaceParts, Places, UserPlace};
pub use revocation::{Revocation, Subject};
pub use revocations::{
    Announce, RECONNECT_TOPIC, REVOCATION_TOPIC, Remembered, RevocationError, RevocationParts,
    Revocations,
};
pub use user_room::user_room;
pub use users::Users;
