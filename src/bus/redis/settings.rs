//! Addresses, credentials, timeouts and limits of a link or store on Redis. Passwords are never displayed.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use super::address::Address;
use super::tls::Tls;
use crate::bus::spool::SpoolLimits;
use crate::config::Secret;
use crate::tls::{ClientTlsFiles, InvalidTls};

const SENTINEL_PORT: u16 = 26379;

/// The settings are invalid. The URL is not displayed, because it may contain a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedis {
    #[error(
        "bus.redis_url: it is not of the form redis[s]://[user:password@]host[:port][/database] or unix:///path[?db=number]"
    )]
    Form,
    #[error(
        "bus.redis_url: a part after # is not supported; `#insecure` would accept any certificate: name the authority of the server's certificate in bus.tls_ca instead"
    )]
    Insecure,
    #[error("bus.sentinels: `{0}` is not host:port")]
    Sentinel(String),
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

/// How the servers are found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Topology {
    /// The server of the URL is the only one.
    #[default]
    Single,
    /// The Sentinels at these addresses, `host[:port]`, monitor the master `service`.
    Sentinel {
        sentinels: Vec<String>,
        service: String,
        user: Option<String>,
        password: Option<Secret>,
    },
    /// The server of the URL is part of a Redis Cluster.
    Cluster,
}

/// A [`Topology`] with parsed addresses.
#[derive(Clone)]
pub(super) enum Endpoints {
    Single(Address),
    Sentinel(Sentinels),
    Cluster(Address),
}

/// The Sentinels that monitor a master.
#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    /// The name of the master in the configuration of the Sentinels.
    pub(super) service: String,
    pub(super) login: RedisConnectionInfo,
}

/// The settings of a link or store on Redis.
#[derive(Clone)]
pub struct RedisSettings {
    endpoints: Endpoints,
    tcp: TcpSettings,
    login: RedisConnectionInfo,
    tls: Option<Tls>,
    /// Maximum time to open a connection, including TLS and authentication.
    pub connect_timeout: Duration,
    /// Maximum response time of a pipeline or command.
    pub response_timeout: Duration,
    /// Limits of the queue while Redis is unreachable; in a Redis Cluster, per master.
    pub spool: SpoolLimits,
    /// Size limit of the queue in bytes while Redis is connected but slow; in a Redis Cluster, per master.
    pub queue_bytes: usize,
    /// Size limit of the event queue in bytes; the link stops reading while it is full.
    pub event_bytes: u32,
    /// Maximum size of a received message in bytes; longer ones are skipped.
    pub message_limit: usize,
    /// Interval of pings through the bus, and of checks whether the master has changed.
    pub ping_interval: Duration,
    /// Number of consecutive lost pings after which the link counts as deaf.
    pub ping_misses: usize,
    /// The publishing connection is pinged after this time without publishing.
    pub idle_interval: Duration,
    /// How long a channel stays subscribed after it was unsubscribed.
    pub linger: Duration,
    /// Prefix of the name of the ping channel.
    pub channel_prefix: String,
    /// In a Redis Cluster, channels with this prefix are sharded; the others are plain, for clients without support for
    /// sharded ones.
    pub sharded_prefix: String,
    /// Channels with this prefix are also sharded on a server that is not part of a Redis Cluster. Empty: none are.
    pub foreign_sharded_prefix: String,
    /// Channels with this prefix can also be subscribed to by patterns, which `PUBLISH` counts. Their receivers are
    /// counted with `PUBSUB NUMSUB` instead. Empty: none can.
    pub pattern_prefix: String,
    /// Streams that take the place of channels.
    pub streams: StreamSettings,
}

/// Redis Streams in the place of channels: a message is appended as an entry (`bus::entry`), and read from the stream.
#[derive(Debug, Clone, Default)]
pub struct StreamSettings {
    /// Names of the streams.
    pub names: Vec<String>,
    /// Number of entries to which Redis trims a stream, approximately.
    pub length: u64,
    /// Maximum number of entries that are read at once.
    pub read_count: usize,
}

impl StreamSettings {
    /// Whether a channel is one of the streams.
    pub(super) fn contains(&self, channel: &str) -> bool {
        self.names.iter().any(|name| name == channel)
    }
}

impl RedisSettings {
    /// Default settings for the URL of a single server: `redis://`, `rediss://` (trusting the system's authorities) or
    /// `unix://`.
    ///
    /// # Errors
    /// See [`RedisSettings::new`].
    pub fn parse(url: &str) -> Result<Self, InvalidRedis> {
        Self::new(url, &Topology::Single, &ClientTlsFiles::default())
    }

