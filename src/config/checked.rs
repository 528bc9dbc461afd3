//! The configuration in checked types: what the rest of the program reads.
//!
//! Every `auto` is resolved, every unit converted. Each part of the program gets its own section,
//! never the whole. Made by `check` alone.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::net::{BindAddress, IpRange, Secret, SecretUrl};
use super::pattern::{OriginRule, Pattern};
use super::upstream_url::UpstreamUrl;
use crate::tls::TlsFiles;

/// A whole configuration that passed every check. `default()` is the shipped one.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: ServerConfig,
    pub engine: EngineConfig,
    pub socket: SocketConfig,
    pub limits: LimitsConfig,
    pub cors: CorsConfig,
    pub app: AppConfig,
    pub bus: BusConfig,
    pub drain: DrainConfig,
    pub log: LogConfig,
}

/// Where the node listens, and what it serves beside Socket.IO.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The public listener.
    pub bind: BindAddress,
    /// Worker threads, 1 to 64.
    pub workers: usize,
    /// Folder with the stock client files; it exists.
    pub client_dir: Option<PathBuf>,
    /// Whether the demo page is served at `/`; only where it works.
    pub demo: bool,
    /// Proxies whose `X-Forwarded-Host` and `X-Forwarded-For` count.
    pub trusted_proxies: Vec<IpRange>,
    /// The listener for probes, metrics and `POST /drain`.
    pub internal_bind: Option<BindAddress>,
    /// Token that a peer on another machine must present to drain the node; `None` = only loopback peers can.
    pub drain_token: Option<Secret>,
    pub public_probes: PublicProbes,
    /// Whether every connection comes from a trusted proxy and begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Applies to both listeners.
    pub http: HttpTimeouts,
    /// The certificate of the public listener; it could be used when it was checked. `None` = no TLS.
    pub tls: Option<TlsFiles>,
}

/// Timeouts of an HTTP connection, each at least 1 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// To send the head of a request.
    pub header_timeout: Duration,
    /// Between two reads of a body.
    pub body_timeout: Duration,
    /// Between two writes of a response that make progress.
    pub write_timeout: Duration,
    /// From a response to the next request.
    pub keepalive_timeout: Duration,
}

/// What the public listener answers to probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicProbes {
    /// Nothing.
    #[default]
    Off,
    /// `/livez` and `/readyz`, without figures.
    Plain,
    /// `/readyz?verbose` too.
    Full,
}

/// Transports offered to clients; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    pub polling: bool,
    pub websocket: bool,
}

/// Engine.IO.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Path of the endpoint with its leading and without a trailing slash, as `/socket.io`.
    pub path: String,
    pub transports: Transports,
    /// Whether a polling session may move to a websocket; only with both transports.
    pub allow_upgrades: bool,
    /// At least 1 ms; with `ping_timeout` below 2^31 ms, the longest timer of a browser.
    pub ping_interval: Duration,
    /// At least 1 ms.
    pub ping_timeout: Duration,
    /// At least 1 ms.
    pub upgrade_timeout: Duration,
    /// Bytes of a client's largest message or polling body.
    pub max_payload: usize,
    /// Name of the cookie with the session id.
    pub cookie: Option<String>,
    /// Bytes from which polling answers are compressed; `None` = never.
    pub compression_threshold: Option<usize>,
}

/// Socket.IO: namespaces and the limits of one client.
#[derive(Debug, Clone)]
pub struct SocketConfig {
    /// Namespaces clients may connect to, each with its leading slash; at least one.
    pub namespaces: Vec<Pattern>,
    /// At least 1 ms.
    pub connect_timeout: Duration,
    /// Namespaces of one connection, at least 1.
    pub max_namespaces: usize,
    /// Rooms of one socket, its own not counted; `usize::MAX` = no limit.
    pub max_rooms: usize,
    /// Bytes queued for a client; above it the client must make progress.
    pub outbox_limit: usize,
    /// Bytes queued for a client, with or without progress; at least `outbox_limit` plus the largest message.
    pub outbox_hard_limit: usize,
    /// At least 1 ms.
    pub slow_timeout: Duration,
    /// Bytes of a client's messages waiting for the app.
    pub inbox_limit: usize,
    /// `SO_SNDBUF` in bytes; `None` = leave it to the system.
    pub send_buffer: Option<usize>,
    /// Acks one socket may owe, at least 1.
    pub max_pending_acks: usize,
    /// Maximum depth of arrays and objects in the JSON of a packet, at least 1.
    pub max_depth: usize,
}

