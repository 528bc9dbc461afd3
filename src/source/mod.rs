//! Requests of backends from a Redis Stream: for backends that write an outbox instead of calling the API (docs/stream.md).
//!
//! All nodes are consumers of one group, so that each entry is executed by one of them, and by another one if that node
//! dies: at least once. An entry is acknowledged after it took effect on every node that responds. An entry with a key is
//! executed once as long as the store remembers the key.

mod claims;
mod consumer;
mod dead_letter;
mod entry;
mod execute;
mod rejection;

pub use consumer::{Source, SourceParts};
pub use execute::Executor;
