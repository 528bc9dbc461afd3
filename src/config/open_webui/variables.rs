//! The environment variables of Open WebUI that are known here.

/// The variables with an effect, and their effect as Markdown.
pub(in crate::config) const EFFECTS: [(&str, &str); 21] = [
    (
        "CORS_ALLOW_ORIGIN",
        "with `app.kind = \"open_webui\"`: `cors.origins`, separated by `;`",
    ),
    (
        "WEBUI_SECRET_KEY",
        "with `app.kind = \"open_webui\"`: `app.open_webui.secret_key`",
    ),
    (
        "WEBUI_JWT_SECRET_KEY",
        "the same, where `WEBUI_SECRET_KEY` is unset",
    ),
    (
        "WEBSOCKET_HEARTBEAT_INTERVAL",
        "with `app.kind = \"open_webui\"`: `app.open_webui.session_timeout` = four times its seconds, at least 120",
    ),
    (
        "ENABLE_WEBSOCKET_SUPPORT",
        "`false`: `engine.transports` = `polling`",
    ),
    (
        "WEBSOCKET_MANAGER",
        "`redis`: `bus.redis_url` is the URL below, and `bus.python` is on",
    ),
    (
        MANAGED_URL,
        "`bus.redis_url`, with `WEBSOCKET_MANAGER=redis`",
    ),
    (APP_URL, "the same, where `WEBSOCKET_REDIS_URL` is unset"),
    (
        "REDIS_KEY_PREFIX",
        "`bus.prefix` = its value followed by `:roomwire`; `app.open_webui.key_prefix` = its value",
    ),
    (
        "WEBSOCKET_REDIS_ROOM_CHANNELS",
        "`bus.python_room_channels`",
    ),
    (
        "WEBSOCKET_SERVER_PING_INTERVAL",
        "`engine.ping_interval`, in seconds",
    ),
    (
        "WEBSOCKET_SERVER_PING_TIMEOUT",
        "`engine.ping_timeout`, in seconds",
    ),
    (
        "REDIS_SOCKET_CONNECT_TIMEOUT",
        "`bus.connect_timeout`, in seconds",
    ),
    ("GLOBAL_LOG_LEVEL", "`log.filter`, unless `RUST_LOG` is set"),
    (
        "WEBSOCKET_REDIS_OPTIONS",
        "its members `socket_connect_timeout` (`bus.connect_timeout`), `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (`bus.tls_ca`, `bus.tls_cert`, `bus.tls_key`)",
    ),
    (
        "WEBSOCKET_SENTINEL_HOSTS",
        "`bus.sentinels`; the host of the URL is `bus.sentinel_service`",
    ),
    (
        "WEBSOCKET_SENTINEL_PORT",
        "the port of those hosts, 26379 where unset",
    ),
    (
        "REDIS_SENTINEL_HOSTS",
        "the same, where `WEBSOCKET_SENTINEL_HOSTS` is unset and the URL is `REDIS_URL`",
    ),
    ("REDIS_SENTINEL_PORT", "the port of those hosts"),
    ("WEBSOCKET_REDIS_CLUSTER", "`bus.cluster`"),
    (
        "REDIS_CLUSTER",
        "the same, where `WEBSOCKET_REDIS_CLUSTER` is unset",
    ),
];

/// Known variables without an effect here.
pub(in crate::config) const UNUSED: [&str; 18] = [
    "DATABASE_USER_ACTIVE_STATUS_UPDATE_INTERVAL",
    "ENABLE_CHANNELS",
    "ENABLE_ENCRYPTED_CHANNELS",
    "ENABLE_NOTES",
    "ENABLE_ORJSON",
    "JWT_EXPIRES_IN",
    "REDIS_HEALTH_CHECK_INTERVAL",
    "REDIS_RECONNECT_DELAY",
    "REDIS_RESPONSE_STREAM_TTL",
    "REDIS_SENTINEL_MAX_RETRY_COUNT",
    "REDIS_SOCKET_KEEPALIVE",
    "REDIS_SOCKET_TIMEOUT",
    "REDIS_TASK_TTL",
    "WEBSOCKET_EVENT_CALLER_TIMEOUT",
    "WEBSOCKET_REDIS_LOCK_TIMEOUT",
    "WEBSOCKET_SERVER_ENGINEIO_LOGGING",
    "WEBSOCKET_SERVER_LOGGING",
    "WEBUI_AUTH",
];

pub(super) const MANAGED_URL: &str = "WEBSOCKET_REDIS_URL";
pub(super) const APP_URL: &str = "REDIS_URL";
pub(super) const OWN_URL: &str = "ROOMWIRE_BUS__REDIS_URL";
