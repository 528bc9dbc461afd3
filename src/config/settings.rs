//! The mirror of the file: every key as it is written, before any check.
//!
//! Serde fills it from the merged layers; unknown keys are refused (all of them are reported
//! before, by the layers). `check` makes a `Config` of it. Nothing else reads it.

use serde::Deserialize;

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident { $($key:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $name {
                $(pub(super) $key: $kind,)*
            }
        )*
    };
}

settings! {
    /// The whole file.
    Settings {
        server: ServerSettings,
        engine: EngineSettings,
        socket: SocketSettings,
        limits: LimitsSettings,
        cors: CorsSettings,
        app: AppSettings,
        bus: BusSettings,
        drain: DrainSettings,
        log: LogSettings,
    }
    /// `[server]`
    ServerSettings {
        bind: String,
        workers: usize,
        client_dir: String,
        demo: String,
        trusted_proxies: Vec<String>,
        internal_bind: String,
        drain_token: String,
        public_probes: String,
        proxy_protocol: bool,
        header_timeout: String,
        body_timeout: String,
        write_timeout: String,
        keepalive_timeout: String,
        tls_cert: String,
        tls_key: String,
    }
    /// `[engine]`
    EngineSettings {
        path: String,
        transports: Vec<String>,
        allow_upgrades: bool,
        ping_interval: String,
        ping_timeout: String,
        upgrade_timeout: String,
        max_payload: String,
        cookie: String,
        compression_threshold: String,
    }
    /// `[socket]`
    SocketSettings {
        namespaces: Vec<String>,
        connect_timeout: String,
        max_namespaces: usize,
        max_rooms: usize,
        outbox_limit: String,
        outbox_hard_limit: String,
        slow_timeout: String,
        inbox_limit: String,
        send_buffer: String,
        max_pending_acks: usize,
        max_depth: usize,
    }
    /// `[limits]`
    LimitsSettings {
        connections: String,
        per_client: String,
        connections_per_ip: String,
        http_connections_per_ip: String,
        handshakes_per_second: usize,
        handshakes_burst: usize,
        handshakes_per_second_per_ip: String,
        handshakes_burst_per_ip: String,
        events_per_second: String,
        events_burst: String,
        connect_payload: String,
        outbox_memory: String,
        post_bodies: String,
    }
    /// `[cors]`
    CorsSettings {
        origins: Vec<String>,
        credentials: bool,
    }
    /// `[app]`
    AppSettings {
        kind: String,
        relay: RelaySettings,
        upstream: UpstreamSettings,
        open_webui: OpenWebuiSettings,
    }
    /// `[app.relay]`
    RelaySettings {
        join: String,
        publish: String,
        rooms: Vec<RuleSettings>,
    }
    /// `[[app.relay.rooms]]`
    RuleSettings {
        pattern: String,
        join: Option<String>,
        publish: Option<String>,
    }
    /// `[app.upstream]`
    UpstreamSettings {
        urls: Vec<String>,
        path: String,
        connect: String,
        relay: bool,
        forward: Vec<String>,
        when_lost: String,
        connect_timeout: String,
        idle_timeout: String,
        queue_limit: String,
        max_message: String,
        max_connections: usize,
        max_connections_per_user: usize,
        max_connections_per_ip: String,
        health_path: String,
        health_interval: String,
    }
    /// `[app.open_webui]`
    OpenWebuiSettings {
        upstreams: Vec<String>,
        key_prefix: String,
        secret_key: String,
        token_cache: String,
        revalidate: String,
        session_timeout: String,
        request_timeout: String,
        max_requests: usize,
        patience: String,
    }
    /// `[bus]`
    BusSettings {
        redis_url: String,
        tls_ca: String,
        tls_cert: String,
        tls_key: String,
        cluster: bool,
        sentinels: Vec<String>,
        sentinel_service: String,
        sentinel_user: String,
        sentinel_password: String,
        prefix: String,
        python: String,
        python_channel: String,
        python_room_channels: String,
        message_limit: String,
        spool_limit: String,
        spool_age: String,
        ping_interval: String,
        ping_misses: usize,
        connect_timeout: String,
        required: bool,
        forward_timeout: String,
    }
    /// `[drain]`
    DrainSettings {
        timeout: String,
        grace: String,
        rate: String,
        ack_timeout: String,
    }
    /// `[log]`
    LogSettings {
        filter: String,
        format: String,
    }
}
