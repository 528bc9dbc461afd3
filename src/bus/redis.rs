//! The bus on Redis or Valkey; the only place, with its parts below, that imports `redis`.
//!
//! Two connections a server: one publishes in pipelines, one hears (own reader: the crate's queues what it
//! reads without bound). Redis being away is no error for anybody: both connect again by themselves, and
//! `health` tells when the link as a whole is up. A `member` is such a pair. A single server has one; so has a
//! Sentinel service, which `sentinel` finds anew for each connection; a `cluster` has one for each master.

mod address;
mod backoff;
mod cluster;
mod common;
mod conversation;
mod desired_channels;
mod diagnostics;
mod error;
mod error_hints;
mod health;
mod link;
mod losses;
mod member;
mod probe;
mod protocol_probe;
mod publisher;
mod queue;
mod resp;
mod role;
mod sentinel;
mod settings;
mod slots;
mod store;
mod stream;
mod subscriber;
mod subscription_health;
mod subscriptions;
#[cfg(test)]
mod tests;
mod tls;
mod topology;

pub use diagnostics::{Neighbours, neighbours};
pub use error_hints::Trouble;
pub use link::RedisLink;
pub use probe::{Facts, ServerFacts, probe};
pub use settings::{InvalidRedis, RedisSettings, Topology};
pub use store::RedisStore;
pub use tls::{InvalidTls, TlsFiles};
