//! The messages of `@socket.io/redis-emitter`, its predecessors and its ports to other languages
//! (docs/bus.md#socketio-emitters): programs without clients that publish on the channels of the Redis adapter.
//!
//! Only decoded. Nodes publish nothing on these channels.

mod channels;
mod decode;
mod dialect;
#[cfg(test)]
mod tests;

use crate::model::DialectId;

pub use dialect::EmitterDialect;

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"emit");
