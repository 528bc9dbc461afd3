//! The wire, sans-IO: bytes in, packets out, and back.
//!
//! No socket, clock, actor or lock; of ours it imports `model` alone. Whoever owns a connection feeds it.

pub mod client;
pub mod connection;
pub mod engine_io;
pub mod socket_io;
pub mod websocket;
