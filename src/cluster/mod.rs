//! The other nodes and foreign programs, reached over a bus.
//!
//! [`dialect`] converts between commands and bytes; the actor of [`node`] publishes and receives them over a link
//! (`bus::link`). An outage of Redis ends here: local traffic never waits for anything in this module.

mod catch_up;
pub mod dialect;
mod entry_numbers;
mod event_loop;
mod foreign;
mod handover;
mod local_query;
mod log_sizes;
mod lost_events;
mod membership;
pub mod messages;
mod namespaces;
pub mod node;
mod pending_queries;
mod publish;
mod queries;
mod reached;
mod receive;
mod respond;
mod sequencer;
pub mod start;
mod stream_gate;
mod streamed;
mod subscriber;
mod subscriptions;
mod translation;
