//! The bus between nodes: `link` is the interface, `memory` and `redis` implement it.
//!
//! A bus carries bytes on named channels; what the bytes mean is decided by `cluster`. An outage of Redis ends here:
//! a link reconnects by itself and holds messages in a `spool` of bounded size and age.

pub mod link;
#[cfg(test)]
pub(crate) mod link_tests;
pub mod memory;
pub mod redis;
pub mod spool;
