//! Messages in JSON that a backend publishes in a form of its own (docs/redis-json.md): the configuration names their
//! channels, and where the parts of an event are in them.
//!
//! Only decoded; nodes publish nothing on these channels. Each [`JsonSource`](crate::config::JsonSource) is a dialect of
//! its own. The sources of a node are `BusConfig::json_sources`: the entries of `[[bus.json]]`, and those that other
//! tables add in `config::cross::bus_json`, such as `JsonSource::laravel(key, prefix)`.
//!
//! A node subscribes to the channel of a room before the first join completes, and while the room has members on it; to
//! the channel of a namespace while it has sockets there; and to a channel without placeholders always.

mod decode;
mod dialect;
mod members;
#[cfg(test)]
mod tests;

use crate::model::DialectId;

pub use dialect::JsonDialect;

/// Part of messages between nodes: must not change.
const DIALECT: DialectId = DialectId(*b"json");
