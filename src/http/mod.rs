//! What the public listener serves beside Socket.IO: probes, client files, the demo page.

pub mod client_files;
pub mod demo;
pub mod health;
pub mod routes;
