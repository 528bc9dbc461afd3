//! The streams adapter (`@socket.io/redis-streams-adapter` 0.3) and its emitter: emits and changes are entries of Redis
//! Streams; requests and responses, which are not read later, are published on channels.

mod dialect;
mod names;
#[cfg(test)]
mod tests;

use crate::model::DialectId;

pub use dialect::StreamsDialect;
pub use names::{stream_names, stream_of};

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"nstr");
