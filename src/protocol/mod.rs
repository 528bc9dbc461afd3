//! The protocols of clients, sans-IO: bytes to packets and packets to bytes.
//!
//! No socket, clock, actor or lock; the only other module it imports is `model`. The owner of a connection supplies the
//! bytes and the time.

pub mod client;
pub mod connection;
pub mod engine_io;
pub mod msgpack;
pub mod server_packet;
pub mod socket_io;
pub mod websocket;
pub mod wire_format;

pub use server_packet::ServerPacket;
pub use wire_format::WireFormat;
