//! Requests to HTTP backends: who receives them, their signatures and bodies, and the limits that protect both sides.
//!
//! A [`WebhookClient`] exists for each thread that sends requests; those of a node share [`Webhooks`]: the URLs, and
//! for each URL the number of concurrent requests, the queues and the circuit breaker. The app `webhook` interprets the
//! responses. See `docs/webhooks.md`.

mod answer;
mod breaker;
mod client;
mod exchange;
mod failure;
mod form;
mod ids;
pub mod schema;
mod signature;
mod target;

pub use answer::HookAnswer;
pub use client::{HookRequest, WebhookClient, Webhooks};
pub use failure::{HookFailure, HookFailureCode};
pub use form::{FormFailure, FormRequest};
pub use ids::disconnect_id;
pub use signature::Signer;
pub use target::{HookQueue, HookTarget};