    /// Default settings for a URL and topology; `files` are used only for `rediss://`.
    ///
    /// # Errors
    /// The URL or an address is invalid, or a file cannot be used.
    pub fn new(
        url: &str,
        topology: &Topology,
        files: &ClientTlsFiles,
    ) -> Result<Self, InvalidRedis> {
        let (server, has_tls) = parse_url(url)?;
        let address = Address::of(server.addr()).ok_or(InvalidRedis::Form)?;
        let endpoints = match topology {
            Topology::Single => Endpoints::Single(address),
            Topology::Cluster => Endpoints::Cluster(address),
            Topology::Sentinel {
                sentinels,
                service,
                user,
                password,
            } => Endpoints::Sentinel(Sentinels {
                addresses: sentinels
                    .iter()
                    .map(|text| sentinel(text))
                    .collect::<Result<_, _>>()?,
                service: service.clone(),
                login: login_of(user.as_deref(), password.as_ref().map(Secret::expose)),
            }),
        };
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(Duration::from_secs(20));
        Ok(Self {
            endpoints,
            tcp,
            login: server.redis_settings().clone().set_skip_set_lib_name(),
            tls: has_tls.then(|| Tls::load(files)).transpose()?,
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
            sharded_prefix: "roomwire:".to_owned(),
            foreign_sharded_prefix: String::new(),
            pattern_prefix: String::new(),
            streams: StreamSettings::default(),
        })
    }

    /// Host and port, socket path, or Sentinel service, for logs.
    pub fn address(&self) -> String {
        match &self.endpoints {
            Endpoints::Single(address) | Endpoints::Cluster(address) => address.to_string(),
            Endpoints::Sentinel(sentinels) => format!("{} by sentinel", sentinels.service),
        }
    }

    /// Whether patterns can match a channel on a server that is not part of a Redis Cluster.
    pub(super) fn has_patterns(&self, channel: &str) -> bool {
        let prefix = &self.pattern_prefix;
        !prefix.is_empty() && channel.starts_with(prefix) && !self.is_sharded(channel, false)
    }

    /// Whether a channel is sharded on the servers of a Redis Cluster, or on another server.
    pub(super) fn is_sharded(&self, channel: &str, is_cluster: bool) -> bool {
        let foreign = &self.foreign_sharded_prefix;
        let is_foreign = !foreign.is_empty() && channel.starts_with(foreign);
        is_foreign || is_cluster && channel.starts_with(&self.sharded_prefix)
    }

    /// The number of the database; it separates the channels of clusters that share one Redis.
    pub fn database(&self) -> i64 {
        self.login.db()
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub(super) fn tcp(&self) -> &TcpSettings {
        &self.tcp
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// User, password and database on the servers that carry messages.
    pub(super) fn login(&self) -> &RedisConnectionInfo {
        &self.login
    }

    pub(super) fn credentials(&self) -> Option<(Option<&str>, &str)> {
        Some((self.login.username(), self.login.password()?))
    }
}

/// Parses a URL; returns whether it requires TLS as well. The crate only parses: connections use our own streams.
fn parse_url(url: &str) -> Result<(ConnectionInfo, bool), InvalidRedis> {
    let (scheme, rest) = url.split_once(':').ok_or(InvalidRedis::Form)?;
    let has_tls = matches!(scheme, "rediss" | "valkeys");
    let url = if has_tls {
        format!("redis:{rest}")
    } else {
        url.to_owned()
    };
    let is_file = rest.starts_with("///");
    if !is_file && rest.contains('#') {
        return Err(InvalidRedis::Insecure);
    }
    let server = url
        .into_connection_info()
        .map_err(|_shows_the_url| InvalidRedis::Form)?;
    Ok((server, has_tls))
}

fn sentinel(text: &str) -> Result<Address, InvalidRedis> {
    Address::parse(text, SENTINEL_PORT).ok_or_else(|| InvalidRedis::Sentinel(text.to_owned()))
}

fn login_of(user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    login
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("addresses", &self.addresses)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("tls", &self.tls.is_some())
            .field("database", &self.database())
            .field("password", &self.credentials().map(|_| "..."))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_passwords_hidden() {
        let settings = RedisSettings::parse("redis://ann:s3cret@redis.local:7000/4").unwrap();
        assert_eq!(
            (settings.address().as_str(), settings.database()),
            ("redis.local:7000", 4)
        );
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(settings.credentials(), Some((Some("ann"), "s3cret")));
        for url in [
            "http://redis.local",
            "redis://:s3cret@redis.local/first",
            "redis.local",
            "",
        ] {
            let error = RedisSettings::parse(url).unwrap_err();
            assert!(matches!(error, InvalidRedis::Form), "{url}");
            assert!(!error.to_string().contains("s3cret"));
        }
        let insecure = RedisSettings::parse("rediss://:s3cret@redis.local/#insecure").unwrap_err();
        assert!(matches!(insecure, InvalidRedis::Insecure));
        assert!(!insecure.to_string().contains("s3cret"));
    }

    #[test]
    fn sentinel_passwords_are_hidden() {
        let topology = |name: &str| Topology::Sentinel {
            sentinels: vec![name.to_owned()],
            service: "mymaster".to_owned(),
            user: Some("watcher".to_owned()),
            password: Some(Secret::from("s3cret")),
        };
        let settings = |name: &str| {
            RedisSettings::new("redis://x", &topology(name), &ClientTlsFiles::default())
        };
        assert!(!format!("{:?}", topology("cache")).contains("s3cret"));
        let shown = format!("{:?}", settings("cache").unwrap());
        assert!(
            shown.contains("mymaster by sentinel") && !shown.contains("s3cret"),
            "{shown}"
        );
        let error = settings("cache:x").unwrap_err().to_string();
        assert_eq!(error, "bus.sentinels: `cache:x` is not host:port");
    }
}
