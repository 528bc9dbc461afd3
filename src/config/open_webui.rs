//! The environment variables of Open WebUI, and the defaults of its app.
//!
//! The variables take precedence over the file of the user, and `ROOMWIRE_` variables over them. Those with a meaning
//! here become values of keys; the others are known and only listed. Empty values count as unset, as in Open WebUI.

mod reader;
mod redis_options;
mod redis_servers;
mod variables;

use super::environment::Environment;
use super::units::flag;
pub(super) use reader::Borrowed;
use reader::Reader;
pub(super) use variables::{EFFECTS, UNUSED};

/// The value of `app.kind`.
pub(super) const KIND: &str = "open_webui";

/// Path of the endpoint of the backends, which is fixed.
pub(super) const ENDPOINT_PATH: &str = "/ws/socket.io";

/// Path of the health check of a backend.
pub(super) const HEALTH_PATH: &str = "/api/version";

/// The events that backends send only over upstream connections. All others arrive over the bus.
pub(super) const UPSTREAM_EVENTS: [&str; 3] = ["ydoc:*", "encryption:event", "error"];

/// Defaults with this `app.kind`: the values of the stock backends.
pub(super) const DEFAULTS: [(&str, &str); 7] = [
    ("engine.path", ENDPOINT_PATH),
    ("engine.transports", "websocket"),
    ("engine.max_payload", "16MiB"),
    // Room for one message of the largest size, and for those that follow it.
    ("socket.outbox_limit", "32MiB"),
    // The largest message that fits into the output buffer of a subscriber with the default configuration of Redis.
    ("bus.message_limit", "32MiB"),
    ("cors.origins", "*"),
    // The page uses events of the relay.
    ("server.demo", "false"),
];

/// Reads all variables of Open WebUI.
pub(super) fn read(environment: &Environment) -> Borrowed {
    let mut reader = Reader {
        environment,
        found: Borrowed::default(),
    };
    redis_servers::read(&mut reader);
    redis_options::read(&mut reader);
    transports(&mut reader);
    reader.seconds("WEBSOCKET_SERVER_PING_INTERVAL", "engine.ping_interval");
    reader.seconds("WEBSOCKET_SERVER_PING_TIMEOUT", "engine.ping_timeout");
    reader.seconds("REDIS_SOCKET_CONNECT_TIMEOUT", "bus.connect_timeout");
    log_level(&mut reader);
    with_kind(&mut reader);
    let unused = UNUSED.into_iter().filter(|name| reader.get(name).is_some());
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    reader.found.unused.extend(unused);
    reader.found.unused.sort();
    reader.found
}

fn transports(reader: &mut Reader<'_>) {
    let name = "ENABLE_WEBSOCKET_SUPPORT";
    match reader.get(name).map(flag) {
        Some(Some(false)) => reader.set("engine.transports", "polling", name),
        Some(None) => reader.reject("engine.transports", name, "must be true or false"),
        Some(Some(true)) | None => {}
    }
}

/// Variables that apply only with `app.kind = "open_webui"`.
fn with_kind(reader: &mut Reader<'_>) {
    if let Some(origins) = reader.get("CORS_ALLOW_ORIGIN") {
        let list = origins.replace(';', ",");
        reader.set_with_kind("cors.origins", list, "CORS_ALLOW_ORIGIN");
    }
    let keys = ["WEBUI_SECRET_KEY", "WEBUI_JWT_SECRET_KEY"];
    let set: Vec<&str> = keys
        .into_iter()
        .filter(|name| reader.get(name).is_some())
        .collect();
    if let Some((name, others)) = set.split_first() {
        let key = reader.get(name).unwrap_or_default();
        reader.set_with_kind("app.open_webui.secret_key", key, name);
        let unused = others.iter().map(|name| (*name).to_owned());
        reader.found.unused.extend(unused);
    }
    let name = "WEBSOCKET_HEARTBEAT_INTERVAL";
    if let Some(text) = reader.get(name) {
        // Backends clamp it to this range, and ignore a text that is not a number.
        match text.parse::<u32>() {
            Ok(seconds) => {
                let timeout = (4 * seconds.clamp(5, 90)).max(120);
                let path = "app.open_webui.session_timeout";
                reader.set_with_kind(path, format!("{timeout}s"), name);
            }
            Err(_) => reader.found.unused.push(name.to_owned()),
        }
    }
}

fn log_level(reader: &mut Reader<'_>) {
    let name = "GLOBAL_LOG_LEVEL";
    let Some(text) = reader.get(name) else { return };
    let level = match text.to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "ERROR" => "error",
        "WARNING" | "WARN" => "warn",
        "INFO" => "info",
        "DEBUG" => "debug",
        "NOTSET" | "TRACE" => "trace",
        _ => {
            return reader.warn(
                "log.filter",
                name,
                format!("`{text}` is not a level; ignored"),
            );
        }
    };
    reader.set("log.filter", level, name);
}

#[cfg(test)]
mod tests {
    use super::variables::{APP_URL, MANAGED_URL, OWN_URL};
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
    fn each_variable_sets_its_key() {
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
    fn the_key_prefix_sets_both_prefixes() {
        let set = read_all(&[("REDIS_KEY_PREFIX", "two")]);
        let expected = [
            ("bus.prefix", "two:roomwire"),
            ("app.open_webui.key_prefix", "two"),
        ];
        assert_eq!(values(&set), expected);
    }

    #[test]
    fn some_variables_apply_only_with_their_app() {
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
    fn urls_are_used_only_with_the_redis_manager() {
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
    fn sentinels_belong_to_the_url_that_is_used() {
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
    fn the_first_variable_for_a_cluster_is_used() {
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
    fn invalid_values_are_reported() {
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
