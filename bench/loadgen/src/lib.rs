//! The framing of websockets and of HTTP, which the load generator shares with the raw
//! writer and the HTTP backend. Socket.IO and the measurements are in the binaries.

pub mod http;
pub mod websocket;
