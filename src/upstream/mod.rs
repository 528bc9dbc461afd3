//! Upstream connections: Socket.IO client connections of this node to the servers behind it, the upstreams.
//!
//! An app opens an [`UpstreamConnection`] for a client or a user and emits on it; its [`UpstreamListener`] receives
//! what the upstream sends. The connection lives on the worker thread that opened it, so no message crosses threads or
//! takes a lock. The [`Pool`], one per node, balances over the upstreams, ejects failing ones, checks their health and
//! limits the number of connections. The protocol is in `protocol::client`; the meaning of events is left to the app.
//!
//! ```text
//! let connection = UpstreamConnection::open(&pool, options, listener)?;  // fails with an OverLimit
//! connection.emit(&payload, Some(ack));      // its ack arrives as UpstreamEvent::Ack { ack, .. }
//! if connection.is_full() { connection.writable().await; }  // the upstream does not read
//! connection.ack(request, &payload);         // for an UpstreamEvent::Event { ack_request: Some(_), .. }
//! connection.close(true);                    // or drop it
//! ```
//!
//! Events emitted before the upstream has accepted the connection are queued, in order.
//! `ConnectionOptions::first_event` is sent before them and must be acknowledged first; `ConnectionOptions::heartbeat`
//! is sent periodically; `ConnectionOptions::idle_timeout` closes an unused connection. [`UpstreamEvent::Ended`] is the
//! last event, after which emitted events are dropped; the app may open another connection.

mod balancer;
mod connect;
mod connection;
mod dial;
mod driver;
mod events;
mod health;
mod health_check;
mod limits;
mod options;
mod pool;
mod probe;
mod receive;
mod state;

pub use crate::protocol::client::ConnectRequest;
pub use connection::UpstreamConnection;
pub use events::{AckRequest, Ending, UpstreamEvent, UpstreamListener};
pub use health_check::check_health;
pub use limits::OverLimit;
pub use options::ConnectionOptions;
pub use pool::Pool;
pub use probe::{ProbeError, ProbeResult, probe};
