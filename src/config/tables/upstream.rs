//! `[app.upstream]`: the Socket.IO servers behind this node.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{
    MILLISECOND, choice, duration, duration_or_0, flag, list, number, size, text, unlimited_if_0,
};
use crate::config::pattern::Pattern;
use crate::config::upstream_url::UpstreamUrl;
use crate::config::values;

table! {
    /// The Socket.IO servers behind this node (`app.kind = "upstream"`). Each socket of a client has its own client
    /// connection to one of them, its upstream connection.
    pub UpstreamConfig = "app.upstream" {
        /// URLs of the servers, without path and TLS. Several servers are balanced.
        urls: Vec<UpstreamUrl> = [], list(text("`http://host[:port]`", UpstreamUrl::parse));
        /// Path of their endpoint. Empty = `engine.path`.
        path: String = "", text("path", values::path).or_empty().map(Option::unwrap_or_default);
        /// When an upstream connection is opened: `eager` = when the client connects, so that the upstream can reject the
        /// client; `lazy` = with the first event of the client.
        connect: UpstreamConnect = "eager", choice(CONNECT);
        /// Whether this node handles `roomwire:*` events by the rules of `app.relay`. Otherwise they are sent upstream
        /// like all other events.
        relay: bool = false, flag();
        /// Names of the upstream events that clients receive. In a pattern, `*` stands for any text.
        forward: Vec<Pattern> = ["*"], list(text("name or pattern", |text| Ok(Pattern::from(text.trim()))));
        /// What happens to a client whose upstream connection is lost. `close`: its connection is closed, and stock
        /// clients reconnect. `disconnect`: the server disconnects its socket (packet `41`); stock clients do not
        /// reconnect by themselves.
        when_lost: WhenLost = "close", choice(WHEN_LOST);
        /// Time limit for opening an upstream connection, including attempts at other upstreams.
        connect_timeout: Duration = "5s", duration(MILLISECOND..);
        /// With `connect = "lazy"`: time after which an unused upstream connection is closed. It is opened again when it
        /// is needed. 0 = never closed.
        idle_timeout: Option<Duration> = "5m", duration_or_0(MILLISECOND..);
        /// Bytes that can be queued for one upstream connection. While more is queued, its client is not read.
        queue_limit: usize = "256KiB", size(1..);
        /// Size limit of a message from an upstream. A larger message closes the upstream connection.
        max_message: usize = "16MiB", size(1..);
        /// Maximum number of upstream connections of this node.
        max_connections: usize = 20000, number(1..);
        /// Maximum number of upstream connections of one user, which is every client with the same auth payload. Does not
        /// apply to clients without one.
        max_connections_per_user: usize = 100, number(1..);
        /// Maximum number of upstream connections for clients of one address, or of one /64 network of IPv6. 0 = no
        /// limit, `auto` = `limits.connections_per_ip`.
        max_connections_per_ip: usize = "auto", number(0..).map(unlimited_if_0).or_auto();
        /// Path of a health check by GET; any status from 200 to 399 is healthy. Empty = the health check opens a
        /// websocket to the endpoint.
        health_path: Option<String> = "", text("path", values::path).or_empty();
        /// Time between two health checks.
        health_interval: Duration = "5s", duration(MILLISECOND..);
    }
    derived {
        /// `socket.max_pending_acks`, which limits pending acks of an upstream connection in each direction.
        max_pending_acks: usize,
        /// `socket.max_depth`, which limits the JSON of upstreams too.
        max_depth: usize,
    }
}

/// When the upstream connection of a client is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamConnect {
    /// When the client connects. The client waits for it.
    #[default]
    Eager,
    /// With the first event of the client.
    Lazy,
}

const CONNECT: &[(&str, UpstreamConnect)] = &[
    ("eager", UpstreamConnect::Eager),
    ("lazy", UpstreamConnect::Lazy),
];

/// What happens to a client whose upstream connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenLost {
    /// Its connection is closed; stock clients reconnect.
    #[default]
    Close,
    /// Its socket is disconnected from the namespace (packet `41`); stock clients do not reconnect by themselves.
    Disconnect,
}

const WHEN_LOST: &[(&str, WhenLost)] = &[
    ("close", WhenLost::Close),
    ("disconnect", WhenLost::Disconnect),
];
