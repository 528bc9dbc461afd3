//! Checks of values that must fit together, and warnings about combinations that are allowed.
//!
//! Pure, except that it looks into the folder of client files. Called by `check`, after every
//! value was judged on its own.

use std::time::Duration;

use super::check::{Checker, MESSAGE_OVERHEAD};
use super::checked::{AppKind, BusConfig, Config, JoinPolicy, PublishPolicy};
use super::net::SecretUrl;
use super::pattern::OriginRule;
use super::problem::{Origin, Problem};
use super::values;

/// Paths the node serves itself.
const RESERVED: [&str; 6] = [
    "/api", "/admin", "/healthz", "/livez", "/metrics", "/readyz",
];

/// Path of the raw Engine.IO echo, which `app.kind = "echo"` adds.
const RAW_ECHO_PATH: &str = "/engine.io";

/// The longest timer of a browser: 2^31 - 1 milliseconds.
const LONGEST_TIMER: Duration = Duration::from_millis(i32::MAX as u64);

/// The least value of `auto` for `socket.outbox_hard_limit`: room for bursts that a client reads within seconds.
const OUTBOX_HARD_LIMIT: usize = 32 << 20;

/// Bytes that an upstream connection may read after a large message before back-pressure from its client stops it.
const UPSTREAM_READ: usize = 128 << 10;

/// Fills in what depends on values of other sections.
pub(super) fn resolve(config: &mut Config, checker: &Checker<'_, '_>) {
    let upstreams = &mut config.app.upstream.max_connections_per_ip;
    upstreams.get_or_insert(config.limits.connections_per_ip);
    if config.socket.outbox_hard_limit == 0 && checker.sound(&["socket.outbox_hard_limit"]) {
        let (_, largest) = largest_message(config);
        let least = config.socket.outbox_limit + largest;
        config.socket.outbox_hard_limit = least.max(OUTBOX_HARD_LIMIT);
    }
}

/// The largest message that can be sent to a client: the key that limits it, and its bytes.
fn largest_message(config: &Config) -> (&'static str, usize) {
    let upstreams = &config.app.upstream;
    let mut largest = ("engine.max_payload", config.engine.max_payload);
    let others = [
        (
            "bus.message_limit",
            config.bus.redis_url.is_some(),
            config.bus.message_limit,
        ),
        (
            "app.upstream.max_message",
            matches!(config.app.kind, AppKind::Upstream | AppKind::OpenWebui),
            upstreams.max_message + UPSTREAM_READ,
        ),
    ];
    for (key, counts, bytes) in others {
        if counts && bytes > largest.1 {
            largest = (key, bytes);
        }
    }
    largest
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    engine(config, checker);
    outbox(config, checker);
    origins(config, checker);
    bus(config, checker);
    upstream(config, checker);
    public_bind(config, checker);
    client_files(config, checker);
    proxies(config, checker);
    internal_bind(config, checker);
    open_webui(config, checker);
    log(config, checker);
}

/// Warns of a filter that names a misspelt module or one of another program: every Rust program reads `RUST_LOG`.
fn log(config: &Config, checker: &mut Checker<'_, '_>) {
    const KEY: &str = "log.filter";
    let filter = &config.log.filter;
    if checker.sound(&[KEY]) && !values::lets_errors_through(filter) {
        let message = format!(
            "`{filter}` hides all log lines of Roomwire, even errors: its modules begin with `roomwire`; a level alone applies to all modules"
        );
        checker.warn(KEY, message);
    }
}

fn open_webui(config: &Config, checker: &mut Checker<'_, '_>) {
    const KEY: &str = "app.open_webui.upstreams";
    if config.app.kind != AppKind::OpenWebui {
        return;
    }
    if config.app.open_webui.upstreams.is_empty() && checker.sound(&[KEY]) {
        checker.refuse(
            KEY,
            "must name at least one backend, as `http://open-webui:8080`",
        );
    }
    if !config.bus.python && checker.sound(&["bus.python"]) {
        checker.refuse(
            "bus.python",
            "cannot be off with app.kind = \"open_webui\": backends are heard that way alone",
        );
    }
}

