//! The only module that handles HTTP bodies, websocket frames and sockets.
//!
//! Receives the requests for the Engine.IO endpoint, checks them ([`handshake`], [`origin`]), finds or opens the
//! session and moves its packets. Where a session lives is decided in one place (`session_ref`): sessions of other
//! workers are reached through their [`worker_router`], those of other nodes through [`forward`]. The meaning of
//! packets is up to the session.

pub mod accept;
pub mod access;
pub mod body;
pub mod client_address;
mod client_kind;
pub mod compression;
mod credentials;
pub mod endpoint;
pub mod forward;
mod frames;
pub mod handshake;
pub mod offer;
mod opening;
pub mod origin;
pub mod polling;
mod post;
pub mod post_body;
mod probe;
mod rejection;
mod rejection_log;
pub mod requests;
pub mod routing;
mod session_ref;
pub mod settings;
mod slots;
pub mod socket;
mod takeover;
pub mod upgrade;
pub mod websocket;
pub mod worker_router;
