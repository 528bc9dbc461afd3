//! Whole configurations: the values of valid ones, and the problems of invalid ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::declare::schema_of;
use super::*;

mod auth;
mod bus_json;
mod declared;
mod echo_server;
mod limits;
mod open_webui;
mod outbox;
mod recovery;
mod relay;
mod reload;
mod routes;
mod translation;
mod webhook;

const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.toml");
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/cluster.toml");

/// Names and values of an environment.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A file that is deleted when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("roomwire-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ignored = std::fs::remove_file(&self.0);
    }
}

fn environment(pairs: Pairs<'_>) -> Environment {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    pairs.iter().map(own).collect()
}

fn load_environment(pairs: Pairs<'_>) -> Result<Loaded, Rejected> {
    load(&Sources {
        file: None,
        environment: environment(pairs),
    })
}

fn load_file(file: &Path, pairs: Pairs<'_>) -> Result<Loaded, Rejected> {
    load(&Sources {
        file: Some(file.to_owned()),
        environment: environment(pairs),
    })
}

fn load_text(text: &str, pairs: Pairs<'_>) -> Result<Loaded, Rejected> {
    load_file(&Scratch::new(text).0, pairs)
}

/// The keys with problems and their lines.
fn places(rejected: &Rejected) -> Vec<(&str, Option<usize>)> {
    let line = |origin: &Origin| match origin {
        Origin::File { line, .. } => *line,
        _ => None,
    };
    rejected
        .problems
        .iter()
        .map(|problem| (problem.key.as_str(), line(&problem.origin)))
        .collect()
}

