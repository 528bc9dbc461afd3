//! What a node serves beside Socket.IO: probes, client files and the demo page to the public, and its internal listener.

pub mod client_files;
pub mod demo;
pub mod health;
mod host;
pub mod internal;
pub mod routes;
