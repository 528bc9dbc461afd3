//! Lays the layers over each other: shipped values, the user's file, the environment.
//!
//! A value is judged here only by its form (flag, number, text, list); a value of the wrong form
//! is reported and left out, so that everything else is still checked. Keeps where each value came
//! from. Called by `load`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ::config::{Config as Tree, Value, ValueKind};

use super::environment;
use super::open_webui::{self, Borrowed};
use super::outline::{self, Entry};
use super::problem::{Origin, Problem};
use super::schema::{self, Kind, RULE_KEYS, RULES, Schema};
use super::settings::Settings;

/// Names and values of environment variables.
pub type Environment = BTreeMap<String, String>;

/// What the layers amount to: the value of each key, and where it came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    values: BTreeMap<String, (Value, Origin)>,
    rule_origins: BTreeMap<String, Origin>,
    manager_is_redis: bool,
}

impl Kept {
    /// The value of a key and its origin.
    pub(super) fn value(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// The same with the values that `others` has of some keys.
    pub(super) fn with_others(mut self, others: &Self, of: impl Fn(&str) -> bool) -> Self {
        for (path, value) in &mut self.values {
            if let Some(other) = others.value(path).filter(|_| of(path)) {
                *value = other.clone();
            }
        }
        self
    }
}

/// The layers on top of each other.
pub(super) struct Layers<'a> {
    schema: &'a Schema,
    values: BTreeMap<String, (Value, Origin)>,
    rule_origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) borrowed: Borrowed,
}

impl<'a> Layers<'a> {
    /// Starts with the shipped values.
    pub(super) fn shipped(schema: &'a Schema) -> Self {
        let value = |key: &schema::Key| (key.path.clone(), (key.value.clone(), Origin::Default));
        Self {
            schema,
            values: schema.keys().map(value).collect(),
            rule_origins: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            borrowed: Borrowed::default(),
        }
    }

    /// The layers that amounted to `kept`.
    pub(super) fn of_kept(schema: &'a Schema, kept: Kept) -> Self {
        let borrowed = Borrowed {
            manager_is_redis: kept.manager_is_redis,
            ..Borrowed::default()
        };
        Self {
            values: kept.values,
            rule_origins: kept.rule_origins,
            borrowed,
            ..Self::shipped(schema)
        }
    }

    /// What they amount to.
    pub(super) fn keep(&self) -> Kept {
        Kept {
            values: self.values.clone(),
            rule_origins: self.rule_origins.clone(),
            manager_is_redis: self.borrowed.manager_is_redis,
        }
    }

