//! The variables that choose the Redis and name its servers.

use super::reader::Reader;
use super::variables::{APP_URL, MANAGED_URL};
use crate::config::net::quoted;

/// Reads the variables about Redis, except its options.
pub(super) fn read(reader: &mut Reader<'_>) {
    match reader.get("WEBSOCKET_MANAGER") {
        Some("redis") => reader.found.manager_is_redis = true,
        Some(other) => {
            let other = quoted(other);
            let message = format!("{other} is not `redis`: this node runs without a cluster");
            reader.warn("bus.redis_url", "WEBSOCKET_MANAGER", message);
        }
        None => {}
    }
    let used = reader.url_name();
    for name in [MANAGED_URL, APP_URL] {
        match reader.get(name) {
            Some(url) if used == Some(name) => reader.set("bus.redis_url", url, name),
            Some(_) => reader.found.unused.push(name.to_owned()),
            None => {}
        }
    }
    if let Some(prefix) = reader.get("REDIS_KEY_PREFIX") {
        // The backends have their keys directly below the prefix, so ours need a name of their own.
        let name = "REDIS_KEY_PREFIX";
        reader.set("bus.prefix", format!("{prefix}:roomwire"), name);
        reader.set("app.open_webui.key_prefix", prefix, name);
    }
    if let Some(value) = reader.get("WEBSOCKET_REDIS_ROOM_CHANNELS") {
        reader.set(
            "bus.python_room_channels",
            value,
            "WEBSOCKET_REDIS_ROOM_CHANNELS",
        );
    }
    topology(reader);
}

/// Sentinels and Redis Cluster, which belong to the URL that is used.
fn topology(reader: &mut Reader<'_>) {
    let url = reader.url_name();
    let candidates = [
        (
            "WEBSOCKET_SENTINEL_HOSTS",
            "WEBSOCKET_SENTINEL_PORT",
            url.is_some(),
        ),
        (
            "REDIS_SENTINEL_HOSTS",
            "REDIS_SENTINEL_PORT",
            url == Some(APP_URL),
        ),
    ];
    let mut chosen = None;
    for (hosts, port, counts) in candidates {
        if reader.get(hosts).is_some() && counts && chosen.is_none() {
            chosen = Some((hosts, port));
            continue;
        }
        let unused = [hosts, port]
            .into_iter()
            .filter(|name| reader.get(name).is_some());
        let unused: Vec<String> = unused.map(str::to_owned).collect();
        reader.found.unused.extend(unused);
    }
    if let Some((hosts, port)) = chosen {
        sentinels(reader, hosts, port);
    }
    let mut is_decided = url.is_none();
    for name in ["WEBSOCKET_REDIS_CLUSTER", "REDIS_CLUSTER"] {
        match reader.get(name) {
            None => {}
            Some(text) if !is_decided => {
                is_decided = true;
                reader.set("bus.cluster", text, name);
            }
            Some(_) => reader.found.unused.push(name.to_owned()),
        }
    }
}

fn sentinels(reader: &mut Reader<'_>, hosts: &'static str, port: &'static str) {
    let shared_port = reader.get(port).unwrap_or("26379").to_owned();
    let names = reader
        .get(hosts)
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    let with_port = |name: &str| match name.rsplit_once(':') {
        Some(_) => name.to_owned(),
        None => format!("{name}:{shared_port}"),
    };
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(with_port)
        .collect();
    reader.set("bus.sentinels", names.join(","), hosts);
    let url = reader.url_name().and_then(|name| reader.get(name));
    let service = url.and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned));
    if let Some(service) = service {
        reader.set("bus.sentinel_service", service, hosts);
    }
}
