//! Sessions of other nodes: requests that a balancer handed to this node travel to the owner named in their id.
//!
//! No sticky sessions are needed: a polling request is put to the owner and its answer brought back; a websocket
//! that takes a session over stays here, fetches batches from the owner and hands messages on. [`Exchange`] is
//! the side of the client, [`owner`] that of the session.

pub mod envelope;
mod exchange;
mod held;
pub mod owner;
pub mod remote;
mod under_way;

pub use exchange::{Exchange, LOOK_INTERVAL, Question};
pub use held::{Held, Told};
pub use under_way::UnderWay;
