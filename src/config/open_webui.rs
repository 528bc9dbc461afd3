//! The environment names an Open WebUI operator already has.
//!
//! They lie above the user's file and below our own names. Those that mean something here are
//! turned into values of our keys; the rest of that tier's names are known and only listed. Empty
//! values count as unset, as they do there.

mod redis_options;

use super::environment::{Environment, Set};
use super::net::quoted;
use super::problem::{Origin, Problem};
use super::units::flag;

/// What the borrowed names say.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    pub(super) values: Vec<Set>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Values that count only with `app.kind = "open_webui"`.
    pub(super) with_kind: Vec<Set>,
    /// Names that are set and known, but have no effect here.
    pub(super) unused: Vec<String>,
    /// `WEBSOCKET_MANAGER=redis`
    pub(super) manager_is_redis: bool,
}

/// The app that serves Open WebUI, as `app.kind` names it.
pub(super) const KIND: &str = "open_webui";

/// Path of the backends' endpoint, which no setting of theirs moves.
pub(super) const ENDPOINT_PATH: &str = "/ws/socket.io";

/// Where a backend says that it is well.
pub(super) const HEALTH_PATH: &str = "/api/version";

/// What a backend says over an upstream connection and nowhere else: the rest comes over the bus.
pub(super) const UPSTREAM_EVENTS: [&str; 3] = ["ydoc:*", "encryption:event", "error"];

/// What that app makes the default: the values of the stock backends.
pub(super) const DEFAULTS: [(&str, &str); 7] = [
    ("engine.path", ENDPOINT_PATH),
    ("engine.transports", "websocket"),
    ("engine.max_payload", "16MiB"),
    // One message of the largest size, and what follows it.
    ("socket.outbox_limit", "32MiB"),
    // The largest that the output buffers of a Redis as shipped can hold for a subscriber.
    ("bus.message_limit", "32MiB"),
    ("cors.origins", "*"),
    // It speaks the relay's events.
    ("server.demo", "false"),
];

