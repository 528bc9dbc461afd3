//! What the members of the bus say to each other: bytes to commands and back.
//!
//! Pure: no link, clock, actor or lock. Which dialect speaks on which channel is the bridge's
//! business. `native` is spoken between Roomwire nodes, `python` with python-socketio.

pub mod native;
pub mod python;
