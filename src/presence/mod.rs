//! Who is in a room, by user: members, and events when users come, go and change their data (`docs/presence.md`).
//!
//! On each worker an observer counts the sockets of each user in the rooms of `[[presence.rooms]]`, in a table of the node
//! ([`PresenceRooms`]), which is the truth. On the main thread, `node.rs` brings the store in line with the table, emits
//! the events that follow, and takes the departures that are due; `requests.rs` repeats what the store may not have.

mod events;
mod members;
mod node;
mod observer;
mod requests;
mod rooms;
mod rules;

pub use events::echo_member;
pub use node::{LostPresence, Presence, PresenceParts};
pub use observer::PresenceObserver;
pub use rooms::PresenceRooms;
pub use rules::PresenceRule;
