//! The bus on Redis or Valkey. Only this module and its children import the `redis` crate.
//!
//! Each server has two connections: one publishes in pipelines, the other receives subscribed messages. The latter has
//! its own RESP parser, because the crate buffers received messages without a limit. Losing Redis is not an error for
//! callers: both connections reconnect on their own, and `health` combines their states into that of the link. A
//! `member` is such a pair of connections. A single server has one member, as does a Sentinel service, whose master
//! `sentinel` resolves for each connection; a `cluster` has one member for each master.

mod address;
mod append;
mod backoff;
mod cluster;
mod common;
mod desired_channels;
mod diagnostics;
mod error;
mod error_hints;
mod fences;
mod group;
mod health;
mod link;
mod losses;
mod member;
mod pending_commands;
mod presence;
mod probe;
mod protocol_probe;
mod publisher;
mod queue;
mod recent_appends;
mod resp;
mod role;
mod room_logs;
mod scripts;
mod sentinel;
mod settings;
mod shared_keys;
mod slots;
mod store;
mod stream;
mod streams;
mod subscriber;
mod subscription_health;
mod subscriptions;
#[cfg(test)]
mod tests;
mod tls;
mod topology;

pub use diagnostics::{RedisDiagnostics, diagnose};
pub use error_hints::RedisFailure;
pub use group::RedisStreamGroup;
pub use link::RedisLink;
pub use probe::{ProbeReport, ServerReport, probe};
pub use settings::{InvalidRedis, RedisSettings, StreamSettings, Topology};
pub use store::RedisStore;
