//! `[engine]`, `[socket]` and `[cors]`.

use std::time::Duration;

use crate::config::checker::Checker;
use crate::config::pattern::OriginRule;
use crate::config::tables::{AppKind, Config};

/// Paths that the node serves itself.
const RESERVED_PATHS: [&str; 6] = [
    "/api", "/admin", "/healthz", "/livez", "/metrics", "/readyz",
];

/// Path of the Engine.IO echo of `app.kind = "echo"`.
const ENGINE_ECHO_PATH: &str = "/engine.io";

/// The longest timer of a browser: 2^31 - 1 milliseconds.
const MAX_TIMER: Duration = Duration::from_millis(i32::MAX as u64);

/// The least value that `auto` stands for in `socket.outbox_hard_limit`: room for bursts that a client reads within
/// seconds.
const MIN_AUTO_HARD_LIMIT: usize = 32 << 20;

/// Bytes that can be read from an upstream after a large message before back-pressure from the client stops it.
const UPSTREAM_READ: usize = 128 << 10;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let transports = config.engine.transports;
    config.engine.allow_upgrades &= transports.polling && transports.websocket;
    let (_, largest) = largest_message(config);
    let least = config.socket.outbox_limit + largest;
    let hard_limit = &mut config.socket.outbox_hard_limit;
    checker.resolve(
        "socket.outbox_hard_limit",
        hard_limit,
        least.max(MIN_AUTO_HARD_LIMIT),
    );
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    engine(config, checker);
    outbox(config, checker);
    origins(config, checker);
}

/// The largest message that can be sent to a client: the key that limits it, and its bytes.
fn largest_message(config: &Config) -> (&'static str, usize) {
    let has_upstreams = config.app.uses_upstream() || config.app.is_open_webui();
    let mut largest = ("engine.max_payload", config.engine.max_payload);
    let others = [
        (
            "bus.message_limit",
            config.bus.redis_url.is_some(),
            config.bus.message_limit,
        ),
        (
            "app.upstream.max_message",
            has_upstreams,
            config.app.upstream.max_message + UPSTREAM_READ,
        ),
    ];
    for (key, applies, bytes) in others {
        if applies && bytes > largest.1 {
            largest = (key, bytes);
        }
    }
    largest
}

fn engine(config: &Config, checker: &mut Checker<'_, '_>) {
    let engine = &config.engine;
    let is_reserved = |name: &&str| {
        let rest = engine.path.strip_prefix(*name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(name) = RESERVED_PATHS.into_iter().find(is_reserved) {
        let message = format!("`{name}` is served by the node itself");
        checker.reject("engine.path", message);
    }
    if config.app.kind == AppKind::Echo && engine.path == ENGINE_ECHO_PATH {
        let message = format!("`{ENGINE_ECHO_PATH}` is the Engine.IO echo of app.kind = \"echo\"");
        checker.reject("engine.path", message);
    }
    let longest = engine.ping_interval.saturating_add(engine.ping_timeout);
    if longest > MAX_TIMER {
        let message =
            "plus engine.ping_timeout exceeds the longest timer of a browser, which is 24 days";
        checker.reject("engine.ping_interval", message);
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
            "must be at least {least} bytes: socket.outbox_limit ({}) plus one message of {key} ({largest})",
            socket.outbox_limit
        );
        return checker.reject(HARD, message);
    }
    let sound = sound && checker.sound(&[MEMORY]);
    let too_small = |memory: &usize| *memory < socket.outbox_hard_limit;
    if sound && let Some(memory) = config.limits.outbox_memory.filter(too_small) {
        let message = format!(
            "is {memory} bytes, less than the queue of one client: {HARD} is {}",
            socket.outbox_hard_limit
        );
        checker.reject(MEMORY, message);
    }
}

fn origins(config: &Config, checker: &mut Checker<'_, '_>) {
    if config.cors.credentials && config.cors.origins.contains(&OriginRule::Any) {
        let message =
            "cannot be true while cors.origins contains `*`: any page could act as its visitor";
        checker.reject("cors.credentials", message);
    }
    let null = OriginRule::Exact("null".to_owned());
    if config.cors.credentials && config.cors.origins.contains(&null) {
        let message = "is true while cors.origins contains `null`: any page can obtain this origin with a sandboxed frame";
        checker.warn("cors.credentials", message);
    }
}
