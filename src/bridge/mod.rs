//! The other nodes and outside emitters, reached over a bus.
//!
//! `link` is the seam to the bus (`memory`, `redis`), `store` its key-value half, `dialect` what is
//! said on it. Redis trouble ends here: local traffic never waits for anything in this module.

pub mod actor;
pub mod dialect;
mod incoming;
pub mod interest;
pub mod lease;
pub mod link;
#[cfg(test)]
mod link_tests;
pub mod memory;
pub mod messages;
mod outgoing;
pub mod redis;
pub mod spool;
pub mod start;
pub mod store;
