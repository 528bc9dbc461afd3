//! Sessions of other nodes: requests that a balancer sent to this node are forwarded to the node named in the session
//! id (docs/bus.md#sessions-on-other-nodes).
//!
//! No sticky sessions are needed. A polling request is forwarded to the owner of its session, and the response is sent
//! from here. A websocket that takes over a session stays here, fetches batches from the owner and forwards messages to
//! it. [`client`] is the side that holds the connection of the client, [`server`] the side that owns the session.

pub mod client;
pub mod envelope;
pub mod hold;
mod pending;
pub mod remote;
mod remote_pace;
pub mod remote_requests;
pub mod remote_session;
pub mod remote_websockets;
pub mod request;
mod sender;
pub mod server;