fn engine(config: &Config, checker: &mut Checker<'_, '_>) {
    let engine = &config.engine;
    let is_reserved = |name: &&str| {
        let rest = engine.path.strip_prefix(*name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(name) = RESERVED.into_iter().find(is_reserved) {
        checker.refuse(
            "engine.path",
            format!("`{name}` is served by the node itself"),
        );
    }
    if config.app.kind == AppKind::Echo && engine.path == RAW_ECHO_PATH {
        let message = format!("`{RAW_ECHO_PATH}` is the raw echo of app.kind = \"echo\"");
        checker.refuse("engine.path", message);
    }
    let longest = engine.ping_interval.saturating_add(engine.ping_timeout);
    if longest > LONGEST_TIMER {
        let message = "with engine.ping_timeout is longer than a browser's longest timer, 24 days";
        checker.refuse("engine.ping_interval", message);
    }
}

/// The queue of a client must have room for one message of the largest size.
fn outbox(config: &Config, checker: &mut Checker<'_, '_>) {
    const HARD: &str = "socket.outbox_hard_limit";
    const MEMORY: &str = "limits.outbox_memory";
    let socket = &config.socket;
    let (key, largest) = largest_message(config);
    let sound = checker.sound(&[HARD, "socket.outbox_limit", key]);
    if sound && socket.outbox_hard_limit < socket.outbox_limit + largest {
        let least = socket.outbox_limit + largest;
        let message = format!(
            "must be at least {least} bytes: socket.outbox_limit ({}) and one message of {key} ({largest})",
            socket.outbox_limit
        );
        return checker.refuse(HARD, message);
    }
    let sound = sound && checker.sound(&[MEMORY]);
    let too_small = |memory: &usize| *memory < socket.outbox_hard_limit;
    if sound && let Some(memory) = config.limits.outbox_memory.filter(too_small) {
        let message = format!(
            "is {memory} bytes, less than the queue of one client: {HARD} is {}",
            socket.outbox_hard_limit
        );
        checker.refuse(MEMORY, message);
    }
}

fn origins(config: &Config, checker: &mut Checker<'_, '_>) {
    if config.cors.credentials && config.cors.origins.contains(&OriginRule::Any) {
        let message =
            "cannot be true while cors.origins holds `*`: any page could act as its visitor";
        checker.refuse("cors.credentials", message);
    }
    let null = OriginRule::Exact("null".to_owned());
    if config.cors.credentials && config.cors.origins.contains(&null) {
        let message = "is true while cors.origins holds `null`: any page can obtain this origin with a sandboxed frame";
        checker.warn("cors.credentials", message);
    }
}

fn bus(config: &Config, checker: &mut Checker<'_, '_>) {
    let bus = &config.bus;
    let least = config.engine.max_payload + MESSAGE_OVERHEAD;
    let keys = ["engine.max_payload", "bus.message_limit"];
    if checker.sound(&keys) && bus.message_limit < least {
        let message = format!(
            "must be at least {least} bytes: engine.max_payload and {MESSAGE_OVERHEAD} of overhead"
        );
        checker.refuse("bus.message_limit", message);
    }
    if let Some(url) = &bus.redis_url {
        return redis(bus, url, checker);
    }
    if !checker.sound(&["bus.redis_url"]) {
        return;
    }
    if checker.layers.borrowed.manager_is_redis {
        let origin = Origin::Environment("WEBSOCKET_MANAGER".to_owned());
        let message = "WEBSOCKET_MANAGER=redis needs a URL: ROOMWIRE_BUS__REDIS_URL, WEBSOCKET_REDIS_URL or REDIS_URL";
        checker
            .problems
            .push(Problem::new("bus.redis_url", origin, message));
    } else if config.app.kind == AppKind::OpenWebui {
        let message = "is needed with app.kind = \"open_webui\": the backends' Redis, as in their WEBSOCKET_REDIS_URL";
        checker.refuse("bus.redis_url", message);
    } else if bus.required {
        checker.refuse("bus.required", "needs bus.redis_url");
    } else if bus.python {
        checker.warn("bus.python", "has no effect without bus.redis_url");
    }
}

/// How the server of the URL is found and reached.
fn redis(bus: &BusConfig, url: &SecretUrl, checker: &mut Checker<'_, '_>) {
    if bus.cluster && bus.sentinel.is_some() {
        let message = "cannot be true with bus.sentinels: a Redis Cluster has no Sentinels";
        checker.refuse("bus.cluster", message);
    }
    if bus.cluster && url.database() != 0 {
        let message = "must name no database but 0 with bus.cluster: a Redis Cluster has no other";
        checker.refuse("bus.redis_url", message);
    }
    if url.is_file() && (bus.cluster || bus.sentinel.is_some()) {
        let message = "must not be a socket file with bus.cluster or bus.sentinels";
        checker.refuse("bus.redis_url", message);
    }
    if url.has_tls() {
        return;
    }
    let files = [
        ("bus.tls_ca", bus.tls_ca.is_some()),
        ("bus.tls_cert", bus.tls_identity.is_some()),
    ];
    for (key, _) in files.into_iter().filter(|(_, given)| *given) {
        checker.warn(key, "has no effect without `rediss://` in bus.redis_url");
    }
}

fn upstream(config: &Config, checker: &mut Checker<'_, '_>) {
    const URLS: &str = "app.upstream.urls";
    let upstream = &config.app.upstream;
    let is_upstream = config.app.kind == AppKind::Upstream;
    if !checker.sound(&[URLS]) {
        return;
    }
    if is_upstream && upstream.urls.is_empty() {
        let message = "must name the server behind this one, such as `http://backend:3000`, for app.kind = \"upstream\"";
        checker.refuse(URLS, message);
    } else if !is_upstream && !upstream.urls.is_empty() {
        checker.warn(URLS, "has no effect without app.kind = \"upstream\"");
    }
    if is_upstream && upstream.forward.is_empty() {
        let message = "lets no event of the server behind this one through to clients";
        checker.warn("app.upstream.forward", message);
    }
}

fn public_bind(config: &Config, checker: &mut Checker<'_, '_>) {
    if config.server.bind.is_loopback() || !checker.sound(&["server.bind"]) {
        return;
    }
    if config.server.demo {
        let message = format!(
            "the demo page is open to everyone who reaches {}",
            config.server.bind
        );
        checker.warn("server.demo", message);
    }
    let is_shipped = |key: &str| checker.layers.origin(key) == Origin::Default;
    let is_open = config.app.relay.rules.last().is_some_and(|rule| {
        let join = rule.join == JoinPolicy::Anyone && is_shipped("app.relay.join");
        let publish = rule.publish == PublishPolicy::Anyone && is_shipped("app.relay.publish");
        join || publish
    });
    if config.app.kind == AppKind::Relay && is_open {
        let message = format!(
            "the open relay default lets everyone who reaches {} join any room and emit to it; \
             set app.relay.join and app.relay.publish (to `anyone`, if that is meant)",
            config.server.bind
        );
        checker.warn("app.relay", message);
    }
}

fn internal_bind(config: &Config, checker: &mut Checker<'_, '_>) {
    let server = &config.server;
    if !checker.sound(&["server.internal_bind", "server.drain_token"]) {
        return;
    }
    match &server.internal_bind {
        None if server.drain_token.is_some() => {
            let message = "has no effect without server.internal_bind";
            checker.warn("server.drain_token", message);
        }
        Some(bind) if !bind.is_loopback() && server.drain_token.is_none() => {
            let message = format!(
                "everyone who reaches {bind} can read the metrics: restrict access by a firewall or a NetworkPolicy; \
                 without server.drain_token only this machine can drain the node"
            );
            checker.warn("server.internal_bind", message);
        }
        _ => {}
    }
}

fn proxies(config: &Config, checker: &mut Checker<'_, '_>) {
    let server = &config.server;
    let nobody = server.trusted_proxies.is_empty() && checker.sound(&["server.trusted_proxies"]);
    if server.proxy_protocol && nobody {
        let message = "needs server.trusted_proxies: only those may say whose a connection is, all others are closed";
        checker.refuse("server.proxy_protocol", message);
    }
    let wide = server
        .trusted_proxies
        .iter()
        .filter(|range| range.is_wide());
    let wide: Vec<String> = wide.map(ToString::to_string).collect();
    if !wide.is_empty() {
        let message = format!(
            "trusts every machine in {}: each of them can claim to be any client, and so evade per-address limits; list only your proxies",
            wide.join(", ")
        );
        checker.warn("server.trusted_proxies", message);
    }
}

fn client_files(config: &Config, checker: &mut Checker<'_, '_>) {
    let Some(folder) = &config.server.client_dir else {
        return;
    };
    let names = ["socket.io.min.js", "socket.io.js"];
    if !names.iter().any(|name| folder.join(name).is_file()) {
        checker.warn(
            "server.client_dir",
            "holds no socket.io.min.js; meant is socket.io-client/dist",
        );
    }
}
