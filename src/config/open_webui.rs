//! The environment names an Open WebUI operator already has.
//!
//! They lie above the user's file and below our own names. Those that mean something here are
//! turned into values of our keys; the rest of that tier's names are known and only listed. Empty
//! values count as unset, as they do there.

use super::environment::Set;
use super::layers::{Environment, flag};
use super::problem::{Origin, Problem};

/// What the borrowed names say.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    pub(super) values: Vec<Set>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Names that are set and known, but have no effect here.
    pub(super) unused: Vec<String>,
    /// `WEBSOCKET_MANAGER=redis`
    pub(super) manager_is_redis: bool,
}

/// The names that have an effect, and which.
pub(super) const EFFECTS: [(&str, &str); 14] = [
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
        "`bus.prefix` = its value and `:roomwire`",
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
    ("WEBSOCKET_SENTINEL_HOSTS", NOT_YET),
    ("REDIS_SENTINEL_HOSTS", NOT_YET),
    ("WEBSOCKET_REDIS_CLUSTER", NOT_YET),
    ("REDIS_CLUSTER", NOT_YET),
];

/// Names of that tier that have no effect here.
pub(super) const UNUSED: [&str; 25] = [
    "CORS_ALLOW_ORIGIN",
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
    "REDIS_SENTINEL_PORT",
    "REDIS_SOCKET_KEEPALIVE",
    "REDIS_SOCKET_TIMEOUT",
    "REDIS_TASK_TTL",
    "WEBSOCKET_EVENT_CALLER_TIMEOUT",
    "WEBSOCKET_HEARTBEAT_INTERVAL",
    "WEBSOCKET_REDIS_LOCK_TIMEOUT",
    "WEBSOCKET_REDIS_OPTIONS",
    "WEBSOCKET_SENTINEL_PORT",
    "WEBSOCKET_SERVER_ENGINEIO_LOGGING",
    "WEBSOCKET_SERVER_LOGGING",
    "WEBUI_AUTH",
    "WEBUI_JWT_SECRET_KEY",
    "WEBUI_SECRET_KEY",
];

const MANAGED_URL: &str = "WEBSOCKET_REDIS_URL";
const APP_URL: &str = "REDIS_URL";
const OWN_URL: &str = "ROOMWIRE_BUS__REDIS_URL";
const NOT_YET: &str = "not supported by this version; refused where it would matter";

/// Reads all borrowed names.
pub(super) fn read(environment: &Environment) -> Borrowed {
    let mut reader = Reader {
        environment,
        found: Borrowed::default(),
    };
    reader.redis();
    reader.unsupported();
    reader.transports();
    reader.seconds("WEBSOCKET_SERVER_PING_INTERVAL", "engine.ping_interval");
    reader.seconds("WEBSOCKET_SERVER_PING_TIMEOUT", "engine.ping_timeout");
    reader.seconds("REDIS_SOCKET_CONNECT_TIMEOUT", "bus.connect_timeout");
    reader.log_level();
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
                let message = format!("`{other}` is not `redis`: this node stays alone");
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
            self.set(
                "bus.prefix",
                format!("{prefix}:roomwire"),
                "REDIS_KEY_PREFIX",
            );
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

    fn unsupported(&mut self) {
        let is_on = |text: &str| flag(text) != Some(false);
        let cluster_name = ["WEBSOCKET_REDIS_CLUSTER", "REDIS_CLUSTER"]
            .into_iter()
            .find(|name| self.get(name).is_some());
        let app_url_used = self.url_name() == Some(APP_URL);
        let names = [
            ("WEBSOCKET_SENTINEL_HOSTS", "Sentinel", true),
            ("REDIS_SENTINEL_HOSTS", "Sentinel", app_url_used),
            (
                "WEBSOCKET_REDIS_CLUSTER",
                "Cluster",
                cluster_name == Some("WEBSOCKET_REDIS_CLUSTER"),
            ),
            (
                "REDIS_CLUSTER",
                "Cluster",
                cluster_name == Some("REDIS_CLUSTER"),
            ),
        ];
        for (name, what, counts) in names {
            let Some(text) = self.get(name).filter(|text| is_on(text)) else {
                continue;
            };
            if !counts || !self.manager_rules() {
                self.found.unused.push(name.to_owned());
                continue;
            }
            let message = format!(
                "Redis {what} ({text}) is not supported by this version; name one server by {OWN_URL}"
            );
            self.refuse("bus.redis_url", name, message);
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
        let Some(text) = self.get(name) else { return };
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

    fn read_all(pairs: &[(&str, &str)]) -> Borrowed {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        read(&pairs.iter().map(own).collect())
    }

    fn values(borrowed: &Borrowed) -> Vec<(&str, &str)> {
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
                ("REDIS_KEY_PREFIX", "open-webui"),
                ("bus.prefix", "open-webui:roomwire"),
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
    fn sentinel_and_cluster_are_refused_where_they_matter() {
        let manager = ("WEBSOCKET_MANAGER", "redis");
        let sentinel = ("WEBSOCKET_SENTINEL_HOSTS", "a,b");
        assert_eq!(read_all(&[manager, sentinel]).problems.len(), 1);
        assert_eq!(read_all(&[sentinel]).unused, [sentinel.0]);
        assert!(
            read_all(&[manager, sentinel, (OWN_URL, "redis://c")])
                .problems
                .is_empty()
        );
        assert_eq!(
            read_all(&[manager, ("REDIS_CLUSTER", "True")])
                .problems
                .len(),
            1
        );
        let switched_off = [
            manager,
            ("REDIS_CLUSTER", "True"),
            ("WEBSOCKET_REDIS_CLUSTER", "False"),
        ];
        assert!(read_all(&switched_off).problems.is_empty());
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
        assert_eq!(
            read_all(&[("WEBUI_SECRET_KEY", "x")]).unused,
            ["WEBUI_SECRET_KEY"]
        );
    }
}