fn keys(problems: &[Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect()
}

#[test]
fn the_shipped_configuration_is_valid() {
    let loaded = load_environment(&[]).unwrap();
    assert!(loaded.warnings.is_empty() && loaded.unused_names.is_empty());
    let config = loaded.config;
    assert!(config.server.demo && config.bus.redis_url.is_none() && !config.bus.python);
    assert_eq!(config.engine.max_payload, 1_000_000);
    assert_eq!(
        config.engine.transports,
        Transports {
            polling: true,
            websocket: true
        }
    );
    assert_eq!(config.bus.channel_prefix, "roomwire:0");
    assert!(config.bus.message_limit > config.engine.max_payload);
    assert!(allows(&config, "/") && !allows(&config, "/chat"));
    assert_eq!(policies(&config, "any"), ["anyone", "anyone"]);
}

#[test]
fn the_cluster_file_is_valid() {
    let loaded = load_file(Path::new(CLUSTER), &[]).unwrap();
    assert_eq!(keys(&loaded.warnings), ["server.trusted_proxies"]);
    let message = &loaded.warnings[0].message;
    assert!(message.contains("10.0.0.0/8, 172.16.0.0/12"), "{message}");
    for (room, expected) in [
        ("public:a", ["anyone", "members"]),
        ("news", ["anyone", "nobody"]),
        ("other", ["nobody", "nobody"]),
    ] {
        assert_eq!(policies(&loaded.config, room), expected, "{room}");
    }
}

/// Who can join a room and publish to it, by the rules without variables.
fn policies(config: &Config, room: &str) -> [String; 2] {
    let mut rules = config.app.relay.rules.iter();
    let plain = |rule: &&RoomRule| rule.pattern.plain().is_some_and(|it| it.matches(room));
    let rule = rules.find(plain).unwrap();
    [rule.join.to_string(), rule.publish.to_string()]
}

#[test]
fn environment_variables_set_their_keys() {
    let config = load_environment(&[
        ("ROOMWIRE_SERVER__BIND", "0.0.0.0:9000"),
        ("ROOMWIRE_APP__KIND", "echo"),
        ("ROOMWIRE_ENGINE__PATH", "ws/socket.io/"),
        ("ROOMWIRE_ENGINE__PING_INTERVAL", "300ms"),
        ("ROOMWIRE_ENGINE__PING_TIMEOUT", "200ms"),
        ("ROOMWIRE_SOCKET__CONNECT_TIMEOUT", "1s"),
        ("ROOMWIRE_SOCKET__NAMESPACES", "/, /custom,tenant-*"),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://:pw@localhost:6379/4"),
    ])
    .unwrap()
    .config;
    assert_eq!(config.server.bind.to_string(), "0.0.0.0:9000");
    assert_eq!(
        (config.app.kind, config.server.demo),
        (AppKind::Echo, false)
    );
    assert_eq!(config.engine.path, "/ws/socket.io");
    assert_eq!(config.engine.ping_interval, Duration::from_millis(300));
    assert_eq!(config.engine.ping_timeout, Duration::from_millis(200));
    assert_eq!(config.socket.connect_timeout, Duration::from_secs(1));
    for namespace in ["/", "/custom", "/tenant-7"] {
        assert!(allows(&config, namespace), "{namespace}");
    }
    assert_eq!(config.bus.channel_prefix, "roomwire:4");
    assert!(!format!("{config:?}").contains("pw"));
}

#[test]
fn later_layers_take_precedence() {
    let file =
        "[engine]\nping_interval = \"1s\"\nping_timeout = \"1s\"\nupgrade_timeout = \"1s\"\n";
    let names = [
        ("WEBSOCKET_SERVER_PING_INTERVAL", "2"),
        ("WEBSOCKET_SERVER_PING_TIMEOUT", "2"),
        ("ROOMWIRE_ENGINE__PING_TIMEOUT", "3s"),
        ("ROOMWIRE_ENGINE__UPGRADE_TIMEOUT", ""),
    ];
    let engine = load_text(file, &names).unwrap().config.engine;
    assert_eq!(engine.upgrade_timeout, Duration::from_secs(1));
    assert_eq!(engine.ping_interval, Duration::from_secs(2));
    assert_eq!(engine.ping_timeout, Duration::from_secs(3));
}

#[test]
fn sources_of_the_log_filter_have_an_order() {
    let cases: [(Pairs<'_>, &str); 4] = [
        (&[("GLOBAL_LOG_LEVEL", "DEBUG")], "debug"),
        (
            &[
                ("GLOBAL_LOG_LEVEL", "DEBUG"),
                ("ROOMWIRE_LOG__FILTER", "warn"),
            ],
            "warn",
        ),
        (
            &[("RUST_LOG", "error"), ("ROOMWIRE_LOG__FILTER", "warn")],
            "error",
        ),
        (&[], "info"),
    ];
    for (pairs, expected) in cases {
        assert_eq!(
            load_environment(pairs).unwrap().config.log.filter,
            expected,
            "{pairs:?}"
        );
    }
}

/// A file with a mistake on most of its lines.
const BROKEN: &str = r#"colour = 1
[server]
bind = "8080"
wrokers = 3
[engine]
ping_intervall = "3s"
ping_timeout = 20
max_payload = "much"
transports = "websocket"
[[app.relay.rooms]]
patern = "a"
[[app.relay.rooms]]
pattern = "b"
join = "anyon"
publish = 1
[bus]
redis_url = "http://:hidden@x"
message_limit = "1B"
[bsu]
x = 1
"#;

#[test]
fn every_problem_is_reported_at_once() {
    let names = [
        ("ROOMWIRE_ENGINE__PATHH", "/x"),
        ("ROOMWIRE_SOCKET__MAX_ROOMS", "many"),
    ];
    let rejected = load_text(BROKEN, &names).unwrap_err();
    let mut places = places(&rejected);
    places.sort_unstable();
    let expected = [
        ("ROOMWIRE_ENGINE__PATHH", None),
        ("app.relay.rooms[0]", Some(10)),
        ("app.relay.rooms[0].patern", Some(11)),
        ("app.relay.rooms[1].join", Some(14)),
        ("app.relay.rooms[1].publish", Some(15)),
        ("bsu", Some(19)),
        ("bus.redis_url", Some(17)),
        ("colour", Some(1)),
        ("engine.max_payload", Some(8)),
        ("engine.ping_intervall", Some(6)),
        ("engine.ping_timeout", Some(7)),
        ("engine.transports", Some(9)),
        ("server.bind", Some(3)),
        ("server.wrokers", Some(4)),
        ("socket.max_rooms", None),
    ];
    assert_eq!(places, expected);
    let meant: Vec<&str> = rejected
        .problems
        .iter()
        .filter_map(|problem| problem.did_you_mean.as_deref())
        .collect();
    for name in [
        "pattern",
        "anyone",
        "bus",
        "engine.ping_interval",
        "server.workers",
        "ROOMWIRE_ENGINE__PATH",
    ] {
        assert!(meant.contains(&name), "{name} of {meant:?}");
    }
    assert!(!rejected.to_string().contains("hidden"));
}

#[test]
fn values_that_do_not_fit_together_are_rejected() {
    let cases: [(Pairs<'_>, &str); 13] = [
        (
            &[("ROOMWIRE_ENGINE__PING_TIMEOUT", "0s")],
            "engine.ping_timeout",
        ),
        (
            &[("ROOMWIRE_ENGINE__PING_INTERVAL", "30days")],
            "engine.ping_interval",
        ),
        (&[("ROOMWIRE_ENGINE__TRANSPORTS", ",")], "engine.transports"),
        (&[("ROOMWIRE_ENGINE__PATH", "/readyz/")], "engine.path"),
        (&[("ROOMWIRE_ENGINE__PATH", "/api/x")], "engine.path"),
        (
            &[
                ("ROOMWIRE_ENGINE__PATH", "/engine.io"),
                ("ROOMWIRE_APP__KIND", "echo"),
            ],
            "engine.path",
        ),
        (
            &[("ROOMWIRE_BUS__MESSAGE_LIMIT", "1MB")],
            "bus.message_limit",
        ),
        (
            &[
                ("ROOMWIRE_CORS__ORIGINS", "*"),
                ("ROOMWIRE_CORS__CREDENTIALS", "true"),
            ],
            "cors.credentials",
        ),
        (&[("ROOMWIRE_BUS__REQUIRED", "true")], "bus.required"),
        (&[("WEBSOCKET_MANAGER", "redis")], "bus.redis_url"),
        (&[("ROOMWIRE_SERVER__WORKERS", "65")], "server.workers"),
        (
            &[("ROOMWIRE_SERVER__CLIENT_DIR", "/does/not/exist")],
            "server.client_dir",
        ),
        (&[("ROOMWIRE_APP__RELAY__ROOMS", "x")], "app.relay.rooms"),
    ];
    for (pairs, key) in cases {
        assert_eq!(
            keys(&load_environment(pairs).unwrap_err().problems),
            [key],
            "{pairs:?}"
        );
    }
}

#[test]
fn public_nodes_get_warnings() {
    let public = ("ROOMWIRE_SERVER__BIND", "0.0.0.0:80");
    let join = ("ROOMWIRE_APP__RELAY__JOIN", "anyone");
    let publish = ("ROOMWIRE_APP__RELAY__PUBLISH", "members");
    let cases: [(Pairs<'_>, &[&str]); 5] = [
        (&[public], &["app.relay"]),
        (&[public, join], &["app.relay"]),
        (&[public, join, publish], &[]),
        (
            &[
                public,
                ("ROOMWIRE_APP__KIND", "echo"),
                ("ROOMWIRE_SERVER__DEMO", "true"),
            ],
            &["server.demo"],
        ),
        (&[("ROOMWIRE_BUS__PYTHON", "on")], &["bus.python"]),
    ];
    for (pairs, expected) in cases {
        assert_eq!(
            keys(&load_environment(pairs).unwrap().warnings),
            expected,
            "{pairs:?}"
        );
    }
}

#[test]
fn invalid_files_are_named() {
    let torn = load_text("[bus]\nredis_url = \"redis://:hidden@x\n", &[])
        .unwrap_err()
        .to_string();
    assert!(
        torn.contains("line 2") && !torn.contains("hidden"),
        "{torn}"
    );
    for rejected in [
        load_file(Path::new("/does/not/exist"), &[]),
        load_text("[server\n", &[]),
    ] {
        assert_eq!(keys(&rejected.unwrap_err().problems), ["--config"]);
    }
    let file = Scratch::new("[server]\nbind = \"nowhere\"\n");
    let by_name = [("ROOMWIRE_CONFIG", file.0.to_str().unwrap())];
    assert_eq!(
        places(&load_environment(&by_name).unwrap_err()),
        [("server.bind", Some(2))]
    );
}

#[test]
fn the_effective_configuration_is_a_valid_file() {
    let names = [
        ("ROOMWIRE_BUS__REDIS_URL", "redis://me:secret@cache/2"),
        ("ROOMWIRE_ENGINE__COOKIE", "io"),
    ];
    let printed = load_file(Path::new(CLUSTER), &names)
        .unwrap()
        .effective
        .to_string();
    assert!(printed.contains("redis_url = \"redis://me:***@cache/2\" # ROOMWIRE_BUS__REDIS_URL\n"));
    assert!(printed.contains("cookie = \"io\" # ROOMWIRE_ENGINE__COOKIE\n"));
    assert!(
        printed.contains("ping_timeout = \"20s\" # default\n")
            && printed.contains("cluster.toml:5\n")
    );
    assert_eq!(
        load_text(&printed, &[])
            .unwrap()
            .config
            .app
            .relay
            .rules
            .len(),
        3
    );
}

#[test]
fn the_reference_is_up_to_date() {
    let written = std::fs::read_to_string(REFERENCE).unwrap();
    let repair = "run: cargo run -- config --reference > docs/configuration.md";
    assert!(
        written == reference(),
        "docs/configuration.md differs from src/config/tables; {repair}"
    );
    for key in schema_of::<Config>().keys() {
        assert!(
            written.contains(&format!("\n| `{}` ", key.path))
                || written.contains(&format!("\n| `{}` ↻ ", key.path)),
            "{}",
            key.path
        );
    }
}

#[test]
fn the_default_file_is_up_to_date_and_changes_nothing() {
    let written = std::fs::read_to_string(DEFAULT).unwrap();
    let repair = "run: cargo run -- config --default > config/default.toml";
    assert!(
        written == default_file(),
        "config/default.toml differs from src/config/tables; {repair}"
    );
    assert!(written.lines().all(|line| line.chars().count() <= 120));
    let loaded = load_file(Path::new(DEFAULT), &[]).unwrap();
    let without_origins = |loaded: &Loaded| {
        let text = loaded.effective.to_string();
        let lines = text.lines().map(|line| line.split(" # ").next().unwrap());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        without_origins(&loaded),
        without_origins(&load_environment(&[]).unwrap())
    );
}

fn allows(config: &Config, namespace: &str) -> bool {
    let namespaces = &config.socket.namespaces;
    namespaces.iter().any(|pattern| pattern.matches(namespace))
}
