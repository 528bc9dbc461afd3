//! The bus on Redis or Valkey; the only place, with its parts below, that imports `redis`.
//!
//! Two connections a server: one publishes in pipelines, one hears (own reader: the crate's queues what it
//! reads without bound). Redis being away is no error for anybody: both connect again by themselves, and
//! `health` tells when the link as a whole is up. A `member` is such a pair. A single server has one; so has a
//! Sentinel service, which `sentinel` finds anew for each connection; a `cluster` has one for each master.

mod address;
mod advice;
mod backoff;
mod cluster;
mod conversation;
mod health;
mod hearing;
mod link;
mod losses;
mod member;
mod neighbours;
mod probe;
mod publisher;
mod queue;
mod resp;
mod role;
mod sentinel;
mod settings;
mod slots;
mod sniff;
mod store;
mod stream;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;
mod tls;
mod topology;
mod wanted;

pub use advice::Trouble;
pub use link::RedisLink;
pub use neighbours::{Neighbours, neighbours};
pub use probe::{Facts, ServerFacts, probe};
pub use settings::{InvalidRedis, RedisSettings, Topology};
pub use store::RedisStore;
pub use tls::{InvalidTls, TlsFiles};
