//! The only code that knows HTTP bodies, websocket frames and sockets.
//!
//! Takes requests for the Engine.IO endpoint, checks them ([`handshake`], [`origin`]), finds or opens the
//! session, and moves its packets. Sessions of other workers are reached through the [`gate`] of their
//! worker, those of other nodes by [`forward`]. What a packet means is the session's business.

pub mod accept;
pub mod body;
pub mod client_address;
pub mod compression;
mod credentials;
pub mod edge;
pub mod forward;
pub mod handshake;
mod opening;
pub mod origin;
pub mod polling;
mod refused;
pub mod requests;
pub mod socket;
pub mod upgrade;
pub mod websocket;
pub mod worker_router;
