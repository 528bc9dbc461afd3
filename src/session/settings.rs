//! The settings of sessions.

use std::time::Duration;

use crate::config::Pattern;
use crate::protocol::connection::Timing;

/// The settings of sessions.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub timing: Timing,
    /// Namespaces that clients may request.
    pub namespaces: Vec<Pattern>,
    /// Bytes of a session's events that may wait for the app before nothing more is read from the client.
    pub inbox_limit: usize,
    /// Acks that a socket may owe to the app; with more, the oldest is dropped.
    pub max_pending_acks: usize,
    /// Time within which a client must make progress once its queue exceeds `socket.outbox_limit`.
    pub slow_timeout: Duration,
}
