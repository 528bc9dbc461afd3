//! The keys that exist, read from the embedded `default.toml`: their kinds, values and comments.
//!
//! Knows nothing of what a value means; that is `check`. Used by the layers, the printed
//! configuration and the reference.

use ::config::{Config as Tree, File, FileFormat, Source, Value, ValueKind};

use super::outline::{self, Entry};
use super::problem::{Origin, Problem};

/// The base layer: every key with its shipped value and a comment.
pub(super) const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The one key that is a list of tables.
pub(super) const RULES: &str = "app.relay.rooms";

/// The keys of an entry of [`RULES`].
pub(super) const RULE_KEYS: [&str; 3] = ["pattern", "join", "publish"];

/// The form of a key's value, taken from its shipped value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    Number,
    Text,
    List,
    Rules,
}

/// A key that exists.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Path, as `engine.path`.
    pub(super) path: String,
    /// Form of its value.
    pub(super) kind: Kind,
    /// Shipped value.
    pub(super) value: Value,
    /// What it means, from the comment above it.
    pub(super) comment: String,
}

impl Key {
    /// `ROOMWIRE_ENGINE__PATH` of `engine.path`.
    pub(super) fn environment_name(&self) -> String {
        format!("ROOMWIRE_{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// A table of keys.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Path, as `app.relay`.
    pub(super) path: String,
    /// What it is about, from the comment above its header.
    pub(super) comment: String,
    /// Its keys in the order of the file.
    pub(super) keys: Vec<Key>,
}

/// All keys, in the order of `default.toml`.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) sections: Vec<Section>,
}

impl Schema {
    /// Reads the embedded file; an error only if the binary was built with a broken one.
    pub(super) fn shipped() -> Result<Self, Problem> {
        let broken = |message: String| Problem::new("default.toml", Origin::Default, message);
        let tree = parse(DEFAULT_TOML).map_err(broken)?;
        let mut sections: Vec<Section> = Vec::new();
        for Entry {
            path,
            comment,
            is_table,
            ..
        } in outline::outline(DEFAULT_TOML)
        {
            if is_table {
                sections.push(Section {
                    path,
                    comment,
                    keys: Vec::new(),
                });
                continue;
            }
            let value: Value = tree.get(&path).map_err(|error| broken(error.to_string()))?;
            let kind =
                kind_of(&path, &value).ok_or_else(|| broken(format!("{path} has no kind")))?;
            if let Some(section) = sections.last_mut() {
                section.keys.push(Key {
                    path,
                    kind,
                    value,
                    comment,
                });
            }
        }
        Ok(Self { sections })
    }

    /// All keys of all sections.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.sections.iter().flat_map(|section| &section.keys)
    }

    /// The key at `path`.
    pub(super) fn key(&self, path: &str) -> Option<&Key> {
        self.keys().find(|key| key.path == path)
    }

    /// Whether `path` is a table that holds keys.
    pub(super) fn is_table(&self, path: &str) -> bool {
        let inside = |key: &Key| {
            key.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.keys().any(inside)
    }

    /// The existing key that `path` was probably meant to be.
    pub(super) fn nearest_key(&self, path: &str) -> Option<String> {
        let same_name = |key: &&Key| last_part(&key.path) == last_part(path);
        let by_name = || {
            let mut keys = self.keys().filter(same_name);
            keys.next()
                .filter(|_| keys.next().is_none())
                .map(|key| key.path.clone())
        };
        // A correct name in the wrong section is not a typing error.
        by_name().or_else(|| nearest(path, self.keys().map(|key| key.path.as_str())))
    }

    /// The existing table that `path` was probably meant to be.
    pub(super) fn nearest_table(&self, path: &str) -> Option<String> {
        nearest(
            path,
            self.sections.iter().map(|section| section.path.as_str()),
        )
    }
}

/// Parses a TOML text into the tree of the `config` crate.
pub(super) fn parse(text: &str) -> Result<Tree, String> {
    let source = File::from_str(text, FileFormat::Toml);
    let tree = Tree::builder().add_source(source).build();
    tree.map_err(|error| without_excerpt(&error.to_string()))
}

/// The message of the parser without the line it quotes, which may hold a password.
fn without_excerpt(message: &str) -> String {
    let is_gutter = |character: char| character == ' ' || character.is_ascii_digit();
    let is_excerpt = |line: &&str| line.trim_start_matches(is_gutter).starts_with('|');
    let lines: Vec<&str> = message
        .lines()
        .filter(|line| !is_excerpt(line))
        .map(str::trim)
        .collect();
    lines.join(": ").trim_end_matches([':', ' ']).to_owned()
}

/// The top-level table of a tree.
pub(super) fn table_of(tree: &Tree) -> Vec<(String, Value)> {
    let mut entries: Vec<(String, Value)> =
        tree.collect().unwrap_or_default().into_iter().collect();
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    entries
}

/// The candidate nearest to `name`, if one is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // One slip, and one more for every five characters.
    let most = 1 + name.len() / 5;
    let scored =
        candidates.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    let best = scored.min_by_key(|(slips, _)| *slips);
    best.filter(|(slips, _)| *slips <= most)
        .map(|(_, candidate)| candidate.to_owned())
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn kind_of(path: &str, value: &Value) -> Option<Kind> {
    match value.kind {
        ValueKind::Boolean(_) => Some(Kind::Flag),
        ValueKind::I64(_) => Some(Kind::Number),
        ValueKind::String(_) => Some(Kind::Text),
        ValueKind::Array(_) if path == RULES => Some(Kind::Rules),
        ValueKind::Array(_) => Some(Kind::List),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_section_is_commented() {
        let schema = Schema::shipped().unwrap();
        for section in &schema.sections {
            assert!(
                !section.comment.is_empty(),
                "[{}] has no comment",
                section.path
            );
            for key in &section.keys {
                assert!(!key.comment.is_empty(), "{} has no comment", key.path);
            }
        }
    }

    #[test]
    fn slips_of_the_pen_find_their_key() {
        let schema = Schema::shipped().unwrap();
        let cases = [
            ("engine.ping_intervall", Some("engine.ping_interval")),
            ("engin.path", Some("engine.path")),
            ("server.redis_url", Some("bus.redis_url")),
            ("server.ping_timeout", Some("engine.ping_timeout")),
            ("redis_url", Some("bus.redis_url")),
            ("something.else", None),
            ("colour", None),
        ];
        for (written, meant) in cases {
            assert_eq!(schema.nearest_key(written).as_deref(), meant, "{written}");
        }
    }
}