/// How many clients a node takes, and how fast.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Clients of the node, at least 1; `None` = what the limits of open files and memory allow.
    pub connections: Option<usize>,
    /// Clients of one address; `usize::MAX` = no limit.
    pub connections_per_ip: usize,
    /// HTTP connections of one address; `usize::MAX` = no limit, `None` = derived from the limit of open files.
    pub http_connections_per_ip: Option<usize>,
    /// 0 = no limit, as in every rate here; at most a million.
    pub handshakes_per_second: u32,
    /// 0 = as many as come in one second, as in every burst here; at most a million.
    pub handshakes_burst: u32,
    pub handshakes_per_second_per_ip: u32,
    pub handshakes_burst_per_ip: u32,
    /// Events of one session.
    pub events_per_second: u32,
    pub events_burst: u32,
    /// Bytes of a CONNECT's namespace and payload.
    pub connect_payload: usize,
    /// Bytes queued for all clients, at least [`SocketConfig::outbox_hard_limit`]; `None` = a share of the available
    /// memory.
    pub outbox_memory: Option<usize>,
    /// Bytes held of POST bodies that are still arriving.
    pub post_bodies: usize,
}

/// Which web pages may connect.
#[derive(Debug, Clone)]
pub struct CorsConfig {
    pub origins: Vec<OriginRule>,
    /// Never together with [`OriginRule::Any`].
    pub credentials: bool,
}

/// What a client event means.
#[derive(Debug, Clone)]
pub struct AppConfig {
    pub kind: AppKind,
    pub relay: RelayConfig,
    pub upstream: UpstreamConfig,
    pub open_webui: OpenWebuiConfig,
}

impl AppConfig {
    /// Whether the node itself answers `roomwire:*` events.
    pub fn relays(&self) -> bool {
        match self.kind {
            AppKind::Relay => true,
            AppKind::Upstream => self.upstream.relay,
            AppKind::Echo | AppKind::OpenWebui => false,
        }
    }

    /// The servers behind this one.
    pub fn upstreams(&self) -> &[UpstreamUrl] {
        match self.kind {
            AppKind::Relay | AppKind::Echo => &[],
            AppKind::Upstream => &self.upstream.urls,
            AppKind::OpenWebui => &self.open_webui.upstreams,
        }
    }
}

/// The app a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppKind {
    #[default]
    Relay,
    Upstream,
    Echo,
    OpenWebui,
}

impl AppKind {
    /// All of them, by their names in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("relay", Self::Relay),
        ("upstream", Self::Upstream),
        ("echo", Self::Echo),
        ("open_webui", Self::OpenWebui),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, kind)| *kind == self);
        known.map_or("", |(name, _)| name)
    }
}

/// The Socket.IO servers behind this one.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// At least one with [`AppKind::Upstream`].
    pub urls: Vec<UpstreamUrl>,
    /// Path of their endpoint with its leading and without a trailing slash.
    pub path: String,
    pub connect: UpstreamConnect,
    /// Whether `roomwire:*` events are the relay's.
    pub relay: bool,
    /// Events of an upstream that clients get.
    pub forward: Vec<Pattern>,
    pub when_lost: WhenLost,
    /// Until an upstream connection must be let in, at least 1 ms.
    pub connect_timeout: Duration,
    /// After which an unused upstream connection closes; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Bytes that wait for an upstream before its client is held up.
    pub queue_limit: usize,
    /// Bytes of the largest message of an upstream.
    pub max_message: usize,
    /// Answers owed on one upstream connection and direction; [`SocketConfig::max_pending_acks`].
    pub max_pending_acks: usize,
    /// [`SocketConfig::max_depth`]
    pub max_depth: usize,
    /// Upstream connections of the node, at least 1.
    pub max_connections: usize,
    /// Upstream connections with the same auth, at least 1.
    pub max_connections_per_user: usize,
    /// Upstream connections for clients of one address; defaults to [`LimitsConfig::connections_per_ip`]; `usize::MAX` = no limit.
    pub max_connections_per_ip: Option<usize>,
    /// Path of a health check by GET; `None` = a websocket to the endpoint.
    pub health_path: Option<String>,
    /// At least 1 ms.
    pub health_interval: Duration,
}

/// When a client's upstream connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamConnect {
    /// With the client's connect, which waits for it.
    #[default]
    Eager,
    /// With its first event.
    Lazy,
}

