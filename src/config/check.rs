//! Makes a `Config` of `Settings`: every value on its own, then those that must fit together.
//!
//! Never stops at the first problem. A value that fails gets a placeholder, and the checks that
//! depend on it are skipped, so that one slip is reported once. Called by `load`.

use super::checked::{
    AppConfig, AppKind, BusConfig, Config, CorsConfig, EngineConfig, JoinPolicy, LogConfig,
    PublishPolicy, RelayConfig, RoomRule, ServerConfig, SocketConfig, Transports,
};
use super::cross;
use super::layers::Layers;
use super::net::{BindAddress, IpRange, SecretUrl};
use super::pattern::{OriginRule, Pattern};
use super::problem::Problem;
use super::schema::{self, RULES};
use super::settings::{
    AppSettings, BusSettings, CorsSettings, EngineSettings, RelaySettings, ServerSettings,
    Settings, SocketSettings,
};
use super::units;
use super::values::{self, MOST_WORKERS};

/// Room beside the largest client message: headers of the bus, of a forwarded request, of a packet.
pub(super) const MESSAGE_OVERHEAD: usize = 16 << 10;

/// Checks everything; the problems found are in the checker.
pub(super) fn check(settings: &Settings, checker: &mut Checker<'_, '_>) -> Config {
    let bus = checker.bus(&settings.bus, &settings.engine);
    let config = Config {
        server: checker.server(&settings.server),
        engine: checker.engine(&settings.engine),
        socket: checker.socket(&settings.socket),
        cors: checker.cors(&settings.cors),
        app: checker.app(&settings.app),
        bus,
        log: LogConfig {
            filter: checker.read("log.filter", &settings.log.filter, values::log_filter),
        },
    };
    cross::check(&config, checker);
    config
}

/// Collects problems and warnings with their origins.
pub(super) struct Checker<'a, 'b> {
    pub(super) layers: &'a Layers<'b>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'a, 'b> Checker<'a, 'b> {
    pub(super) fn new(layers: &'a Layers<'b>) -> Self {
        Self {
            layers,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a problem of `key`.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.problems
            .push(Problem::new(key, self.layers.origin(key), message));
    }

    /// Notes something about `key` that a person should know.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings
            .push(Problem::new(key, self.layers.origin(key), message));
    }

    /// Whether none of `keys` has a problem, neither here nor in the layers.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let mut problems = self.problems.iter().chain(&self.layers.problems);
        !problems.any(|problem| keys.contains(&problem.key.as_str()))
    }

