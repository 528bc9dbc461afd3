//! The sharded adapter of Redis 7 (`createShardedAdapter` of `@socket.io/redis-adapter`).

mod channels;
mod dialect;
#[cfg(test)]
mod tests;

use crate::model::DialectId;

pub use dialect::ShardedDialect;

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"nsha");