    /// Lays the user's file on top. A file that cannot be read or parsed is a problem.
    pub(super) fn add_file(&mut self, path: &Path) {
        let origin = Origin::File {
            path: path.to_owned(),
            line: None,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return self
                    .problems
                    .push(Problem::new("--config", origin, message));
            }
        };
        match schema::parse(&text) {
            Ok(tree) => {
                let lines = FileLines {
                    path,
                    entries: outline::outline(&text),
                };
                self.add_table("", schema::table_of(&tree), &lines);
            }
            Err(message) => {
                let message = format!("is not valid TOML: {message}");
                self.problems
                    .push(Problem::new("--config", origin, message));
            }
        }
    }

    fn add_table(&mut self, parent: &str, entries: Vec<(String, Value)>, lines: &FileLines<'_>) {
        for (name, value) in entries {
            let path = if parent.is_empty() {
                name
            } else {
                format!("{parent}.{name}")
            };
            let origin = lines.origin(&path);
            if let Some(key) = self.schema.key(&path) {
                let kind = key.kind;
                let value = match kind {
                    Kind::Rules => self.sound_rules(value, lines),
                    _ => value,
                };
                self.put(&path, from_file(kind, value), origin);
                continue;
            }
            match (value.kind, self.schema.is_table(&path)) {
                (ValueKind::Table(table), true) => {
                    let mut entries: Vec<_> = table.into_iter().collect();
                    entries.sort_by(|left, right| left.0.cmp(&right.0));
                    self.add_table(&path, entries, lines);
                }
                (ValueKind::Table(_), false) => {
                    let meant = self.schema.nearest_table(&path);
                    let problem = Problem::new(&path, origin, "unknown section").suggesting(meant);
                    self.problems.push(problem);
                }
                (_, true) => {
                    self.problems
                        .push(Problem::new(&path, origin, "is a section, not a key"))
                }
                (_, false) => {
                    let meant = self.schema.nearest_key(&path);
                    self.problems
                        .push(Problem::new(&path, origin, "unknown key").suggesting(meant));
                }
            }
        }
    }

    /// The sound part of a list of rules; reports the rest, and notes where each rule stands.
    fn sound_rules(&mut self, rules: Value, lines: &FileLines<'_>) -> Value {
        let ValueKind::Array(rules) = rules.kind else {
            return rules;
        };
        let rules = rules.into_iter().enumerate().map(|(index, rule)| {
            let path = format!("{RULES}[{index}]");
            self.rule_origins.insert(path.clone(), lines.origin(&path));
            match rule.kind {
                ValueKind::Table(table) => Value::new(
                    None,
                    self.sound_rule(&path, table.into_iter().collect(), lines),
                ),
                _ => rule,
            }
        });
        Value::new(None, ValueKind::Array(rules.collect()))
    }

    fn sound_rule(
        &mut self,
        rule: &str,
        entries: BTreeMap<String, Value>,
        lines: &FileLines<'_>,
    ) -> HashMap<String, Value> {
        let mut sound = HashMap::new();
        for (name, value) in entries {
            let path = format!("{rule}.{name}");
            let origin = lines.origin(&path);
            if !RULE_KEYS.contains(&name.as_str()) {
                let meant = schema::nearest(&name, RULE_KEYS.into_iter());
                self.problems
                    .push(Problem::new(path, origin, "unknown key").suggesting(meant));
            } else if is_text(&value.kind) {
                self.rule_origins.insert(path, origin);
                sound.insert(name, value);
            } else {
                self.problems
                    .push(Problem::new(path, origin, expected(Kind::Text)));
            }
        }
        let pattern = RULE_KEYS[0];
        if !sound.contains_key(pattern) {
            let origin = lines.origin(rule);
            self.problems
                .push(Problem::new(rule, origin, format!("needs a `{pattern}`")));
            sound.insert(pattern.to_owned(), Value::from(""));
        }
        sound
    }

    /// Lays the environment on top: first the names borrowed from Open WebUI, then our own.
    pub(super) fn add_environment(&mut self, environment: &Environment) {
        self.borrowed = open_webui::read(environment);
        self.problems.append(&mut self.borrowed.problems);
        self.warnings.append(&mut self.borrowed.warnings);
        let own = environment::read(self.schema, environment);
        self.problems.extend(own.problems);
        self.warnings.extend(own.warnings);
        for set in self
            .borrowed
            .values
            .drain(..)
            .chain(own.values)
            .collect::<Vec<_>>()
        {
            self.put_text(&set.path, &set.text, Origin::Environment(set.name));
        }
    }

    /// Lays what the app in force makes the default under everything a person has set.
    pub(super) fn add_kind_defaults(&mut self) {
        let borrowed = std::mem::take(&mut self.borrowed.with_kind);
        if !self.is_open_webui() {
            let names = borrowed.into_iter().map(|set| set.name);
            self.borrowed.unused.extend(names);
            self.borrowed.unused.sort();
            return;
        }
        for (path, text) in open_webui::DEFAULTS {
            if self.origin(path) == Origin::Default {
                self.put_text(path, text, Origin::Kind(open_webui::KIND));
            }
        }
        for set in borrowed {
            // Our own name in the environment wins.
            if !matches!(self.origin(&set.path), Origin::Environment(_)) {
                self.put_text(&set.path, &set.text, Origin::Environment(set.name));
            }
        }
    }

    /// Whether the app in force is Open WebUI's.
    pub(super) fn is_open_webui(&self) -> bool {
        let kind = self.values.get("app.kind").map(|(kind, _)| &kind.kind);
        matches!(kind, Some(ValueKind::String(kind)) if kind.trim() == open_webui::KIND)
    }

    fn put_text(&mut self, path: &str, text: &str, origin: Origin) {
        if let Some(key) = self.schema.key(path) {
            self.put(path, from_text(key.kind, text), origin);
        }
    }

    fn put(&mut self, path: &str, value: Result<Value, String>, origin: Origin) {
        match value {
            Ok(value) => {
                self.values.insert(path.to_owned(), (value, origin));
            }
            Err(message) => self.problems.push(Problem::new(path, origin, message)),
        }
    }

    /// Where the value of a key, or of a key of a rule, came from.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let of_value = || self.values.get(path).map(|(_, origin)| origin.clone());
        let rule = || path.split_once("].").map(|(rule, _)| format!("{rule}]"));
        let of_rule = || rule().and_then(|rule| self.rule_origins.get(&rule).cloned());
        let exact = self.rule_origins.get(path).cloned();
        exact
            .or_else(of_value)
            .or_else(of_rule)
            .unwrap_or(Origin::Default)
    }

    /// The value in force and its origin.
    pub(super) fn value(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// The values in force as the mirror of the file.
    pub(super) fn settings(&self) -> Result<Settings, Problem> {
        let mut builder = Tree::builder();
        let broken = |error: ::config::ConfigError| {
            Problem::new("configuration", Origin::Default, error.to_string())
        };
        for (path, (value, _)) in &self.values {
            builder = builder.set_override(path, value.clone()).map_err(broken)?;
        }
        builder
            .build()
            .and_then(Tree::try_deserialize)
            .map_err(broken)
    }
}

