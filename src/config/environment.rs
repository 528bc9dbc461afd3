//! Our own environment names: `ROOMWIRE_<SECTION>__<KEY>`.
//!
//! Only names with `__` behind the prefix are judged: `ROOMWIRE_PORT`, or what Kubernetes injects
//! for a service called roomwire, must never stop a node. An empty value counts as unset, because
//! compose files pass empty ones on.

use super::layers::Environment;
use super::problem::{Origin, Problem};
use super::schema::Schema;

const PREFIX: &str = "ROOMWIRE_";

/// The log filter of every Rust program; it wins over ours.
const LOG_FILTER: &str = "RUST_LOG";

/// A key set by a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// The key, as `engine.path`.
    pub(super) path: String,
    /// Its new value.
    pub(super) text: String,
    /// The variable.
    pub(super) name: String,
}

/// What our names in an environment say.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) values: Vec<Set>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Reads all names with our prefix.
pub(super) fn read(schema: &Schema, environment: &Environment) -> Own {
    let mut own = Own::default();
    for (name, text) in environment.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path = rest.to_lowercase().replace("__", ".");
        let origin = Origin::Environment(name.clone());
        if !rest.contains("__") {
            own.warnings.extend(single_underscore(schema, name, &path));
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

/// `ROOMWIRE_SERVER_BIND` has no effect, but somebody meant something by it.
fn single_underscore(schema: &Schema, name: &str, path: &str) -> Option<Problem> {
    let key = schema
        .keys()
        .find(|key| key.path.replace('.', "_") == path)?;
    let message = "has no effect: two underscores part section and key";
    let origin = Origin::Environment(name.to_owned());
    Some(Problem::new(name, origin, message).suggesting(Some(key.environment_name())))
}

fn environment_name(schema: &Schema, path: &str) -> Option<String> {
    schema.key(path).map(super::schema::Key::environment_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str, text: &str) -> Own {
        let environment = Environment::from([(name.to_owned(), text.to_owned())]);
        read(&Schema::shipped().unwrap(), &environment)
    }

    #[test]
    fn names_with_two_underscores_are_judged() {
        let own = read_one("ROOMWIRE_ENGINE__PING_INTERVAL", "1s");
        assert_eq!(own.values[0].path, "engine.ping_interval");
        let own = read_one("ROOMWIRE_APP__RELAY__PUBLISH", "members");
        assert_eq!(own.values[0].path, "app.relay.publish");
        let own = read_one("ROOMWIRE_ENGINE__PING_INTERVALL", "1s");
        let meant = own.problems[0].did_you_mean.as_deref();
        assert_eq!(meant, Some("ROOMWIRE_ENGINE__PING_INTERVAL"));
    }

    #[test]
    fn other_names_stop_nobody() {
        for name in [
            "ROOMWIRE_PORT",
            "ROOMWIRE_SERVICE_HOST",
            "ROOMWIRE_CONFIG",
            "PATH",
            "ROOMWIRE_",
        ] {
            let own = read_one(name, "tcp://10.0.0.1:8080");
            assert!(
                own.problems.is_empty() && own.warnings.is_empty() && own.values.is_empty(),
                "{name}"
            );
        }
        assert!(read_one("ROOMWIRE_BUS__REDIS_URL", "").values.is_empty());
    }

    #[test]
    fn a_single_underscore_is_noticed() {
        let own = read_one("ROOMWIRE_SERVER_BIND", "x");
        assert_eq!(
            own.warnings[0].did_you_mean.as_deref(),
            Some("ROOMWIRE_SERVER__BIND")
        );
    }
}
