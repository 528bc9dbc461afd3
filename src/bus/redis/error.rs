//! Why a connection to Redis cannot be opened or has ended.

use std::io;
use std::time::Duration;

use redis::RedisError;

use super::error_hints::advised;
use super::resp::ReadError;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("no answer within the time, over TLS: {0:?}")]
    SlowTls(Duration),
    #[error("refused by the server: {0}")]
    Refused(String),
    #[error("the server at {0} is a replica")]
    Replica(String),
    /// The master is another server now.
    #[error("the master moved")]
    Moved,
    #[error("{0}")]
    Sentinel(String),
    /// Somebody else has just failed, for this reason.
    #[error("{0}")]
    Again(String),
}

impl ConnectionError {
    /// What happened, and what to change where that is known.
    pub(super) fn advised(&self) -> String {
        advised(&self.to_string())
    }
}
