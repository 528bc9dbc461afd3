//! The bus between nodes: `link` is the interface, `memory` and `redis` implement it.
//!
//! A bus carries bytes on named channels; `cluster` defines what they mean. Outages of Redis are handled here: a link
//! reconnects on its own and buffers messages in a `spool` of bounded size and age.

pub mod entry;
pub mod link;
#[cfg(test)]
pub(crate) mod link_tests;
pub mod memory;
pub mod redis;
pub mod spool;
