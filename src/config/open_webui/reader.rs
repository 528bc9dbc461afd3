//! Reads single variables of Open WebUI as values of keys.

use super::variables::{APP_URL, MANAGED_URL, OWN_URL};
use crate::config::environment::{Environment, Set};
use crate::config::problem::{Origin, Problem};

/// The result of reading the variables.
#[derive(Debug, Default)]
pub(in crate::config) struct Borrowed {
    pub(in crate::config) values: Vec<Set>,
    pub(in crate::config) problems: Vec<Problem>,
    pub(in crate::config) warnings: Vec<Problem>,
    /// Values that apply only with `app.kind = "open_webui"`.
    pub(in crate::config) with_kind: Vec<Set>,
    /// Variables that are set and known, but have no effect here.
    pub(in crate::config) unused: Vec<String>,
    /// `WEBSOCKET_MANAGER=redis`
    pub(in crate::config) manager_is_redis: bool,
}

/// The environment, and what was read so far.
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) found: Borrowed,
}

impl<'a> Reader<'a> {
    /// The value of a variable; `None` if it is unset or empty.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.environment
            .get(name)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    /// Sets a key.
    pub(super) fn set(&mut self, path: &str, text: impl Into<String>, name: &str) {
        let set = Set {
            path: path.to_owned(),
            text: text.into(),
            name: name.to_owned(),
        };
        self.found.values.push(set);
    }

    /// Records a problem with a variable.
    pub(super) fn reject(&mut self, key: &str, name: &str, message: impl Into<String>) {
        let origin = Origin::Environment(name.to_owned());
        self.found.problems.push(Problem::new(key, origin, message));
    }

    /// Records a warning about a variable.
    pub(super) fn warn(&mut self, key: &str, name: &str, message: impl Into<String>) {
        let origin = Origin::Environment(name.to_owned());
        self.found.warnings.push(Problem::new(key, origin, message));
    }

    /// Sets a key that applies only with `app.kind = "open_webui"`.
    pub(super) fn set_with_kind(&mut self, path: &str, text: impl Into<String>, name: &str) {
        self.found.with_kind.push(Set {
            path: path.to_owned(),
            text: text.into(),
            name: name.to_owned(),
        });
    }

    /// Sets a duration from a variable in seconds.
    pub(super) fn seconds(&mut self, name: &str, path: &str) {
        if let Some(text) = self.get(name) {
            self.seconds_of(name, path, text);
        }
    }

    /// Sets a duration from a text in seconds.
    pub(super) fn seconds_of(&mut self, name: &str, path: &str, text: &str) {
        let seconds = text
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
        match seconds {
            Some(seconds) => {
                let milliseconds = (seconds * 1000.0).round();
                self.set(path, format!("{milliseconds}ms"), name);
            }
            None => self.reject(path, name, format!("`{text}` is not a number of seconds")),
        }
    }

    /// The variable whose Redis URL is used.
    pub(super) fn url_name(&self) -> Option<&'static str> {
        if !self.uses_manager() {
            return None;
        }
        [MANAGED_URL, APP_URL]
            .into_iter()
            .find(|name| self.get(name).is_some())
    }

    /// Whether the variables of Open WebUI choose the Redis, and `ROOMWIRE_BUS__REDIS_URL` does not.
    pub(super) fn uses_manager(&self) -> bool {
        self.found.manager_is_redis && self.get(OWN_URL).is_none()
    }
}
