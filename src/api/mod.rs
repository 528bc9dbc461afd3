//! The HTTP API for backends: requests of [`verbs`](crate::verbs) under `/api/v1/`, answered as JSON (docs/api.md).
//!
//! A request is authenticated by its key, bounded, parsed once and checked as a whole; then it is one dispatch, query or
//! call of the node's [`Ingress`](crate::broker::Ingress). Every request of any node concerns the sockets of all nodes.

mod answers;
mod audit;
mod batch;
mod call;
mod check;
mod error;
mod examples;
mod execute;
mod history;
mod idempotency;
mod keys;
mod last_seen;
mod listing;
mod openapi;
mod page;
mod paths;
mod query;
mod reads;
mod routes;
mod state;

pub use error::{ApiCode, ApiError};
pub use keys::KeyRing;
pub use last_seen::{LastSeen, LastSeenRecorder};
pub use openapi::document;
pub use paths::{PREFIX, is_api};
pub use routes::serve;
pub use state::{Api, ApiSettings, ApiSlot};
