//! Verifies that a server is a master and not a replica.
//!
//! A replica accepts `PUBLISH` and `SUBSCRIBE`, but what is published there reaches no subscriber of the master. A
//! connection to a demoted server therefore splits the cluster without any error.

use std::fmt::Display;
use std::sync::Once;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, Value};

use super::error::ConnectionError;
use super::resp::Reply;
use super::settings::{Endpoints, RedisSettings};

impl RedisSettings {
    /// Whether the role must be verified. In a Redis Cluster the slot map names the masters.
    pub(super) fn needs_master(&self) -> bool {
        !matches!(self.endpoints(), Endpoints::Cluster(_))
    }

    /// Fails unless the server responds and, where required, is a master.
    pub(super) async fn verify(
        &self,
        connection: &mut MultiplexedConnection,
        address: &impl Display,
    ) -> Result<(), ConnectionError> {
        // A server that is loading its data responds to ROLE, but rejects PING and everything else.
        let () = redis::cmd("PING").query_async(connection).await?;
        if !self.needs_master() {
            return Ok(());
        }
        match redis::cmd("ROLE").query_async(connection).await {
            Ok(Value::Array(role)) => match role.first() {
                Some(Value::BulkString(role)) => require_master(role, address),
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                report_denied(&error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// As [`RedisSettings::verify`], for the response to `ROLE` on a connection read by [`super::resp`].
pub(super) fn verify_reply(reply: &Reply, address: &impl Display) -> Result<(), ConnectionError> {
    match reply {
        Reply::Array(role) => require_master(role.first().map_or(&[], |role| role), address),
        Reply::Error(denied) => {
            report_denied(denied);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Servers other than Redis may report other roles, so only a replica is rejected.
fn require_master(role: &[u8], address: &impl Display) -> Result<(), ConnectionError> {
    match role {
        b"slave" | b"replica" => Err(ConnectionError::Replica(address.to_string())),
        _ => Ok(()),
    }
}

/// Warns once that the role cannot be verified: failovers are not detected, everything else works.
fn report_denied(error: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::warn!(
            error:%;
            "redis does not respond to ROLE: a failover to another server behind the same name is not detected; allow the ACL user +role"
        );
    });
}
