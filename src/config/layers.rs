//! The layers of a configuration: shipped values, the user's file, the environment. Later layers replace values of earlier
//! ones, key by key.
//!
//! Only the form of a value (flag, number, text, list) is checked here. A value of the wrong form is reported and left
//! out, so that everything else is still checked. The origin of each value is kept. Called by `load`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ::config::{Value, ValueKind};

use super::environment::{self, Environment};
use super::open_webui::{self, Borrowed};
use super::outline::{self, Entry};
use super::problem::{Origin, Problem};
use super::schema::{self, EntryKey, Key, Kind, Schema};
use super::{toml, units};

/// The result of the layers: the value of each key and its origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    values: BTreeMap<String, (Value, Origin)>,
    entry_origins: BTreeMap<String, Origin>,
    manager_is_redis: bool,
}

impl Kept {
    /// The value of a key and its origin.
    pub(super) fn value(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// The same, with the values of `others` for the keys that `of` selects.
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
    entry_origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) borrowed: Borrowed,
}

impl<'a> Layers<'a> {
    /// Starts with the shipped values.
    pub(super) fn shipped(schema: &'a Schema) -> Self {
        let value = |key: &Key| (key.path.clone(), (key.value.clone(), Origin::Default));
        Self {
            schema,
            values: schema.keys().map(value).collect(),
            entry_origins: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            borrowed: Borrowed::default(),
        }
    }

    /// The layers whose result was `kept`.
    pub(super) fn of_kept(schema: &'a Schema, kept: Kept) -> Self {
        let borrowed = Borrowed {
            manager_is_redis: kept.manager_is_redis,
            ..Borrowed::default()
        };
        Self {
            values: kept.values,
            entry_origins: kept.entry_origins,
            borrowed,
            ..Self::shipped(schema)
        }
    }

    /// Their result.
    pub(super) fn keep(&self) -> Kept {
        Kept {
            values: self.values.clone(),
            entry_origins: self.entry_origins.clone(),
            manager_is_redis: self.borrowed.manager_is_redis,
        }
    }