/// Gives each key of a file its line.
struct FileLines<'a> {
    path: &'a Path,
    entries: Vec<Entry>,
}

impl FileLines<'_> {
    fn origin(&self, path: &str) -> Origin {
        let line = outline::line_of(&self.entries, path);
        Origin::File {
            path: self.path.to_owned(),
            line,
        }
    }
}

/// A value of a file in the form its key wants.
fn from_file(kind: Kind, value: Value) -> Result<Value, String> {
    let fits = match (kind, &value.kind) {
        (Kind::Flag, ValueKind::Boolean(_)) => true,
        (Kind::Number, ValueKind::I64(number)) => *number >= 0,
        // `demo = true` and `cookie = 1` are texts to us.
        (Kind::Text, ValueKind::String(_) | ValueKind::Boolean(_) | ValueKind::I64(_)) => true,
        (Kind::List, ValueKind::Array(items)) => items.iter().all(|item| is_text(&item.kind)),
        (Kind::Rules, ValueKind::Array(rules)) => rules.iter().all(|rule| is_table(&rule.kind)),
        _ => false,
    };
    if fits { Ok(value) } else { Err(expected(kind)) }
}

fn is_table(kind: &ValueKind) -> bool {
    matches!(kind, ValueKind::Table(_))
}

fn is_text(kind: &ValueKind) -> bool {
    matches!(kind, ValueKind::String(_))
}

/// A value of the environment in the form its key wants.
fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let value = match kind {
        Kind::Flag => flag(text).map(ValueKind::Boolean),
        Kind::Number => text
            .parse()
            .ok()
            .filter(|number| *number >= 0)
            .map(ValueKind::I64),
        Kind::Text => Some(ValueKind::String(text.to_owned())),
        Kind::List => Some(ValueKind::Array(list(text))),
        Kind::Rules => return Err("cannot be set by the environment, only by a file".to_owned()),
    };
    value
        .map(|kind| Value::new(None, kind))
        .ok_or_else(|| expected(kind))
}

/// A flag as people write it in environments.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Vec<Value> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items.map(Value::from).collect()
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Flag => "must be true or false",
        Kind::Number => "must be a whole number, 0 or more",
        Kind::Text => "must be a text in quotes",
        Kind::List => "must be a list of texts",
        Kind::Rules => "must be a list of tables",
    }
    .to_owned()
}
