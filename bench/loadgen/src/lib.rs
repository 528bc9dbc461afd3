//! The websocket framing, which the load generator and the raw writer share.
//! Socket.IO and the measurements are in the two binaries.

pub mod websocket;
