//! The defaults of the Open WebUI app, and the environment variables of Open WebUI.

use super::*;
use crate::config::open_webui::{EFFECTS, UNUSED};

#[test]
fn variables_of_open_webui_configure_the_bus() {
    let manager = [
        ("WEBSOCKET_MANAGER", "redis"),
        ("REDIS_URL", "redis://cache/1"),
        ("WEBUI_SECRET_KEY", "s"),
    ];
    let loaded = load_environment(&manager).unwrap();
    assert!(loaded.config.bus.python && !loaded.config.bus.python_room_channels);
    assert_eq!(
        loaded.config.bus.redis_url.unwrap().expose(),
        "redis://cache/1"
    );
    assert_eq!(loaded.unused_names, ["WEBUI_SECRET_KEY"]);
    let own = ("ROOMWIRE_BUS__REDIS_URL", "redis://own");
    let bus = load_environment(&[manager[0], manager[1], own])
        .unwrap()
        .config
        .bus;
    assert_eq!(bus.redis_url.unwrap().expose(), "redis://own");
    assert!(
        load_environment(&manager[1..])
            .unwrap()
            .config
            .bus
            .redis_url
            .is_none()
    );
}

#[test]
fn open_webui_has_other_defaults() {
    let kind = ("ROOMWIRE_APP__KIND", "open_webui");
    let upstreams = (
        "ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS",
        "http://a:8080, http://b:8080/",
    );
    let redis = ("ROOMWIRE_BUS__REDIS_URL", "redis://cache");
    let loaded = load_environment(&[kind, upstreams, redis]).unwrap();
    let config = loaded.config;
    assert_eq!(config.engine.path, "/ws/socket.io");
    assert!(config.engine.transports.websocket && !config.engine.transports.polling);
    assert_eq!(config.engine.max_payload, 16 << 20);
    // `auto` would be more than the subscribers of a Redis as shipped may have waiting.
    assert_eq!(config.bus.message_limit, 32 << 20);
    assert_eq!(config.cors.origins, [OriginRule::Any]);
    assert!(config.bus.python && config.bus.python_room_channels);
    let backends = &config.app.open_webui.upstreams;
    assert_eq!(backends[1].to_string(), "http://b:8080");
    let connections = config.app.open_webui.connections(&config.app.upstream);
    assert_eq!(
        (connections.urls.len(), &*connections.path),
        (2, "/ws/socket.io")
    );
    let printed = loaded.effective.to_string();
    assert!(printed.contains("path = \"/ws/socket.io\" # default of app.kind = \"open_webui\""));

    let borrowed = [
        ("CORS_ALLOW_ORIGIN", "https://chat.example.org"),
        ("ENABLE_WEBSOCKET_SUPPORT", "false"),
        ("WEBUI_SECRET_KEY", "hidden"),
        ("ROOMWIRE_ENGINE__PATH", "/own"),
        ("ROOMWIRE_APP__OPEN_WEBUI__TOKEN_CACHE", "1s"),
    ];
    let loaded = load_environment(&[&[kind, upstreams, redis], &borrowed[..]].concat()).unwrap();
    let config = loaded.config;
    assert_eq!(config.engine.path, "/own");
    assert!(config.engine.transports.polling && !config.engine.transports.websocket);
    assert_ne!(config.cors.origins, [OriginRule::Any]);
    let secret = config.app.open_webui.secret_key.as_ref().unwrap();
    assert_eq!(secret.expose(), "hidden");
    assert!(!format!("{config:?}").contains("hidden"));
    assert!(!loaded.effective.to_string().contains("hidden"));
    assert!(loaded.unused_names.is_empty(), "{:?}", loaded.unused_names);
}

#[test]
fn open_webui_requires_backends_and_their_redis() {
    let kind = ("ROOMWIRE_APP__KIND", "open_webui");
    let rejected = load_environment(&[kind]).unwrap_err();
    let expected = ["bus.redis_url", "app.open_webui.upstreams"];
    assert_eq!(keys(&rejected.problems), expected);
    let pairs = [
        kind,
        ("ROOMWIRE_BUS__REDIS_URL", "redis://cache"),
        ("ROOMWIRE_BUS__PYTHON", "off"),
        ("ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS", "https://a"),
    ];
    let rejected = load_environment(&pairs).unwrap_err();
    let expected = ["app.open_webui.upstreams", "bus.python"];
    assert_eq!(keys(&rejected.problems), expected);
}

#[test]
fn the_shipped_file_configures_two_backends() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/open-webui.toml");
    let loaded = load_file(Path::new(file), &[]).unwrap();
    let expected = ["server.trusted_proxies", "server.internal_bind"];
    assert_eq!(keys(&loaded.warnings), expected);
    let config = loaded.config;
    assert_eq!(config.app.kind, AppKind::OpenWebui);
    assert_eq!(config.app.open_webui.upstreams.len(), 2);
    assert_eq!(config.bus.redis_url.unwrap().database(), 1);
    // Backends and nodes of deploy/open-webui take the environment that an operator has.
    let names = [
        ("ENABLE_WEBSOCKET_SUPPORT", "true"),
        ("WEBSOCKET_MANAGER", "redis"),
        ("WEBSOCKET_REDIS_URL", "redis://other:6379/2"),
        ("REDIS_KEY_PREFIX", "two"),
    ];
    let loaded = load_file(Path::new(file), &names).unwrap();
    let config = loaded.config;
    assert_eq!(config.bus.redis_url.unwrap().database(), 2);
    assert_eq!(config.app.open_webui.key_prefix, "two");
    assert_eq!(config.bus.channel_prefix, "two:roomwire:2");
}

/// Variables of Open WebUI itself or of the compose file, which a node does not read.
const NOT_OURS: [&str; 11] = [
    "DATABASE_URL",
    "OPEN_WEBUI_ADDRESS",
    "OPEN_WEBUI_MEMORY",
    "OPEN_WEBUI_PORT",
    "OPEN_WEBUI_TAG",
    "OPEN_WEBUI_VOLUME",
    "PGVECTOR_DB_URL",
    "ROOMWIRE_IMAGE",
    // The context of an error of Engine.IO.
    "TRANSPORT_HANDSHAKE_ERROR",
    "RUST_LOG",
    "VECTOR_DB",
];

/// Words such as `WEBSOCKET_REDIS_URL`.
fn variables(text: &str) -> std::collections::BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.contains('_') && word.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect()
}

#[test]
fn the_guide_names_only_existing_variables_and_all_with_an_effect() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/open-webui.md"));
    let known = EFFECTS.iter().map(|(name, _)| *name);
    let known: Vec<&str> = known.chain(UNUSED).collect();
    let reference = reference();
    for name in variables(page) {
        let is_key = reference.contains(&format!("`{name}`"));
        let is_elsewhere =
            NOT_OURS.contains(&name) || ["RUST_LOG", "TRANSPORT_HANDSHAKE_ERROR"].contains(&name);
        assert!(known.contains(&name) || is_key || is_elsewhere, "{name}");
    }
    let (_, table) = page.split_once("\n## Variables\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: Vec<&str> = rows.flat_map(|row| row.split(" | ").take(1)).collect();
    let named = named.join(" ");
    for (name, _) in EFFECTS {
        assert!(variables(&named).contains(name), "{name} has no row");
    }
}
