//! The bus on Redis or Valkey; the only place, with its parts below, that imports `redis`.
//!
//! Two connections: one publishes in pipelines, one hears (own reader: the crate's queues what it
//! reads without bound). Redis being away is no error for anybody: both connect again by themselves, and
//! `health` tells when the link as a whole is up. Standalone today. Sentinel and Cluster change
//! who `settings` says to connect to, TLS what `stream` returns.

mod backoff;
mod health;
mod hearing;
mod link;
mod losses;
mod publisher;
mod queue;
mod resp;
mod settings;
mod store;
mod stream;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use link::RedisLink;
pub use settings::{InvalidRedisUrl, RedisSettings};
pub use store::RedisStore;
