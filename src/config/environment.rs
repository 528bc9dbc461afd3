//! The environment variables of Roomwire: `ROOMWIRE_<SECTION>__<KEY>`.
//!
//! An unknown name with `__` after the prefix is rejected. A name without `__` has no effect; a warning names the key
//! that is probably meant. Names that Kubernetes injects for a service called roomwire (`ROOMWIRE_PORT` with a URL) are
//! ignored. An empty value counts as unset, because compose files pass empty values on.

use std::collections::BTreeMap;

use super::problem::{Origin, Problem};
use super::schema::{Key, Schema, nearest};

/// Names and values of environment variables.
pub type Environment = BTreeMap<String, String>;

const PREFIX: &str = "ROOMWIRE_";

/// Names that other programs use for a key.
const ALIASES: [(&str, &str); 9] = [
    ("port", "server.bind"),
    ("host", "server.bind"),
    ("listen", "server.bind"),
    ("address", "server.bind"),
    ("redis", "bus.redis_url"),
    ("redis_host", "bus.redis_url"),
    ("redis_addr", "bus.redis_url"),
    ("log_level", "log.filter"),
    ("metrics_bind", "server.internal_bind"),
];

/// The variable that names the configuration file.
pub(super) const FILE_VARIABLE: &str = "ROOMWIRE_CONFIG";

/// The log filter of every Rust program. It takes precedence over `log.filter`.
const LOG_FILTER: &str = "RUST_LOG";

/// A key set by a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// The key, such as `engine.path`.
    pub(super) path: String,
    /// Its new value.
    pub(super) text: String,
    /// The variable.
    pub(super) name: String,
}

/// The result of reading the variables.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) values: Vec<Set>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Reads all variables with the prefix `ROOMWIRE_`, and `RUST_LOG`.
pub(super) fn read(schema: &Schema, environment: &Environment) -> Own {
    let mut own = Own::default();
    for (name, text) in environment.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            own.warnings.extend(lower_case(schema, name));
            continue;
        };
        let path = rest.to_lowercase().replace("__", ".");
        let origin = Origin::Environment(name.clone());
        if !rest.contains("__") {
            if !is_injected(rest, text) && !rest.is_empty() && name != FILE_VARIABLE {
                own.warnings.push(without_effect(schema, name, &path));
            }
        } else if schema.key(&path).is_some() {
            own.values.push(Set {
                path,
                text: text.clone(),
                name: name.clone(),
            });
        } else {
            let nearest = schema
                .nearest_key(&path)
                .and_then(|path| environment_name(schema, &path));
            own.problems
                .push(Problem::new(name, origin, "unknown name").suggesting(nearest));
        }
    }
    if let Some(filter) = environment.get(LOG_FILTER).filter(|text| !text.is_empty()) {
        let path = "log.filter".to_owned();
        own.values.push(Set {
            path,
            text: filter.clone(),
            name: LOG_FILTER.to_owned(),
        });
    }
    own
}

/// Whether Kubernetes, or Docker for a link, has set this variable for a service whose name starts with `roomwire`.
fn is_injected(rest: &str, text: &str) -> bool {
    let is_service = rest.ends_with("SERVICE_HOST") || rest.contains("SERVICE_PORT");
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    // `PORT_8080_TCP_ADDR`
    let is_port = ["_TCP", "_UDP", "_SCTP"]
        .iter()
        .any(|protocol| rest.contains("PORT_") && rest.contains(protocol));
    is_service || is_port || (rest.ends_with("PORT") && is_url)
}

/// A lower-case name such as `roomwire_bus__redis_url` has no effect: environment names are case-sensitive.
fn lower_case(schema: &Schema, name: &str) -> Option<Problem> {
    let upper = name.to_uppercase();
    let path = upper.strip_prefix(PREFIX)?.to_lowercase();
    schema.key(&path.replace("__", "."))?;
    let origin = Origin::Environment(name.to_owned());
    let message = "has no effect: the names are in upper case";
    Some(Problem::new(name, origin, message).suggesting(Some(upper)))
}

/// The warning about a name such as `ROOMWIRE_SERVER_BIND` or `ROOMWIRE_BIND`, which has no effect.
fn without_effect(schema: &Schema, name: &str, path: &str) -> Problem {
    let origin = Origin::Environment(name.to_owned());
    if nearest(path, ["config", "config_file"].into_iter()).is_some() {
        let meant = Some(FILE_VARIABLE.to_owned());
        return Problem::new(name, origin, "has no effect").suggesting(meant);
    }
    let message = "has no effect: the names are ROOMWIRE_<SECTION>__<KEY>, with two underscores";
    let names: Vec<String> = likely_keys(schema, path)
        .iter()
        .filter_map(|key| environment_name(schema, key))
        .collect();
    let meant = (!names.is_empty()).then(|| names.join(" or "));
    Problem::new(name, origin, message).suggesting(meant)
}