    fn read<T: Default>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        parse(text).unwrap_or_else(|message| {
            self.refuse(key, message);
            T::default()
        })
    }

    fn read_list<T>(
        &mut self,
        key: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(message) => self.refuse(key, message),
            }
        }
        values
    }

    fn choice<T: Copy + Default>(&mut self, key: &str, text: &str, choices: &[(&str, T)]) -> T {
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.trim()) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("`{text}` is none of {}", names.join(", "));
        let meant = schema::nearest(text, names.into_iter());
        self.problems
            .push(Problem::new(key, self.layers.origin(key), message).suggesting(meant));
        T::default()
    }

    /// `on`, `off`, or what `auto` means.
    fn switch(&mut self, key: &str, text: &str, auto: bool) -> bool {
        match (text.trim(), super::layers::flag(text.trim())) {
            ("auto", _) => auto,
            (_, Some(wanted)) => wanted,
            _ => {
                self.refuse(
                    key,
                    format!("`{text}` is none of auto, on, off (or true, false)"),
                );
                false
            }
        }
    }

    fn at_least_one(&mut self, key: &str, number: usize) -> usize {
        if number == 0 {
            self.refuse(key, "must be at least 1");
        }
        number
    }

    fn server(&mut self, settings: &ServerSettings) -> ServerConfig {
        let bind = self.read("server.bind", &settings.bind, BindAddress::parse);
        let auto_demo = bind.is_loopback();
        if settings.workers > MOST_WORKERS {
            self.refuse("server.workers", format!("must be at most {MOST_WORKERS}"));
        }
        ServerConfig {
            workers: values::workers(settings.workers),
            client_dir: self.read("server.client_dir", &settings.client_dir, values::folder),
            demo: self.switch("server.demo", &settings.demo, auto_demo),
            trusted_proxies: self.read_list(
                "server.trusted_proxies",
                &settings.trusted_proxies,
                IpRange::parse,
            ),
            bind,
        }
    }

    fn engine(&mut self, settings: &EngineSettings) -> EngineConfig {
        let transports = self.transports(&settings.transports);
        EngineConfig {
            path: self.read("engine.path", &settings.path, values::path),
            transports,
            allow_upgrades: settings.allow_upgrades && transports.polling && transports.websocket,
            ping_interval: self.read(
                "engine.ping_interval",
                &settings.ping_interval,
                units::positive_duration,
            ),
            ping_timeout: self.read(
                "engine.ping_timeout",
                &settings.ping_timeout,
                units::positive_duration,
            ),
            upgrade_timeout: self.read(
                "engine.upgrade_timeout",
                &settings.upgrade_timeout,
                units::positive_duration,
            ),
            max_payload: self.read(
                "engine.max_payload",
                &settings.max_payload,
                units::positive_size,
            ),
            cookie: self.read("engine.cookie", &settings.cookie, values::cookie),
            compression_threshold: self.read(
                "engine.compression_threshold",
                &settings.compression_threshold,
                units::optional_size,
            ),
        }
    }

    fn transports(&mut self, names: &[String]) -> Transports {
        const KEY: &str = "engine.transports";
        let chosen: Vec<&str> = names
            .iter()
            .map(|name| {
                self.choice(
                    KEY,
                    name,
                    &[("polling", "polling"), ("websocket", "websocket")],
                )
            })
            .collect();
        if chosen.is_empty() {
            self.refuse(KEY, "must name at least one transport");
        }
        Transports {
            polling: chosen.contains(&"polling"),
            websocket: chosen.contains(&"websocket"),
        }
    }

    fn socket(&mut self, settings: &SocketSettings) -> SocketConfig {
        if settings.namespaces.is_empty() {
            self.refuse("socket.namespaces", "must name at least one namespace");
        }
        SocketConfig {
            namespaces: self.read_list(
                "socket.namespaces",
                &settings.namespaces,
                values::namespace,
            ),
            connect_timeout: self.read(
                "socket.connect_timeout",
                &settings.connect_timeout,
                units::positive_duration,
            ),
            max_namespaces: self.at_least_one("socket.max_namespaces", settings.max_namespaces),
            max_rooms: if settings.max_rooms == 0 {
                usize::MAX
            } else {
                settings.max_rooms
            },
            outbox_limit: self.read(
                "socket.outbox_limit",
                &settings.outbox_limit,
                units::positive_size,
            ),
            inbox_limit: self.read(
                "socket.inbox_limit",
                &settings.inbox_limit,
                units::positive_size,
            ),
            send_buffer: self.read(
                "socket.send_buffer",
                &settings.send_buffer,
                units::optional_size,
            ),
            max_pending_acks: self
                .at_least_one("socket.max_pending_acks", settings.max_pending_acks),
        }
    }

    fn cors(&mut self, settings: &CorsSettings) -> CorsConfig {
        CorsConfig {
            origins: self.read_list("cors.origins", &settings.origins, OriginRule::parse),
            credentials: settings.credentials,
        }
    }

    fn app(&mut self, settings: &AppSettings) -> AppConfig {
        let kinds = [("relay", AppKind::Relay), ("echo", AppKind::Echo)];
        AppConfig {
            kind: self.choice("app.kind", &settings.kind, &kinds),
            relay: self.relay(&settings.relay),
        }
    }

    fn relay(&mut self, settings: &RelaySettings) -> RelayConfig {
        let join = self.join("app.relay.join", &settings.join);
        let publish = self.publish("app.relay.publish", &settings.publish);
        let mut rules = Vec::with_capacity(settings.rooms.len() + 1);
        for (index, rule) in settings.rooms.iter().enumerate() {
            let key = |name: &str| format!("{RULES}[{index}].{name}");
            rules.push(RoomRule {
                pattern: Pattern::from(rule.pattern.as_str()),
                join: rule
                    .join
                    .as_ref()
                    .map_or(join, |text| self.join(&key("join"), text)),
                publish: rule
                    .publish
                    .as_ref()
                    .map_or(publish, |text| self.publish(&key("publish"), text)),
            });
        }
        rules.push(RoomRule {
            pattern: Pattern::from("*"),
            join,
            publish,
        });
        RelayConfig { rules }
    }

    fn join(&mut self, key: &str, text: &str) -> JoinPolicy {
        self.choice(
            key,
            text,
            &[
                ("anyone", JoinPolicy::Anyone),
                ("nobody", JoinPolicy::Nobody),
            ],
        )
    }

    fn publish(&mut self, key: &str, text: &str) -> PublishPolicy {
        let choices = [
            ("anyone", PublishPolicy::Anyone),
            ("members", PublishPolicy::Members),
            ("nobody", PublishPolicy::Nobody),
        ];
        self.choice(key, text, &choices)
    }

    fn bus(&mut self, settings: &BusSettings, engine: &EngineSettings) -> BusConfig {
        let redis_url = self.read("bus.redis_url", &settings.redis_url, values::redis_url);
        let prefix = self.read("bus.prefix", &settings.prefix, values::channel_name);
        let database = redis_url.as_ref().map_or(0, SecretUrl::database);
        // A broken `engine.max_payload` is reported with its own section.
        let max_payload = units::size(&engine.max_payload).unwrap_or_default();
        let python_by_manager = self.layers.borrowed.manager_is_redis;
        BusConfig {
            channel_prefix: format!("{prefix}:{database}"),
            redis_url,
            prefix,
            python: self.switch("bus.python", &settings.python, python_by_manager),
            python_channel: self.read(
                "bus.python_channel",
                &settings.python_channel,
                values::channel_name,
            ),
            python_room_channels: self.switch(
                "bus.python_room_channels",
                &settings.python_room_channels,
                false,
            ),
            message_limit: self.read(
                "bus.message_limit",
                &settings.message_limit,
                |text| match text {
                    "auto" => Ok(2 * max_payload + 4 * MESSAGE_OVERHEAD),
                    text => units::positive_size(text),
                },
            ),
            spool_limit: self.read("bus.spool_limit", &settings.spool_limit, units::size),
            spool_age: self.read(
                "bus.spool_age",
                &settings.spool_age,
                units::positive_duration,
            ),
            ping_interval: self.read(
                "bus.ping_interval",
                &settings.ping_interval,
                units::positive_duration,
            ),
            ping_misses: self.at_least_one("bus.ping_misses", settings.ping_misses),
            connect_timeout: self.read(
                "bus.connect_timeout",
                &settings.connect_timeout,
                units::positive_duration,
            ),
            required: settings.required,
            forward_timeout: self.read(
                "bus.forward_timeout",
                &settings.forward_timeout,
                units::positive_duration,
            ),
        }
    }
}
