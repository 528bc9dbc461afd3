//! Where Redis is and how patient the link is with it. Never shows a password.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use super::address::Address;
use super::tls::{InvalidTls, Tls, TlsFiles};
use crate::bus::spool::SpoolLimits;
use crate::config::Secret;

const SENTINEL_PORT: u16 = 26379;

/// The server cannot be used as it is named. The URL is not shown, because it may contain a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedis {
    #[error(
        "bus.redis_url: it is not of the form redis[s]://[user:password@]host[:port][/database] or unix:///path[?db=number]"
    )]
    Form,
    #[error(
        "bus.redis_url: a part after # is not supported; `#insecure` would take any server's certificate: name its authority in bus.tls_ca instead"
    )]
    Insecure,
    #[error("bus.sentinels: `{0}` is not host:port")]
    Sentinel(String),
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

/// How the server of the URL is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Topology {
    /// It is the one.
    #[default]
    Single,
    /// These Sentinels, `host[:port]`, know the master of a service.
    Sentinel {
        sentinels: Vec<String>,
        service: String,
        user: Option<String>,
        password: Option<Secret>,
    },
    /// It is one of a Redis Cluster.
    Cluster,
}

/// How to find the servers: what [`Topology`] says, with addresses read.
#[derive(Clone)]
pub(super) enum Place {
    Single(Address),
    Sentinel(Sentinels),
    Cluster(Address),
}

/// The Sentinels that know a master.
#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    /// Name of the master in the Sentinels' configuration.
    pub(super) service: String,
    pub(super) login: RedisConnectionInfo,
}

/// Everything a link or store on Redis needs to know.
#[derive(Clone)]
pub struct RedisSettings {
    place: Place,
    tcp: TcpSettings,
    login: RedisConnectionInfo,
    tls: Option<Tls>,
    /// The longest a connection may take until Redis answers on it.
    pub connect_timeout: Duration,
    /// The longest Redis may take for one pipeline.
    pub response_timeout: Duration,
    /// What may wait while Redis is away; in a Redis Cluster, for each of its masters.
    pub spool: SpoolLimits,
    /// Bytes that may wait while Redis is there but slow; in a Redis Cluster, for each of its masters.
    pub queue_bytes: usize,
    /// Bytes that may wait for the consumer; then the link stops reading.
    pub event_bytes: u32,
    /// Bytes of the longest message heard; a longer one is skipped.
    pub message_limit: usize,
    /// Time between two pings through the bus, and two looks whether the master is still the same.
    pub ping_interval: Duration,
    /// Pings without echo in a row that make the link deaf.
    pub ping_misses: usize,
    /// After this time without publishing, the publishing connection is pinged.
    pub idle_interval: Duration,
    /// How long a channel nobody wants any more stays subscribed.
    pub linger: Duration,
    /// First part of the name of the private channel for pings.
    pub channel_prefix: String,
    /// In a Redis Cluster channels whose name begins so are sharded; the others are plain, for those who know no
    /// sharded ones.
    pub sharded_prefix: String,
}

impl RedisSettings {
    /// Defaults around the URL of a single server: `redis://`, `rediss://` (trusting the system's
    /// authorities) or `unix://`.
    ///
    /// # Errors
    /// As [`RedisSettings::new`].
    pub fn parse(url: &str) -> Result<Self, InvalidRedis> {
        Self::new(url, &Topology::Single, &TlsFiles::default())
    }

    /// Defaults around a URL, a topology, and files that matter to `rediss://` alone.
    ///
    /// # Errors
    /// The URL or an address cannot be read, or a file cannot be used.
    pub fn new(url: &str, topology: &Topology, files: &TlsFiles) -> Result<Self, InvalidRedis> {
        let (server, has_tls) = read(url)?;
        let address = Address::of(server.addr()).ok_or(InvalidRedis::Form)?;
        let place = match topology {
            Topology::Single => Place::Single(address),
            Topology::Cluster => Place::Cluster(address),
            Topology::Sentinel {
                sentinels,
                service,
                user,
                password,
            } => Place::Sentinel(Sentinels {
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
            place,
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
        })
    }

    /// Whom to ask for, host and port, or path: for logs.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Single(address) | Place::Cluster(address) => address.to_string(),
            Place::Sentinel(sentinels) => format!("{} by sentinel", sentinels.service),
        }
    }

    /// Number of the database, by which clusters on one Redis tell their channels apart.
    pub fn database(&self) -> i64 {
        self.login.db()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn tcp(&self) -> &TcpSettings {
        &self.tcp
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// User, password and database at the servers that carry the messages.
    pub(super) fn login(&self) -> &RedisConnectionInfo {
        &self.login
    }

    pub(super) fn credentials(&self) -> Option<(Option<&str>, &str)> {
        Some((self.login.username(), self.login.password()?))
    }
}

/// What a URL says, and whether it wants TLS. The crate is only asked for the form: streams are ours.
fn read(url: &str) -> Result<(ConnectionInfo, bool), InvalidRedis> {
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
    fn urls() {
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
    fn sentinels_keep_their_password() {
        let topology = |name: &str| Topology::Sentinel {
            sentinels: vec![name.to_owned()],
            service: "mymaster".to_owned(),
            user: Some("watcher".to_owned()),
            password: Some(Secret::from("s3cret")),
        };
        let settings =
            |name: &str| RedisSettings::new("redis://x", &topology(name), &TlsFiles::default());
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