/// The keys that such a name may mean: it has one underscore instead of two, lacks the section, is used by another
/// program for the key, or contains a typing error.
fn likely_keys<'a>(schema: &'a Schema, name: &'a str) -> Vec<&'a str> {
    let flat = |key: &&str| key.replace('.', "_") == name;
    let last = |key: &&str| key.rsplit('.').next() == Some(name);
    let keys = || schema.keys().map(|key| key.path.as_str());
    if let Some(key) = keys().find(flat) {
        return vec![key];
    }
    let named: Vec<&str> = keys().filter(last).collect();
    if !named.is_empty() {
        return named;
    }
    if let Some((_, key)) = ALIASES.into_iter().find(|(alias, _)| *alias == name) {
        return vec![key];
    }
    let forms: Vec<(String, &str)> = keys()
        .flat_map(|key| {
            let last = key.rsplit('.').next().unwrap_or(key);
            [(key.replace('.', "_"), key), (last.to_owned(), key)]
        })
        .collect();
    let near = nearest(name, forms.iter().map(|(form, _)| form.as_str()));
    let found = forms.iter().find(|(form, _)| Some(form) == near.as_ref());
    found.map(|(_, key)| *key).into_iter().collect()
}

fn environment_name(schema: &Schema, path: &str) -> Option<String> {
    schema.key(path).map(Key::environment_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::declare::schema_of;
    use crate::config::tables::Config;

    fn read_one(name: &str, text: &str) -> Own {
        let environment = Environment::from([(name.to_owned(), text.to_owned())]);
        read(&schema_of::<Config>(), &environment)
    }

    #[test]
    fn names_with_two_underscores_are_keys_or_rejected() {
        let own = read_one("ROOMWIRE_ENGINE__PING_INTERVAL", "1s");
        assert_eq!(own.values[0].path, "engine.ping_interval");
        let own = read_one("ROOMWIRE_APP__RELAY__PUBLISH", "members");
        assert_eq!(own.values[0].path, "app.relay.publish");
        let own = read_one("ROOMWIRE_ENGINE__PING_INTERVALL", "1s");
        let meant = own.problems[0].did_you_mean.as_deref();
        assert_eq!(meant, Some("ROOMWIRE_ENGINE__PING_INTERVAL"));
        let own = read_one("ROOMWIRE_WEBHOOK__SECRET", "x");
        let meant = own.problems[0].did_you_mean.as_deref();
        assert_eq!(meant, Some("ROOMWIRE_WEBHOOK__SECRETS"));
    }

    #[test]
    fn names_injected_by_kubernetes_are_ignored() {
        for (name, text) in [
            ("ROOMWIRE_PORT", "tcp://10.0.0.1:8080"),
            ("ROOMWIRE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("ROOMWIRE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("ROOMWIRE_PORT_8080_TCP_PROTO", "tcp"),
            ("ROOMWIRE_SERVICE_HOST", "10.0.0.1"),
            ("ROOMWIRE_SERVICE_PORT_HTTP", "8080"),
            ("ROOMWIRE_INTERNAL_SERVICE_PORT", "9090"),
            ("ROOMWIRE_INTERNAL_PORT", "tcp://10.0.0.1:9090"),
            ("ROOMWIRE_CONFIG", "/etc/roomwire.toml"),
            ("PATH", "/bin"),
            ("ROOMWIRE_", "x"),
            ("ROOMWIRE_REDIS_URL", ""),
        ] {
            let own = read_one(name, text);
            assert!(
                own.problems.is_empty() && own.warnings.is_empty() && own.values.is_empty(),
                "{name}"
            );
        }
        assert!(read_one("ROOMWIRE_BUS__REDIS_URL", "").values.is_empty());
    }

    #[test]
    fn a_name_without_effect_is_reported_with_the_likely_key() {
        let cases = [
            ("ROOMWIRE_SERVER_BIND", Some("ROOMWIRE_SERVER__BIND")),
            (
                "ROOMWIRE_BIND",
                Some("ROOMWIRE_SERVER__BIND or ROOMWIRE_API__BIND"),
            ),
            ("ROOMWIRE_PORT", Some("ROOMWIRE_SERVER__BIND")),
            ("ROOMWIRE_REDIS_URL", Some("ROOMWIRE_BUS__REDIS_URL")),
            ("ROOMWIRE_REDIS_ULR", Some("ROOMWIRE_BUS__REDIS_URL")),
            ("ROOMWIRE_BUS_REDIS_URL", Some("ROOMWIRE_BUS__REDIS_URL")),
            ("ROOMWIRE_APP_RELAY_JOIN", Some("ROOMWIRE_APP__RELAY__JOIN")),
            ("ROOMWIRE_LOG_LEVEL", Some("ROOMWIRE_LOG__FILTER")),
            ("ROOMWIRE_CONFG", Some("ROOMWIRE_CONFIG")),
            ("ROOMWIRE_CONFIG_FILE", Some("ROOMWIRE_CONFIG")),
            (
                "ROOMWIRE_PING_INTERVAL",
                Some("ROOMWIRE_ENGINE__PING_INTERVAL or ROOMWIRE_BUS__PING_INTERVAL"),
            ),
            ("ROOMWIRE_COLOUR_SCHEME_OF_LOG", None),
            ("roomwire_bus__redis_url", Some("ROOMWIRE_BUS__REDIS_URL")),
        ];
        for (name, meant) in cases {
            let own = read_one(name, "8080");
            assert!(own.problems.is_empty() && own.values.is_empty(), "{name}");
            let [warning] = &own.warnings[..] else {
                panic!("{name}: {:?}", own.warnings);
            };
            assert_eq!(warning.key, name);
            assert_eq!(warning.did_you_mean.as_deref(), meant, "{name}");
        }
    }
}
