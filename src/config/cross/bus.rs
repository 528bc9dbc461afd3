//! `[bus]`: where Redis is, and how it is reached.

use crate::config::checker::Checker;
use crate::config::net::SecretUrl;
use crate::config::pattern::Pattern;
use crate::config::problem::{Origin, Problem};
use crate::config::redis_url;
use crate::config::tables::{BusConfig, Config, NodeAdapter, RoomChannels, SentinelConfig};

/// Bytes besides the largest message of a client: headers of the bus, of a forwarded request, of a packet.
const MESSAGE_OVERHEAD: usize = 16 << 10;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let is_open_webui = config.app.is_open_webui();
    let max_payload = config.engine.max_payload;
    let bus = &mut config.bus;
    let has_python = checker.layers.borrowed.manager_is_redis || is_open_webui;
    checker.resolve("bus.python", &mut bus.python, has_python);
    checker.resolve(
        "bus.python_room_channels",
        &mut bus.python_room_channels,
        is_open_webui,
    );
    checker.resolve(
        "bus.message_limit",
        &mut bus.message_limit,
        2 * max_payload + 4 * MESSAGE_OVERHEAD,
    );
    let has_several_kinds = bus.python && has_translated_adapter(bus);
    checker.resolve("bus.translate", &mut bus.translate, has_several_kinds);
    let database = bus.redis_url.as_ref().map_or(0, SecretUrl::database);
    bus.channel_prefix = format!("{}:{database}", bus.prefix);
    let namespaces = config.socket.namespaces.iter().map(Pattern::as_str);
    let names = namespaces.filter(|name| !name.contains('*'));
    bus.known_namespaces = names.map(str::to_owned).collect();
    bus.tls_identity = bus.tls_cert.clone().zip(bus.tls_key.clone());
    bus.sentinel = sentinel(bus, checker);
    redis_options(bus, checker);
}

/// Whether messages of servers in Node can be translated: not from sharded channels of rooms, for which Redis has no
/// patterns.
fn has_translated_adapter(bus: &BusConfig) -> bool {
    match bus.node_adapter {
        NodeAdapter::None => false,
        NodeAdapter::Sharded => bus.node_room_channels == RoomChannels::None,
        NodeAdapter::Emitters | NodeAdapter::PubSub | NodeAdapter::Streams => true,
    }
}

/// Applies the options in the query of the URL: files only where no key names one, the timeout always.
fn redis_options(bus: &mut BusConfig, checker: &Checker<'_, '_>) {
    if bus.redis_url.is_none() {
        return;
    }
    // Its problems were reported when the key was read.
    let Ok(read) = redis_url::read(&checker.text("bus.redis_url")) else {
        return;
    };
    bus.tls_ca = bus.tls_ca.take().or(read.ca);
    bus.tls_identity = bus.tls_identity.take().or(read.identity);
    bus.connect_timeout = read.connect_timeout.unwrap_or(bus.connect_timeout);
}

fn sentinel(bus: &BusConfig, checker: &mut Checker<'_, '_>) -> Option<SentinelConfig> {
    if bus.sentinels.is_empty() {
        return None;
    }
    if bus.sentinel_service.is_empty() {
        checker.reject("bus.sentinel_service", "must not be empty");
    }
    Some(SentinelConfig {
        hosts: bus.sentinels.clone(),
        service: bus.sentinel_service.clone(),
        user: bus.sentinel_user.clone(),
        password: bus.sentinel_password.clone(),
    })
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let bus = &config.bus;
    tls_files(bus, checker);
    let least = config.engine.max_payload + MESSAGE_OVERHEAD;
    let keys = ["engine.max_payload", "bus.message_limit"];
    if checker.sound(&keys) && bus.message_limit < least {
        let message = format!(
            "must be at least {least} bytes: engine.max_payload plus {MESSAGE_OVERHEAD} of overhead"
        );
        checker.reject("bus.message_limit", message);
    }
    translation(bus, checker);
    if let Some(url) = &bus.redis_url {
        return redis(bus, url, checker);
    }
    if !checker.sound(&["bus.redis_url"]) {
        return;
    }
    if checker.layers.borrowed.manager_is_redis {
        let origin = Origin::Environment("WEBSOCKET_MANAGER".to_owned());
        let message = "WEBSOCKET_MANAGER=redis requires a URL: ROOMWIRE_BUS__REDIS_URL, WEBSOCKET_REDIS_URL or REDIS_URL";
        checker
            .problems
            .push(Problem::new("bus.redis_url", origin, message));
    } else if config.app.is_open_webui() {
        let message = "is required with app.kind = \"open_webui\": the Redis of the backends, as in their WEBSOCKET_REDIS_URL";
        checker.reject("bus.redis_url", message);
    } else if bus.required {
        checker.reject("bus.required", "requires bus.redis_url");
    } else if bus.python {
        checker.warn("bus.python", "has no effect without bus.redis_url");
    } else if bus.node_adapter != NodeAdapter::None {
        checker.warn("bus.node_adapter", "has no effect without bus.redis_url");
    }
}

/// Checks that `bus.translate = "on"` has an effect: translation needs two kinds of foreign programs.
fn translation(bus: &BusConfig, checker: &mut Checker<'_, '_>) {
    let keys = ["bus.translate", "bus.python", "bus.node_adapter"];
    if !bus.translate || !checker.sound(&keys) {
        return;
    }
    let message = match (bus.python, has_translated_adapter(bus)) {
        (true, true) => return,
        (false, true) => "has no effect without bus.python",
        (_, false) if bus.node_adapter == NodeAdapter::Sharded => {
            "has no effect with bus.node_adapter = \"sharded\", unless bus.python is on and bus.node_room_channels is \"none\""
        }
        (false, false) => "has no effect without bus.python and bus.node_adapter",
        (true, false) => "has no effect without bus.node_adapter",
    };
    checker.warn("bus.translate", message);
}

fn tls_files(bus: &BusConfig, checker: &mut Checker<'_, '_>) {
    let keys = ["bus.tls_cert", "bus.tls_key"];
    if !checker.sound(&keys) {
        return;
    }
    match (&bus.tls_cert, &bus.tls_key) {
        (Some(_), None) => checker.reject("bus.tls_cert", "requires bus.tls_key"),
        (None, Some(_)) => checker.reject("bus.tls_key", "requires bus.tls_cert"),
        _ => {}
    }
}

/// How the server of the URL is found and reached.
fn redis(bus: &BusConfig, url: &SecretUrl, checker: &mut Checker<'_, '_>) {
    if bus.cluster && bus.sentinel.is_some() {
        let message = "cannot be true with bus.sentinels: a Redis Cluster has no Sentinels";
        checker.reject("bus.cluster", message);
    }
    if bus.cluster && url.database() != 0 {
        let message =
            "must name no database except 0 with bus.cluster: a Redis Cluster has no other";
        checker.reject("bus.redis_url", message);
    }
    if url.is_file() && (bus.cluster || bus.sentinel.is_some()) {
        let message = "must not be a socket file with bus.cluster or bus.sentinels";
        checker.reject("bus.redis_url", message);
    }
    if url.has_tls() {
        return;
    }
    let files = [
        ("bus.tls_ca", bus.tls_ca.is_some()),
        ("bus.tls_cert", bus.tls_identity.is_some()),
    ];
    for (key, _) in files.into_iter().filter(|(_, is_set)| *is_set) {
        checker.warn(key, "has no effect without `rediss://` in bus.redis_url");
    }
}
