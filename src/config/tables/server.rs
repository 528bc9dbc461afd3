//! `[server]`: listeners, and what they serve besides Socket.IO.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{MILLISECOND, choice, duration, flag, list, number, switch, text};
use crate::config::net::{BindAddress, IpRange, Secret};
use crate::config::values::{self, MAX_WORKERS};
use crate::tls::TlsFiles;

table! {
    /// The listeners of the node, and what they serve besides Socket.IO.
    pub ServerConfig = "server" {
        /// Address of the public listener. Port 0 = any free port.
        bind: BindAddress = "127.0.0.1:8080", text("`host:port`", BindAddress::parse);
        /// Number of worker threads. 0 = one per core.
        workers: usize = 0, number(0..=MAX_WORKERS as u64).map(values::workers);
        /// Directory with the stock client files (`socket.io-client/dist`), served below the Engine.IO path. Empty = not
        /// served.
        client_dir: Option<PathBuf> = "", text("directory", values::directory).or_empty();
        /// Whether the demo page is served at `/`. `auto` = on if `server.bind` is a loopback address. The page uses
        /// `roomwire:*` events, so it is never served unless `app.kind` is `relay`, `upstream` with
        /// `app.upstream.relay`, or `webhook` with `app.webhook.relay`.
        demo: bool = "auto", switch().or_auto();
        /// Trusted proxies, as addresses or ranges. Their `X-Forwarded-Host` is used in the same-origin check, their
        /// `X-Forwarded-For` (or else `Forwarded`) as the address of the client, and their `X-Forwarded-Proto` to detect
        /// clients that connect over TLS.
        trusted_proxies: Vec<IpRange> = [], list(text("address or range, such as `10.0.0.0/8`", IpRange::parse)), reload;
        /// Address of the internal listener for probes, `/metrics` and `POST /drain`, which runs on its own thread. Do
        /// not expose it to the public. Empty = no internal listener.
        internal_bind: Option<BindAddress> = "", text("`host:port`", BindAddress::parse).or_empty();
        /// Token required by `POST /drain` from another machine, sent as `Authorization: Bearer TOKEN`. Empty = only
        /// loopback peers can drain the node.
        drain_token: Option<Secret> = "", text("at least 16 characters", values::token).or_empty(), secret;
        /// Probes on the public listener: `full` (`/livez`, `/readyz` and `/readyz?verbose`), `plain` (`/livez` and
        /// `/readyz`, without metrics) or `off`. `auto` = `plain` with an internal listener, otherwise `full`.
        public_probes: PublicProbes = "auto", choice(PUBLIC_PROBES).or_auto();
        /// Whether every connection comes from a trusted proxy and starts with a PROXY protocol header (version 1 or 2)
        /// that contains the address of the client.
        proxy_protocol: bool = false, flag();
        /// Certificate of the public listener: a PEM file with the certificate followed by its chain. If set, the
        /// listener accepts TLS only. A replaced file is loaded at SIGHUP, or otherwise within a minute. Empty = no TLS.
        tls_cert: Option<PathBuf> = "", text("file", values::any_path).or_empty(), reload_if_set;
        /// Private key of `server.tls_cert`: an unencrypted PEM file.
        tls_key: Option<PathBuf> = "", text("file", values::any_path).or_empty(), reload_if_set;
    }
    derived {
        /// `tls_cert` and `tls_key`; both were usable when they were checked. `None` = no TLS.
        tls: Option<TlsFiles>,
    }
    tables {
        /// Timeouts of both listeners.
        http: HttpTimeouts,
    }
}

table! {
    /// Timeouts of an HTTP connection.
    #[derive(Copy, PartialEq, Eq)]
    pub HttpTimeouts = "server" {
        /// Time limit for a client to send the head of a request. Starts when the connection opens, for later requests
        /// with their first byte.
        header_timeout: Duration = "10s", duration(MILLISECOND..);
        /// Time after which a connection is closed if no byte of a request body arrives.
        body_timeout: Duration = "30s", duration(MILLISECOND..);
        /// Time after which a connection is closed if the client reads nothing of a response.
        write_timeout: Duration = "30s", duration(MILLISECOND..);
        /// Time for which an idle HTTP connection is kept open for the next request. Keep it longer than the idle timeout
        /// of a proxy or load balancer in front (usually 60 s); otherwise the proxy can send a request on a connection
        /// that is being closed.
        keepalive_timeout: Duration = "75s", duration(MILLISECOND..);
    }
}

/// The probes that the public listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicProbes {
    /// None.
    #[default]
    Off,
    /// `/livez` and `/readyz`, without metrics.
    Plain,
    /// Also `/readyz?verbose`.
    Full,
}

const PUBLIC_PROBES: &[(&str, PublicProbes)] = &[
    ("full", PublicProbes::Full),
    ("plain", PublicProbes::Plain),
    ("off", PublicProbes::Off),
];
