//! Where Redis is and how patient the link is with it. Never shows the password.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult,
};

use crate::bridge::spool::SpoolLimits;

/// The URL cannot be used. It is not shown, because it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    #[error("it is not of the form redis://[user:password@]host[:port][/database] or unix:///path")]
    Form,
    #[error("TLS (rediss://) is not supported yet")]
    Tls,
}

/// Everything a link or store on Redis needs to know.
#[derive(Clone)]
pub struct RedisSettings {
    server: ConnectionInfo,
    /// The longest a connection may take until Redis answers on it.
    pub connect_timeout: Duration,
    /// The longest Redis may take for one pipeline.
    pub response_timeout: Duration,
    /// What may wait while Redis is away.
    pub spool: SpoolLimits,
    /// Bytes that may wait while Redis is there but slow.
    pub queue_bytes: usize,
    /// Bytes that may wait for the consumer; then the link stops reading.
    pub event_bytes: u32,
    /// Bytes of the longest message heard; a longer one is skipped.
    pub message_limit: usize,
    /// Time between two pings through the bus.
    pub ping_interval: Duration,
    /// Pings without echo in a row that make the link deaf.
    pub ping_misses: usize,
    /// After this time without publishing, the publishing connection is pinged.
    pub idle_interval: Duration,
    /// How long a channel nobody wants any more stays subscribed.
    pub linger: Duration,
    /// First part of the name of the private channel for pings.
    pub channel_prefix: String,
}

impl RedisSettings {
    /// Defaults around a `redis://` or `unix://` URL.
    pub fn parse(url: &str) -> Result<Self, InvalidRedisUrl> {
        if url.starts_with("rediss:") || url.starts_with("valkeys:") {
            return Err(InvalidRedisUrl::Tls);
        }
        let server = url
            .into_connection_info()
            .map_err(|_shows_the_url| InvalidRedisUrl::Form)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(Duration::from_secs(20));
        Ok(Self {
            server: server.set_tcp_settings(tcp),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(5),
            spool: SpoolLimits::default(),
            queue_bytes: 64 * 1024 * 1024,
            event_bytes: 16 * 1024 * 1024,
            message_limit: 64 * 1024 * 1024,
            ping_interval: Duration::from_secs(5),
            ping_misses: 3,
            idle_interval: Duration::from_secs(60),
            linger: Duration::from_secs(5),
            channel_prefix: "roomwire".to_owned(),
        })
    }

    /// Host and port, or path: for logs.
    pub fn address(&self) -> String {
        self.server.addr().to_string()
    }

    /// Number of the database, by which clusters on one Redis tell their channels apart.
    pub fn database(&self) -> i64 {
        self.server.redis_settings().db()
    }

    /// The server to connect to now. Asked before every connection.
    pub(super) fn server(&self) -> &ConnectionInfo {
        &self.server
    }

    pub(super) fn credentials(&self) -> Option<(Option<&str>, &str)> {
        let redis = self.server.redis_settings();
        let password = redis.password()?;
        Some((redis.username(), password))
    }

    /// A connection for commands, on which Redis has answered.
    pub(super) async fn connect(&self) -> RedisResult<redis::aio::MultiplexedConnection> {
        let client = Client::open(self.server().clone())?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        // A server that still loads its data accepts connections and refuses everything else.
        let () = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unix = matches!(self.server.addr(), ConnectionAddr::Unix(_));
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("unix", &unix)
            .field("database", &self.database())
            .field("password", &self.credentials().map(|_| "..."))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let settings = RedisSettings::parse("redis://ann:s3cret@redis.local:7000/4").unwrap();
        assert_eq!(
            (settings.address().as_str(), settings.database()),
            ("redis.local:7000", 4)
        );
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(settings.credentials(), Some((Some("ann"), "s3cret")));
        for (url, error) in [
            ("rediss://redis.local", InvalidRedisUrl::Tls),
            ("http://redis.local", InvalidRedisUrl::Form),
            ("redis://:s3cret@redis.local/first", InvalidRedisUrl::Form),
            ("", InvalidRedisUrl::Form),
        ] {
            assert_eq!(RedisSettings::parse(url).unwrap_err(), error, "{url}");
        }
    }
}