/// The names that have an effect, and which.
pub(super) const EFFECTS: [(&str, &str); 21] = [
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
        "`redis`: the bus is on, at the URL below, and `bus.python` is on",
    ),
    (
        MANAGED_URL,
        "`bus.redis_url`, with `WEBSOCKET_MANAGER=redis`",
    ),
    (APP_URL, "the same, where `WEBSOCKET_REDIS_URL` is unset"),
    (
        "REDIS_KEY_PREFIX",
        "`bus.prefix` = its value and `:roomwire`; `app.open_webui.key_prefix` = its value",
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
        "of its members `socket_connect_timeout` (`bus.connect_timeout`), `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (`bus.tls_ca`, `bus.tls_cert`, `bus.tls_key`)",
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

/// Names of that tier that have no effect here.
pub(super) const UNUSED: [&str; 18] = [
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

const MANAGED_URL: &str = "WEBSOCKET_REDIS_URL";
const APP_URL: &str = "REDIS_URL";
const OWN_URL: &str = "ROOMWIRE_BUS__REDIS_URL";

/// Reads all borrowed names.
pub(super) fn read(environment: &Environment) -> Borrowed {
    let mut reader = Reader {
        environment,
        found: Borrowed::default(),
    };
    reader.redis();
    reader.topology();
    redis_options::read(&mut reader);
    reader.transports();
    reader.seconds("WEBSOCKET_SERVER_PING_INTERVAL", "engine.ping_interval");
    reader.seconds("WEBSOCKET_SERVER_PING_TIMEOUT", "engine.ping_timeout");
    reader.seconds("REDIS_SOCKET_CONNECT_TIMEOUT", "bus.connect_timeout");
    reader.log_level();
    reader.with_kind();
    let unused = UNUSED.into_iter().filter(|name| reader.get(name).is_some());
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    reader.found.unused.extend(unused);
    reader.found.unused.sort();
    reader.found
}

struct Reader<'a> {
    environment: &'a Environment,
    found: Borrowed,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.environment
            .get(name)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    fn set(&mut self, path: &str, text: impl Into<String>, name: &str) {
        let set = Set {
            path: path.to_owned(),
            text: text.into(),
            name: name.to_owned(),
        };
        self.found.values.push(set);
    }

    fn refuse(&mut self, key: &str, name: &str, message: impl Into<String>) {
        let origin = Origin::Environment(name.to_owned());
        self.found.problems.push(Problem::new(key, origin, message));
    }

    fn warn(&mut self, key: &str, name: &str, message: impl Into<String>) {
        let origin = Origin::Environment(name.to_owned());
        self.found.warnings.push(Problem::new(key, origin, message));
    }

    fn redis(&mut self) {
        match self.get("WEBSOCKET_MANAGER") {
            Some("redis") => self.found.manager_is_redis = true,
            Some(other) => {
                let other = quoted(other);
                let message = format!("{other} is not `redis`: this node runs without a cluster");
                self.warn("bus.redis_url", "WEBSOCKET_MANAGER", message);
            }
            None => {}
        }
        let used = self.url_name();
        for name in [MANAGED_URL, APP_URL] {
            match self.get(name) {
                Some(url) if used == Some(name) => self.set("bus.redis_url", url, name),
                Some(_) => self.found.unused.push(name.to_owned()),
                None => {}
            }
        }
        if let Some(prefix) = self.get("REDIS_KEY_PREFIX") {
            // Its own keys lie below that prefix directly; ours must not meet them.
            let name = "REDIS_KEY_PREFIX";
            self.set("bus.prefix", format!("{prefix}:roomwire"), name);
            self.set("app.open_webui.key_prefix", prefix, name);
        }
        if let Some(wanted) = self.get("WEBSOCKET_REDIS_ROOM_CHANNELS") {
            self.set(
                "bus.python_room_channels",
                wanted,
                "WEBSOCKET_REDIS_ROOM_CHANNELS",
            );
        }
    }

    /// The borrowed name whose URL counts.
    fn url_name(&self) -> Option<&'static str> {
        if !self.manager_rules() {
            return None;
        }
        [MANAGED_URL, APP_URL]
            .into_iter()
            .find(|name| self.get(name).is_some())
    }

    /// Whether Redis is chosen by the borrowed names, not by ours.
    fn manager_rules(&self) -> bool {
        self.found.manager_is_redis && self.get(OWN_URL).is_none()
    }

    /// Sentinel and Cluster, which belong to the URL that counts.
    fn topology(&mut self) {
        let url = self.url_name();
        let sentinels = [
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
        for (hosts, port, counts) in sentinels {
            if self.get(hosts).is_some() && counts && chosen.is_none() {
                chosen = Some((hosts, port));
                continue;
            }
            let unused = [hosts, port]
                .into_iter()
                .filter(|name| self.get(name).is_some());
            let unused: Vec<String> = unused.map(str::to_owned).collect();
            self.found.unused.extend(unused);
        }
        if let Some((hosts, port)) = chosen {
            self.sentinels(hosts, port);
        }
        let mut is_decided = url.is_none();
        for name in ["WEBSOCKET_REDIS_CLUSTER", "REDIS_CLUSTER"] {
            match self.get(name) {
                None => {}
                Some(text) if !is_decided => {
                    is_decided = true;
                    self.set("bus.cluster", text, name);
                }
                Some(_) => self.found.unused.push(name.to_owned()),
            }
        }
    }

    fn sentinels(&mut self, hosts: &'static str, port: &'static str) {
        let shared_port = self.get(port).unwrap_or("26379").to_owned();
        let names = self
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
        self.set("bus.sentinels", names.join(","), hosts);
        let url = self.url_name().and_then(|name| self.get(name));
        let service = url.and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned));
        if let Some(service) = service {
            self.set("bus.sentinel_service", service, hosts);
        }
    }

    fn transports(&mut self) {
        let name = "ENABLE_WEBSOCKET_SUPPORT";
        match self.get(name).map(flag) {
            Some(Some(false)) => self.set("engine.transports", "polling", name),
            Some(None) => self.refuse("engine.transports", name, "must be true or false"),
            Some(Some(true)) | None => {}
        }
    }

    fn seconds(&mut self, name: &str, path: &str) {
        if let Some(text) = self.get(name) {
            self.seconds_of(name, path, text);
        }
    }

    fn seconds_of(&mut self, name: &str, path: &str, text: &str) {
        let seconds = text
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
        match seconds {
            Some(seconds) => {
                let milliseconds = (seconds * 1000.0).round();
                self.set(path, format!("{milliseconds}ms"), name);
            }
            None => self.refuse(path, name, format!("`{text}` is not a number of seconds")),
        }
    }

    /// What means something to the app of Open WebUI alone.
    fn with_kind(&mut self) {
        if let Some(origins) = self.get("CORS_ALLOW_ORIGIN") {
            let list = origins.replace(';', ",");
            self.set_with_kind("cors.origins", list, "CORS_ALLOW_ORIGIN");
        }
        let keys = ["WEBUI_SECRET_KEY", "WEBUI_JWT_SECRET_KEY"];
        let set: Vec<&str> = keys
            .into_iter()
            .filter(|name| self.get(name).is_some())
            .collect();
        if let Some((name, others)) = set.split_first() {
            let key = self.get(name).unwrap_or_default();
            self.set_with_kind("app.open_webui.secret_key", key, name);
            let unused = others.iter().map(|name| (*name).to_owned());
            self.found.unused.extend(unused);
        }
        let name = "WEBSOCKET_HEARTBEAT_INTERVAL";
        if let Some(text) = self.get(name) {
            // Backends clamp it to this range, and ignore what is no number.
            match text.parse::<u32>() {
                Ok(seconds) => {
                    let timeout = (4 * seconds.clamp(5, 90)).max(120);
                    let path = "app.open_webui.session_timeout";
                    self.set_with_kind(path, format!("{timeout}s"), name);
                }
                Err(_) => self.found.unused.push(name.to_owned()),
            }
        }
    }

    fn set_with_kind(&mut self, path: &str, text: impl Into<String>, name: &str) {
        self.found.with_kind.push(Set {
            path: path.to_owned(),
            text: text.into(),
            name: name.to_owned(),
        });
    }

    fn log_level(&mut self) {
        let name = "GLOBAL_LOG_LEVEL";
        let Some(text) = self.get(name) else { return };
        let level = match text.to_ascii_uppercase().as_str() {
            "CRITICAL" | "FATAL" | "ERROR" => "error",
            "WARNING" | "WARN" => "warn",
            "INFO" => "info",
            "DEBUG" => "debug",
            "NOTSET" | "TRACE" => "trace",
            _ => {
                return self.warn(
                    "log.filter",
                    name,
                    format!("`{text}` is not a level; ignored"),
                );
            }
        };
        self.set("log.filter", level, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read_all(pairs: &[(&str, &str)]) -> Borrowed {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        read(&pairs.iter().map(own).collect())
    }

    pub(super) fn values(borrowed: &Borrowed) -> Vec<(&str, &str)> {
        borrowed
            .values
            .iter()
            .map(|set| (set.path.as_str(), set.text.as_str()))
            .collect()
    }

    #[test]
    fn each_name_sets_its_key() {
        let cases = [
            (
                ("ENABLE_WEBSOCKET_SUPPORT", "False"),
                ("engine.transports", "polling"),
            ),
            (
                ("WEBSOCKET_SERVER_PING_INTERVAL", "25"),
                ("engine.ping_interval", "25000ms"),
            ),
            (
                ("WEBSOCKET_SERVER_PING_TIMEOUT", "0.5"),
                ("engine.ping_timeout", "500ms"),
            ),
            (
                ("REDIS_SOCKET_CONNECT_TIMEOUT", "3"),
                ("bus.connect_timeout", "3000ms"),
            ),
            (
                ("WEBSOCKET_REDIS_ROOM_CHANNELS", "True"),
                ("bus.python_room_channels", "True"),
            ),
            (("GLOBAL_LOG_LEVEL", "WARNING"), ("log.filter", "warn")),
        ];
        for (pair, expected) in cases {
            assert_eq!(values(&read_all(&[pair])), [expected], "{pair:?}");
        }
        assert!(
            read_all(&[("ENABLE_WEBSOCKET_SUPPORT", "true")])
                .values
                .is_empty()
        );
    }

    #[test]
    fn the_prefix_sets_ours_and_names_theirs() {
        let set = read_all(&[("REDIS_KEY_PREFIX", "two")]);
        let expected = [
            ("bus.prefix", "two:roomwire"),
            ("app.open_webui.key_prefix", "two"),
        ];
        assert_eq!(values(&set), expected);
    }

    #[test]
    fn some_names_wait_for_their_app() {
        let cases = [
            (
                ("CORS_ALLOW_ORIGIN", "https://a;https://b"),
                ("cors.origins", "https://a,https://b"),
            ),
            (
                ("WEBUI_JWT_SECRET_KEY", "s"),
                ("app.open_webui.secret_key", "s"),
            ),
            (
                ("WEBSOCKET_HEARTBEAT_INTERVAL", "60"),
                ("app.open_webui.session_timeout", "240s"),
            ),
            (
                ("WEBSOCKET_HEARTBEAT_INTERVAL", "1"),
                ("app.open_webui.session_timeout", "120s"),
            ),
        ];
        for (pair, expected) in cases {
            let found = read_all(&[pair]);
            let sets = found.with_kind.iter();
            let sets: Vec<_> = sets.map(|set| (&*set.path, &*set.text)).collect();
            assert_eq!(sets, [expected], "{pair:?}");
            assert!(found.values.is_empty() && found.unused.is_empty());
        }
        let both = [("WEBUI_SECRET_KEY", "new"), ("WEBUI_JWT_SECRET_KEY", "old")];
        let found = read_all(&both);
        assert_eq!(found.with_kind[0].text, "new");
        assert_eq!(found.unused, ["WEBUI_JWT_SECRET_KEY"]);
    }

    #[test]
    fn the_manager_decides_about_urls() {
        let manager = ("WEBSOCKET_MANAGER", "redis");
        let (managed, app) = ((MANAGED_URL, "redis://a"), (APP_URL, "redis://b"));
        assert!(values(&read_all(&[managed, app])).is_empty());
        assert_eq!(read_all(&[managed, app]).unused, [APP_URL, MANAGED_URL]);
        assert_eq!(
            values(&read_all(&[manager, managed, app])),
            [("bus.redis_url", "redis://a")]
        );
        assert_eq!(
            values(&read_all(&[manager, app])),
            [("bus.redis_url", "redis://b")]
        );
        assert!(values(&read_all(&[manager, app, (OWN_URL, "redis://c")])).is_empty());
    }

    #[test]
    fn sentinels_belong_to_the_url_that_counts() {
        let manager = ("WEBSOCKET_MANAGER", "redis");
        let url = (MANAGED_URL, "redis://:s3cret@main:6379/0");
        let sentinels = ("WEBSOCKET_SENTINEL_HOSTS", "a, b:7 ,");
        let port = ("WEBSOCKET_SENTINEL_PORT", "9");
        assert_eq!(
            values(&read_all(&[manager, url, sentinels, port]))[1..],
            [
                ("bus.sentinels", "a:9,b:7"),
                ("bus.sentinel_service", "main")
            ]
        );
        let app = [
            manager,
            (APP_URL, "redis://other"),
            ("REDIS_SENTINEL_HOSTS", "c"),
        ];
        assert_eq!(
            values(&read_all(&app))[1..],
            [
                ("bus.sentinels", "c:26379"),
                ("bus.sentinel_service", "other")
            ]
        );
        let of_the_app = [manager, url, ("REDIS_SENTINEL_HOSTS", "c")];
        assert_eq!(read_all(&of_the_app).unused, ["REDIS_SENTINEL_HOSTS"]);
        assert_eq!(read_all(&[sentinels]).unused, [sentinels.0]);
        let own = read_all(&[manager, sentinels, port, (OWN_URL, "redis://c")]);
        assert!(own.values.is_empty());
        assert_eq!(own.unused, [sentinels.0, port.0]);
    }

    #[test]
    fn the_first_name_for_a_cluster_counts() {
        let url = [("WEBSOCKET_MANAGER", "redis"), (MANAGED_URL, "redis://a")];
        let with = |more: &[(&str, &str)]| {
            let borrowed = read_all(&[&url[..], more].concat());
            borrowed
                .values
                .get(1)
                .map(|set| (set.name.clone(), set.text.clone()))
        };
        let set = |name: &str, text: &str| Some((name.to_owned(), text.to_owned()));
        assert_eq!(
            with(&[("REDIS_CLUSTER", "True")]),
            set("REDIS_CLUSTER", "True")
        );
        assert_eq!(
            with(&[
                ("REDIS_CLUSTER", "True"),
                ("WEBSOCKET_REDIS_CLUSTER", "False")
            ]),
            set("WEBSOCKET_REDIS_CLUSTER", "False")
        );
        assert_eq!(
            read_all(&[("REDIS_CLUSTER", "True")]).unused,
            ["REDIS_CLUSTER"]
        );
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            read_all(&[("WEBSOCKET_SERVER_PING_INTERVAL", "soon")])
                .problems
                .len(),
            1
        );
        assert_eq!(
            read_all(&[("WEBSOCKET_SERVER_PING_INTERVAL", "inf")])
                .problems
                .len(),
            1
        );
        assert_eq!(
            read_all(&[("WEBSOCKET_MANAGER", "kafka")]).warnings.len(),
            1
        );
        assert_eq!(read_all(&[("GLOBAL_LOG_LEVEL", "loud")]).warnings.len(), 1);
        assert_eq!(read_all(&[("WEBUI_AUTH", "x")]).unused, ["WEBUI_AUTH"]);
        let heartbeat = ("WEBSOCKET_HEARTBEAT_INTERVAL", "often");
        assert_eq!(read_all(&[heartbeat]).unused, [heartbeat.0]);
    }
}
