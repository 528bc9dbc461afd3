//! The messages of `@socket.io/redis-adapter` over pub/sub, which `@socket.io/redis-emitter`, its predecessors and its
//! ports to other languages also publish (docs/node-servers.md#the-pubsub-adapter).
//!
//! A server crashes on a broadcast that is not one complete msgpack list, so nothing else is published on those
//! channels. Messages of Roomwire nodes begin with an id that names cluster and node, so that the nodes of the cluster
//! drop them by their first bytes.

mod channels;
mod dialect;
mod emit;
mod encode;
mod inbound;
mod malformed;
mod options;
mod packet;
mod request;
mod response;
#[cfg(test)]
mod tests;

use crate::model::DialectId;

pub use dialect::PubSubDialect;

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"ndps");
