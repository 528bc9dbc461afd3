//! The keys that exist: path, form, shipped value, meaning and properties of each.
//!
//! Filled by the declarations in `tables` (see `declare`). The layers, the printed configuration, the default file, the
//! reference, the environment names and the reload read it; none of them depends on the name of a key.

use ::config::Value;

/// Keys of development versions, and what replaced them.
const REPLACED: [(&str, &str); 2] = [
    ("bus.emitters", "bus.node_adapter = \"emitters\""),
    ("bus.emitter_key", "bus.node_key"),
];

/// The form of a key's value in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number, 0 or more.
    Number,
    /// A string. Booleans and numbers are accepted and read as their text.
    Text,
    /// A list of strings.
    List,
    /// A list of tables, whose keys are [`Key::entry`].
    Tables,
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TakesEffect {
    /// When the node starts.
    #[default]
    Start,
    /// When the node starts or reloads its configuration.
    Reload,
    /// As `Reload`, but a change from or to an empty value waits for the next start.
    ReloadIfSet,
}

/// How a value is shown in logs and printed configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Visibility {
    /// As it is.
    #[default]
    Shown,
    /// As `***`.
    Hidden,
    /// As a Redis URL without its password; as `***` if it is not a URL.
    HiddenPassword,
}

/// The properties of a key that its declaration names after the form: `reload`, `reload_if_set`, `secret`, `secret_url`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Properties {
    pub(super) takes_effect: TakesEffect,
    pub(super) visibility: Visibility,
}

impl Properties {
    /// A running node applies changes of the key.
    pub(super) fn reload(mut self) -> Self {
        self.takes_effect = TakesEffect::Reload;
        self
    }

    /// A running node applies changes of the key, unless the value was empty or becomes empty.
    pub(super) fn reload_if_set(mut self) -> Self {
        self.takes_effect = TakesEffect::ReloadIfSet;
        self
    }

    /// The value is never shown.
    pub(super) fn secret(mut self) -> Self {
        self.visibility = Visibility::Hidden;
        self
    }

    /// The value is a URL that is shown without its password.
    pub(super) fn secret_url(mut self) -> Self {
        self.visibility = Visibility::HiddenPassword;
        self
    }
}

/// A key that exists.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Path, such as `engine.path`.
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Shipped value.
    pub(super) value: Value,
    /// What it means, as one paragraph of Markdown.
    pub(super) comment: String,
    /// The values it takes, with their unit and range, as Markdown.
    pub(super) allowed: String,
    /// Whether `auto` stands for a value that depends on other keys.
    pub(super) resolves_auto: bool,
    pub(super) properties: Properties,
    /// The keys of each table of a list of tables; empty for every other kind.
    pub(super) entry: Vec<EntryKey>,
}

impl Key {
    /// `ROOMWIRE_ENGINE__PATH` of `engine.path`.
    pub(super) fn environment_name(&self) -> String {
        format!("ROOMWIRE_{}", self.path.replace('.', "__").to_uppercase())
    }

    /// The last part of its path, such as `path` of `engine.path`.
    pub(super) fn name(&self) -> &str {
        last_part(&self.path)
    }
}

/// A key of each table in a list of tables.
#[derive(Debug, Clone)]
pub(super) struct EntryKey {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it means, as one paragraph of Markdown.
    pub(super) comment: String,
    /// The values it takes.
    pub(super) allowed: String,
    pub(super) is_required: bool,
    pub(super) properties: Properties,
}

/// A table of keys.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Path, such as `app.relay`.
    pub(super) path: &'static str,
    /// What it is about, as one paragraph of Markdown.
    pub(super) comment: String,
    /// Its keys in the order of their declaration.
    pub(super) keys: Vec<Key>,
}

/// All keys, by section, in the order of their declaration.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    pub(super) sections: Vec<Section>,
}

impl Schema {
    /// Adds keys to the section `path`. The first struct that declares keys of a section also gives its comment, as the
    /// lines `comment`.
    pub(super) fn add(&mut self, path: &'static str, comment: &[&str], mut keys: Vec<Key>) {
        let mut sections = self.sections.iter_mut();
        match sections.find(|section| section.path == path) {
            Some(section) => section.keys.append(&mut keys),
            None if keys.is_empty() => {}
            None => self.sections.push(Section {
                path,
                comment: paragraph(comment),
                keys,
            }),
        }
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
        let paths = || self.keys().map(|key| key.path.as_str());
        let one_slip = || paths().find(|known| strsim::damerau_levenshtein(path, known) == 1);
        // A correct name without its section, or in the wrong one, is not a typing error.
        let by_name = || {
            let same_name = self.keys().filter(|key| key.name() == last_part(path));
            let named: Vec<&str> = same_name.map(|key| key.path.as_str()).collect();
            let is_clear = named.len() == 1 || (named.len() == 2 && !path.contains('.'));
            is_clear.then(|| named.join(" or "))
        };
        let replaced = || REPLACED.iter().find(|(old, _)| *old == path);
        replaced()
            .map(|(_, new)| *new)
            .or_else(one_slip)
            .map(str::to_owned)
            .or_else(by_name)
            .or_else(|| nearest(path, paths()))
    }

    /// The existing table that `path` was probably meant to be.
    pub(super) fn nearest_table(&self, path: &str) -> Option<String> {
        nearest(path, self.sections.iter().map(|section| section.path))
    }
}

/// The lines of a doc comment as one paragraph.
pub(super) fn paragraph(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

/// The candidate nearest to `name`, if one is near enough to be a typing error.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // One slip, and one more for every five characters.
    let most = 1 + name.len() / 5;
    let scored =
        candidates.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    let best = scored.min_by_key(|(slips, _)| *slips);
    best.filter(|(slips, _)| *slips <= most)
        .map(|(_, candidate)| candidate.to_owned())
}

/// `; did you mean …?` with the candidate nearest to `name`, or nothing.
pub(super) fn nearest_hint<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |meant| format!("; did you mean {meant}?"))
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::declare::schema_of;
    use super::super::tables::Config;

    #[test]
    fn every_key_and_section_is_commented() {
        for section in schema_of::<Config>().sections {
            assert!(
                !section.comment.is_empty(),
                "[{}] has no comment",
                section.path
            );
            for key in section.keys {
                assert!(!key.comment.is_empty(), "{} has no comment", key.path);
            }
        }
    }

    #[test]
    fn a_mistyped_key_finds_the_key_that_was_meant() {
        let schema = schema_of::<Config>();
        let cases = [
            ("engine.ping_intervall", Some("engine.ping_interval")),
            ("engin.path", Some("engine.path")),
            ("server.redis_url", Some("bus.redis_url")),
            ("server.ping_timeout", Some("engine.ping_timeout")),
            ("redis_url", Some("bus.redis_url")),
            ("webhook.secret", Some("webhook.secrets")),
            ("bind", Some("server.bind or api.bind")),
            ("something.else", None),
            ("colour", None),
        ];
        for (written, meant) in cases {
            assert_eq!(schema.nearest_key(written).as_deref(), meant, "{written}");
        }
    }
}