/// What a client sees when its upstream connection is lost in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenLost {
    /// Its connection closes; stock clients connect again.
    #[default]
    Close,
    /// The server disconnects it from the namespace (`41`); its program decides.
    Disconnect,
}

/// Who may do what in which rooms.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Rules in order; the last one matches every room.
    pub rules: Vec<RoomRule>,
}

/// A rule for the rooms a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRule {
    pub pattern: Pattern,
    pub join: JoinPolicy,
    pub publish: PublishPolicy,
}

impl RelayConfig {
    /// The first rule that matches `room`.
    pub fn rule(&self, room: &str) -> Option<&RoomRule> {
        self.rules.iter().find(|rule| rule.pattern.matches(room))
    }
}

/// Who may join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JoinPolicy {
    Anyone,
    #[default]
    Nobody,
}

/// Who may emit to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishPolicy {
    Anyone,
    Members,
    #[default]
    Nobody,
}

/// Open WebUI backends and what they are asked.
#[derive(Debug, Clone)]
pub struct OpenWebuiConfig {
    /// At least one with `app.kind = "open_webui"`; the first that answers is asked.
    pub upstreams: Vec<UpstreamUrl>,
    /// The upstream connections to them: these URLs, and the limits of `[app.upstream]`.
    pub connections: UpstreamConfig,
    /// Head of the backends' keys in Redis.
    pub key_prefix: String,
    /// Key of the tokens' signatures; `None` = only a backend knows whether a token is good.
    pub secret_key: Option<Secret>,
    /// How long a backend's word about a token is believed; 0 = each connect asks.
    pub token_cache: Duration,
    /// Time between two questions about the token of an open connection, at least 1 ms.
    pub revalidate: Duration,
    /// Age at which backends take a session for dead, at least 1 ms.
    pub session_timeout: Duration,
    /// Time a backend has for one answer, at least 1 ms.
    pub request_timeout: Duration,
    /// Requests on their way at a time, at least 1.
    pub max_requests: usize,
    /// How long a client waits for a backend to come back before its connection is closed.
    pub patience: Duration,
}

/// The other nodes, and the servers that share the Redis with them.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// `None` = one node, no Redis.
    pub redis_url: Option<SecretUrl>,
    /// Authorities of the server's certificate, in PEM; `None` = those of the system.
    pub tls_ca: Option<PathBuf>,
    /// The certificate shown to the server and its key, in PEM.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Whether the URL names a server of a Redis Cluster. Never together with `sentinel`.
    pub cluster: bool,
    /// Who knows the master; `None` = the URL names it.
    pub sentinel: Option<SentinelConfig>,
    /// Head of every key in Redis.
    pub prefix: String,
    /// Head of every native channel: prefix and database number, as `roomwire:0`.
    pub channel_prefix: String,
    /// Whether the python-socketio dialect is on.
    pub python: bool,
    /// Channel of the python-socketio servers.
    pub python_channel: String,
    /// Whether their channels per room are heard too.
    pub python_room_channels: bool,
    /// Bytes of the largest message on the bus; above `engine.max_payload` with its overhead.
    pub message_limit: usize,
    /// Bytes kept while Redis is away; 0 = keep none.
    pub spool_limit: usize,
    /// Age at which a kept message is dropped, at least 1 ms.
    pub spool_age: Duration,
    /// Time between two pings to itself, at least 1 ms.
    pub ping_interval: Duration,
    /// Lost pings until the subscription counts as deaf, at least 1.
    pub ping_misses: usize,
    /// At least 1 ms.
    pub connect_timeout: Duration,
    /// Whether the node is unready while Redis is away.
    pub required: bool,
    /// Time another node has to answer for a session it owns, at least 1 ms.
    pub forward_timeout: Duration,
}

/// How a node ends.
#[derive(Debug, Clone)]
pub struct DrainConfig {
    /// Longest time it takes, at least 1 ms.
    pub timeout: Duration,
    /// Time before the first close, below `timeout`.
    pub grace: Duration,
    pub rate: DrainRate,
    /// Longest time one session's close waits for what is under way.
    pub ack_timeout: Duration,
}

/// How fast a draining node closes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainRate {
    /// As the time allows.
    #[default]
    Auto,
    PerSecond(NonZeroU32),
}

/// The Sentinels of a Redis, and the name they know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelConfig {
    /// `host[:port]`, at least one.
    pub hosts: Vec<String>,
    pub service: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

/// The log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Filter for `env_logger`; `RUST_LOG` is already part of it.
    pub filter: String,
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object for programs.
    Json,
}
