//! One actor per Engine.IO session, independent of what carries its packets.
//!
//! A session drives the protocol state, calls the handlers of the app, registers its sockets with the broker shard of
//! its worker, and ends by its own timer even if its client does nothing. Transports feed it packets, and either attach
//! a socket to its lane or pull batches. It does not depend on HTTP, websocket frames or Redis.
//!
//! In the order of a message: `receive` has the protocol decode it, `inbox` enqueues the event, `handler` calls the app,
//! `effects` applies the outcome.

mod acks;
mod actor;
mod admission;
mod close;
mod connect;
mod connect_queue;
mod context;
mod disconnect;
mod effects;
mod enforcer;
mod expiry;
mod follow_up;
mod gates;
mod handler;
mod handles;
mod identity_index;
mod inbox;
mod inventory;
mod late_decisions;
mod live_identity;
mod mailbox;
pub mod messages;
mod metric_labels;
mod old_clients;
mod open_packet;
mod pace;
mod pending_poll;
mod poll_responder;
mod posts;
mod rates;
mod receive;
mod recovery;
mod refresh;
mod replay;
mod replay_pace;
mod revoked;
mod settings;
mod slow_client;
mod socket;
mod state;
mod stats;
mod summary;
mod timer;
mod upgrade;
mod user_room;
mod worker;
mod worker_load;

pub use crate::app::gate::{Credentials, GateRejection};
pub use enforcer::Enforcer;
pub use open_packet::OpenPacket;
pub use pace::charge_inflation;
pub use settings::SessionSettings;
pub use state::{Session, Worker};
pub use worker::Identification;
pub use worker_load::WorkerLoad;

#[cfg(test)]
mod tests;
