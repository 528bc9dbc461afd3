//! Errors of connections to Redis.

use std::io;
use std::time::Duration;

use redis::RedisError;

use super::error_hints::with_hint;
use super::resp::ReadError;

/// Why a connection could not be opened, or was lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no response within {0:?}")]
    Slow(Duration),
    #[error("no response within the time limit over TLS: {0:?}")]
    SlowTls(Duration),
    #[error("rejected by the server: {0}")]
    Rejected(String),
    #[error("the server at {0} is a replica")]
    Replica(String),
    /// Another server is the master now.
    #[error("the master moved")]
    Moved,
    #[error("{0}")]
    Sentinel(String),
    /// A concurrent attempt to connect failed for this reason.
    #[error("{0}")]
    ConcurrentAttempt(String),
}

impl ConnectionError {
    /// The error and, where known, the setting to change.
    pub(super) fn with_hint(&self) -> String {
        with_hint(&self.to_string())
    }
}
