//! Collects the problems of a configuration, each with its key and the origin of its value.
//!
//! Never stops at the first problem. A rejected value is replaced by a default of its type, and checks that depend on it
//! are skipped by [`Checker::sound`], so that one mistake is reported once. Used by the declared tables and by `cross`.

use super::form::Form;
use super::layers::Layers;
use super::problem::{Origin, Problem};

/// Problems and warnings found so far.
pub(super) struct Checker<'a, 'b> {
    pub(super) layers: &'a Layers<'b>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Keys for which [`Checker::resolve`] was called.
    pub(super) resolved: Vec<&'static str>,
}

impl<'a, 'b> Checker<'a, 'b> {
    pub(super) fn new(layers: &'a Layers<'b>) -> Self {
        Self {
            layers,
            problems: Vec::new(),
            warnings: Vec::new(),
            resolved: Vec::new(),
        }
    }

    /// The value of `key`, or the default of `T` after a problem.
    pub(super) fn read<T: Default + 'static>(&mut self, key: &str, form: &Form<T>) -> T {
        let Some((value, _)) = self.layers.value(key) else {
            return T::default();
        };
        let mut rejections = Vec::new();
        let read = form.read(value, &mut rejections);
        for rejection in rejections {
            let path = format!("{key}{}", rejection.at);
            let problem = Problem::new(&path, self.layers.origin(&path), rejection.message);
            self.problems.push(problem.suggesting(rejection.meant));
        }
        read.unwrap_or_default()
    }

    /// Replaces `value` by `auto` if the key is set to `auto`.
    pub(super) fn resolve<T>(&mut self, key: &'static str, value: &mut T, auto: T) {
        debug_assert!(
            self.layers.resolves_auto(key),
            "{key} is not declared with or_auto"
        );
        self.resolved.push(key);
        if self.is_auto(key) {
            *value = auto;
        }
    }

    /// Whether `key` is set to `auto`.
    pub(super) fn is_auto(&self, key: &str) -> bool {
        self.text(key).trim() == "auto"
    }

    /// The text of `key` as it is set; empty if it has none.
    pub(super) fn text(&self, key: &str) -> String {
        let value = self.layers.value(key).map(|(value, _)| value.clone());
        value
            .and_then(|value| value.into_string().ok())
            .unwrap_or_default()
    }

    /// Records a problem of `key`.
    pub(super) fn reject(&mut self, key: &str, message: impl Into<String>) {
        self.problems
            .push(Problem::new(key, self.origin(key), message));
    }

    /// Records a warning about `key`.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings
            .push(Problem::new(key, self.origin(key), message));
    }

    /// Whether none of `keys` has a problem, neither here nor in the layers.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let mut problems = self.problems.iter().chain(&self.layers.problems);
        !problems.any(|problem| keys.contains(&problem.key.as_str()))
    }

    fn origin(&self, key: &str) -> Origin {
        debug_assert!(self.layers.has_key(key), "{key} is not a key");
        self.layers.origin(key)
    }
}
