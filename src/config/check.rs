//! Makes a `Config` of `Settings`: every value on its own, then those that must fit together.
//!
//! Never stops at the first problem. A value that fails gets a placeholder, and the checks that
//! depend on it are skipped, so that one slip is reported once. Called by `load`.

mod app;
mod bus;
mod drain;
mod engine;
mod limits;
mod server;
mod tls;

use super::checked::{Config, LogConfig, LogFormat};
use super::cross;
use super::layers::Layers;
use super::problem::Problem;
use super::schema;
use super::settings::Settings;
use super::values;

/// Room beside the largest client message: headers of the bus, of a forwarded request, of a packet.
pub(super) const MESSAGE_OVERHEAD: usize = 16 << 10;

/// Checks everything; the problems found are in the checker.
pub(super) fn check(settings: &Settings, checker: &mut Checker<'_, '_>) -> Config {
    let bus = checker.bus(&settings.bus, &settings.engine);
    let mut config = Config {
        server: checker.server(&settings.server),
        engine: checker.engine(&settings.engine),
        socket: checker.socket(&settings.socket),
        limits: checker.limits(&settings.limits, &settings.server.bind),
        cors: checker.cors(&settings.cors),
        app: checker.app(&settings.app, settings),
        bus,
        drain: checker.drain(&settings.drain),
        log: LogConfig {
            filter: checker.read("log.filter", &settings.log.filter, values::log_filter),
            format: checker.choice(
                "log.format",
                &settings.log.format,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
        },
    };
    if let Some(reason) = demo_obstacle(&config) {
        let asked_for = std::mem::take(&mut config.server.demo) && settings.server.demo != "auto";
        if asked_for {
            checker.warn("server.demo", format!("has no effect: {reason}"));
        }
    }
    cross::resolve(&mut config, checker);
    cross::check(&config, checker);
    config
}

/// The reason why the demo page cannot work, if any: it uses the events of the relay in the namespace `/`.
fn demo_obstacle(config: &Config) -> Option<String> {
    if !config.app.relays() {
        let kind = config.app.kind.name();
        return Some(format!(
            "the page emits roomwire:* events, which app.kind = \"{kind}\" does not answer here"
        ));
    }
    let mut namespaces = config.socket.namespaces.iter();
    let has_root = namespaces.any(|pattern| pattern.matches("/"));
    (!has_root).then(|| {
        "the page connects to the namespace `/`, which socket.namespaces leaves out".to_owned()
    })
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
}
