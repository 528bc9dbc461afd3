//! Rules of the source code: which modules may import which, and what no file may contain.
//!
//! Reads the sources as text. Test modules are left out where a rule is about the program.

mod circles;
mod imports;
mod names;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::imports::IMPORTS;

/// Lines of a file without its test module.
const FILE_LIMIT: usize = 450;

struct Source {
    /// Below `src/`, such as `bus/redis/link.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The first part of its path: the module of the table.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    fn is_test(&self) -> bool {
        self.path.contains("tests") || self.path.ends_with("round_trip.rs")
    }

    /// Without the test module at its end and without comments.
    fn program(&self) -> Vec<&str> {
        let end = self
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path
                    .strip_prefix(folder())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found
}

fn programs() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(|source| !source.is_test())
}

/// The modules of ours a line names after `crate::`.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in programs() {
        let module = source.module();
        if ["main", "lib", "server"].contains(&module) {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            wrong.push(format!("{}: module {module} has no rule", source.path));
            continue;
        };
        for line in source.program() {
            for name in imported(line) {
                // A `$crate` path or `crate::{` would escape the rule.
                if name.is_empty()
                    || (name != module && name != "clock" && !allowed.contains(&name))
                {
                    wrong.push(format!("{}: {}", source.path, line.trim()));
                }
                if name == "cluster" && module == "transport" && !line.contains("cluster::messages")
                {
                    wrong.push(format!(
                        "{}: only the messages of the cluster: {}",
                        source.path,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files that name something, outside of those that may.
fn misplaced(names: &[&str], may: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in programs().filter(|source| !may(source)) {
        for line in source.program() {
            if names.iter().any(|name| line.contains(name)) {
                wrong.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    wrong
}

/// The files whose program, without comments, names one of `names`.
fn naming(names: &[&str]) -> BTreeSet<String> {
    let named = |source: &Source| {
        let program = source.program();
        program
            .iter()
            .any(|line| names.iter().any(|name| line.contains(name)))
    };
    programs().filter(named).map(|source| source.path).collect()
}

#[test]
fn websockets_of_the_framework_are_used_in_one_file() {
    let files = naming(&["actix_web_actors"]);
    assert_eq!(
        files,
        BTreeSet::from(["transport/forward/remote.rs".to_owned()])
    );
}

#[test]
fn the_client_library_of_redis_is_used_by_the_bus_alone() {
    let crate_paths = [" redis::", "(redis::", "<redis::", "&redis::"];
    let wrong = misplaced(&crate_paths, |source| {
        source.path.starts_with("bus/redis")
            // A module of this crate, by relative path.
            || source.program().iter().any(|line| line.contains("super::redis::"))
                && !source.program().iter().any(|line| line.starts_with("use redis::"))
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn kinds_of_apps_are_told_apart_where_apps_are_composed() {
    let outside = |path: &String| !path.starts_with("config/");
    let files: Vec<_> = naming(&["AppKind::"]).into_iter().filter(outside).collect();
    assert_eq!(files, ["server/app.rs"]);
}

#[test]
fn a_dialect_is_named_in_its_folder_and_where_dialects_are_composed() {
    let folders = [
        "cluster/dialect/python",
        "cluster/dialect/node",
        "cluster/dialect/json",
        "config/",
        // Libraries of clients, which have the same names.
        "metrics/labels.rs",
        "transport/client_kind.rs",
    ];
    let own = |path: &String| folders.iter().any(|folder| path.starts_with(folder));
    let names = [
        "dialect::python",
        "python::",
        "Python",
        "pubsub::",
        "PubSubDialect",
        "JsonDialect",
    ];
    let files: Vec<_> = naming(&names)
        .into_iter()
        .filter(|path| !own(path))
        .collect();
    assert_eq!(files, ["cluster/start.rs"]);
}

#[test]
fn protocol_model_and_msgpack_have_no_clock_socket_actor_or_lock() {
    let names = [
        "Instant::now",
        "SystemTime::now",
        "actix",
        "tokio",
        "std::net",
        "Mutex",
        "RwLock",
        "RefCell",
        "std::fs",
        "std::thread",
    ];
    let wrong = misplaced(&names, |source| {
        !["protocol", "model", "msgpack"].contains(&source.module())
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The wall clocks of nodes differ. What nodes agree on expires by the clock of Redis, or by their own monotonic clocks.
#[test]
fn nothing_that_nodes_agree_on_depends_on_their_wall_clocks() {
    let shared = ["bus", "cluster", "store", "recovery", "presence", "history"];
    let exceptions = [
        // Compares the clocks.
        "bus/redis/probe.rs",
        // Of a single node.
        "history/memory.rs",
        "store/memory_presence.rs",
    ];
    let wrong = misplaced(&["SystemTime"], |source| {
        !shared.contains(&source.module()) || exceptions.contains(&source.path.as_str())
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// With `engine.eio3` the id of a socket is enough to take over its session.
#[test]
fn ids_of_sockets_are_logged_by_their_short_names() {
    let names = ["socket:%", "socket:?", "room:%,", "room:%;", "room:?"];
    let wrong = misplaced(&names, |_| false);
    assert!(
        wrong.is_empty(),
        "use `log_name` or `shorten_ids`: {wrong:#?}"
    );
}

#[test]
fn files_stay_short() {
    let long = sources().into_iter().filter_map(|source| {
        let end = source
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(source.text.len());
        let lines = source.text[..end].lines().count();
        (lines > FILE_LIMIT).then(|| format!("{}: {lines} lines", source.path))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "over {FILE_LIMIT}: {long:#?}");
}

#[test]
fn every_module_begins_with_its_purpose() {
    let undocumented = programs()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path);
    let undocumented: Vec<_> = undocumented.collect();
    assert!(undocumented.is_empty(), "{undocumented:#?}");
}

#[test]
fn no_placeholder_for_later_work_is_left() {
    // In pieces, so that this file does not name what it forbids.
    let names = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["#[ign", "ore"],
        ["todo", "!("],
        ["unimplem", "ented!("],
    ];
    let mut files = sources();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(tests).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(Source {
                path: path.display().to_string(),
                text,
            });
        }
    }
    let mut left = Vec::new();
    for source in &files {
        for name in names.iter().map(|parts| parts.concat()) {
            if source.text.contains(&name) {
                left.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn every_key_of_the_configuration_is_read() {
    let shipped = include_str!("../../config/default.toml");
    let programs: Vec<Source> = programs()
        .filter(|source| source.module() != "config")
        .collect();
    let mut unread = Vec::new();
    for line in shipped.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        // What the checked configuration made of them has another name.
        let field = match key {
            "prefix" => "channel_prefix",
            "kind" => "app.kind",
            "keys_file" => "credentials",
            "join" | "publish" | "ask" | "members" | "rooms" => "rules",
            // Decides what `auto` stands for in others.
            "per_client" => "connections_per_ip",
            "secrets" | "secrets_file" => "signing_secrets",
            "events" => "route_table",
            "auth_hosts" | "auth_endpoint" => "auth_urls",
            "redis_prefix" => "json_sources",
            "secret_file" | "public_key_file" => "static_keys",
            "node_sessions" => "shared_namespaces",
            key => key,
        };
        let read = format!(".{field}");
        let reads = |source: &Source| source.program().iter().any(|line| line.contains(&read));
        if !programs.iter().any(reads) {
            unread.push(key);
        }
    }
    assert!(unread.is_empty(), "{unread:?}");
}