    /// Adds the user's file, which the option or variable `named_by` names. A file that cannot be read or parsed is a
    /// problem.
    pub(super) fn add_file(&mut self, path: &Path, named_by: &str) {
        let origin = Origin::File {
            path: path.to_owned(),
            line: None,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return self.problems.push(Problem::new(named_by, origin, message));
            }
        };
        match toml::parse(&text) {
            Ok(entries) => {
                let lines = FileLines {
                    path,
                    entries: outline::outline(&text),
                };
                self.add_table("", entries, &lines);
            }
            Err(message) => {
                let message = message.trim_start_matches("TOML parse error at ");
                let message = format!("is not valid TOML: {message}");
                self.problems.push(Problem::new(named_by, origin, message));
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
                let value = match key.kind {
                    Kind::Tables => self.sound_entries(key, value, lines),
                    _ => value,
                };
                self.put(&path, from_file(key.kind, value), origin);
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

    /// The sound part of a list of tables. Reports the rest, and records the origin of each table.
    fn sound_entries(&mut self, key: &Key, entries: Value, lines: &FileLines<'_>) -> Value {
        let ValueKind::Array(entries) = entries.kind else {
            return entries;
        };
        let entries = entries.into_iter().enumerate().map(|(index, entry)| {
            let path = format!("{}[{index}]", key.path);
            self.entry_origins.insert(path.clone(), lines.origin(&path));
            match entry.kind {
                ValueKind::Table(table) => {
                    let sorted = table.into_iter().collect();
                    Value::new(None, self.sound_entry(&key.entry, &path, sorted, lines))
                }
                _ => entry,
            }
        });
        Value::new(None, ValueKind::Array(entries.collect()))
    }

    fn sound_entry(
        &mut self,
        keys: &[EntryKey],
        entry: &str,
        values: BTreeMap<String, Value>,
        lines: &FileLines<'_>,
    ) -> HashMap<String, Value> {
        for missing in keys.iter().filter(|key| key.is_required) {
            if !values.contains_key(missing.name) {
                let message = format!("requires the key `{}`", missing.name);
                let problem = Problem::new(entry, lines.origin(entry), message);
                self.problems.push(problem);
            }
        }
        let mut sound = HashMap::new();
        for (name, value) in values {
            let path = format!("{entry}.{name}");
            let origin = lines.origin(&path);
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                let meant = schema::nearest(&name, keys.iter().map(|key| key.name));
                self.problems
                    .push(Problem::new(path, origin, "unknown key").suggesting(meant));
                continue;
            };
            match from_file(key.kind, value) {
                Ok(value) => {
                    self.entry_origins.insert(path, origin);
                    sound.insert(name, value);
                }
                Err(message) => self.problems.push(Problem::new(path, origin, message)),
            }
        }
        sound
    }

    /// Adds the environment: first the names of Open WebUI, then the names of Roomwire.
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

    /// Replaces shipped values by the defaults of `app.kind`, and applies the variables that depend on it.
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
            // A `ROOMWIRE_` variable takes precedence.
            if !matches!(self.origin(&set.path), Origin::Environment(_)) {
                self.put_text(&set.path, &set.text, Origin::Environment(set.name));
            }
        }
    }

    /// Whether `app.kind` is `open_webui`.
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

    /// Where the value of a key, or of a key in a list of tables, came from.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let of_value = |path: &str| self.values.get(path).map(|(_, origin)| origin.clone());
        let of_entry = || {
            let (entry, _) = path.split_once("].")?;
            self.entry_origins.get(&format!("{entry}]")).cloned()
        };
        let exact = self.entry_origins.get(path).cloned();
        exact
            .or_else(|| of_value(path))
            .or_else(of_entry)
            .unwrap_or(Origin::Default)
    }

    /// Whether `path` is a key, a table, or inside a list of tables.
    pub(super) fn has_key(&self, path: &str) -> bool {
        let whole = path.split('[').next().unwrap_or(path);
        self.schema.key(whole).is_some() || self.schema.is_table(whole)
    }

    /// Whether `auto` is a value of the key that `cross` resolves.
    pub(super) fn resolves_auto(&self, path: &str) -> bool {
        self.schema.key(path).is_some_and(|key| key.resolves_auto)
    }

    /// The effective value and its origin.
    pub(super) fn value(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }
}

/// The lines of the keys in a file.
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

/// A value of a file, if it has the form that its key requires.
fn from_file(kind: Kind, value: Value) -> Result<Value, String> {
    let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
    let is_text = |value: &Value| matches!(value.kind, ValueKind::String(_));
    let fits = match (kind, &value.kind) {
        (Kind::Flag, ValueKind::Boolean(_)) => true,
        (Kind::Number, ValueKind::I64(number)) => *number >= 0,
        // So that `demo = true` and `cookie = 1` work, and the form of the key rejects `connections = 1.5`.
        (
            Kind::Text,
            ValueKind::String(_) | ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_),
        ) => true,
        (Kind::List, ValueKind::Array(items)) => items.iter().all(is_text),
        (Kind::Tables, ValueKind::Array(entries)) => entries.iter().all(is_table),
        _ => false,
    };
    if fits { Ok(value) } else { Err(expected(kind)) }
}

/// The text of an environment variable in the form that its key requires.
fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let number = || text.parse().ok().filter(|number| *number >= 0);
    let value = match kind {
        Kind::Flag => units::flag(text).map(ValueKind::Boolean),
        Kind::Number => number().map(ValueKind::I64),
        Kind::Text => Some(ValueKind::String(text.to_owned())),
        Kind::List => Some(ValueKind::Array(list(text))),
        Kind::Tables => {
            return Err("cannot be set by the environment, only by a file".to_owned());
        }
    };
    value
        .map(|kind| Value::new(None, kind))
        .ok_or_else(|| expected(kind))
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
        Kind::List => "must be a list of texts, such as `[\"a\", \"b\"]`",
        Kind::Tables => "must be a list of tables, each below its name in double brackets, `[[…]]`",
    }
    .to_owned()
}
