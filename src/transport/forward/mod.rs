//! Sessions of other nodes: requests that a balancer handed to this node travel to the owner named in their id.
//!
//! No sticky sessions are needed: a polling request is put to the owner and its answer brought back; a websocket
//! that takes a session over stays here, fetches batches from the owner and hands messages on. [`ForwardClient`] is
//! the side of the client, [`owner`] that of the session.

mod client;
pub mod envelope;
pub mod remote;
mod remote_websockets;
pub mod server;
mod under_way;

pub use client::{ForwardClient, LOOK_INTERVAL, Question};
pub use remote_websockets::{DrainSignal, RemoteWebsockets};
pub use under_way::UnderWay;
