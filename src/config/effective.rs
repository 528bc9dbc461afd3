//! The effective configuration as TOML: each key with its value and origin, secrets masked.
//!
//! Apart from masked passwords, the text is a valid user file. Printed by `roomwire config`.

use std::fmt;

use ::config::{Value, ValueKind};

use super::layers::Layers;
use super::net::SecretUrl;
use super::problem::Origin;
use super::schema::{Key, Kind, Schema, Visibility};
use super::toml;

/// Every section, every key, its value as TOML, and where it came from.
#[derive(Debug, Clone)]
pub struct Effective(Vec<(&'static str, Vec<Line>)>);

#[derive(Debug, Clone)]
struct Line {
    name: String,
    value: String,
    origin: Origin,
}

impl Effective {
    pub(super) fn of(schema: &Schema, layers: &Layers<'_>) -> Self {
        let sections = schema.sections.iter().map(|section| {
            let lines = section.keys.iter().filter_map(|key| {
                let (value, origin) = layers.value(&key.path)?;
                let name = key.name().to_owned();
                Some(Line {
                    name,
                    value: shown(key, value),
                    origin: origin.clone(),
                })
            });
            (section.path, lines.collect())
        });
        Self(sections.collect())
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (section, lines)) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "[{section}]")?;
            for Line {
                name,
                value,
                origin,
            } in lines
            {
                writeln!(f, "{name} = {value} # {origin}")?;
            }
        }
        Ok(())
    }
}

/// A value of a key as TOML, secrets masked.
pub(super) fn shown(key: &Key, value: &Value) -> String {
    match (key.properties.visibility, &value.kind) {
        (_, ValueKind::Array(entries)) if key.kind == Kind::Tables => {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| shown_entry(key, entry))
                .collect();
            format!("[{}]", entries.join(", "))
        }
        (Visibility::Shown, _) => toml::write(key.kind, value),
        (visibility, _) => toml::write(key.kind, &masked(visibility, value)),
    }
}

/// One table of a list of tables, its keys in the order of their declaration.
fn shown_entry(key: &Key, entry: &Value) -> String {
    let ValueKind::Table(table) = &entry.kind else {
        return "{}".to_owned();
    };
    let pairs = key.entry.iter().filter_map(|entry_key| {
        let value = table.get(entry_key.name)?;
        let text = match entry_key.properties.visibility {
            Visibility::Shown => toml::write(entry_key.kind, value),
            visibility => toml::write(entry_key.kind, &masked(visibility, value)),
        };
        Some(format!("{} = {text}", entry_key.name))
    });
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

/// `***` in place of a secret, or a URL with its password masked. The empty text stays, so that one can see that a
/// secret is missing.
fn masked(visibility: Visibility, value: &Value) -> Value {
    if let ValueKind::Array(items) = &value.kind {
        let items = items.iter().map(|item| masked(visibility, item));
        return Value::new(None, ValueKind::Array(items.collect()));
    }
    let text = value.clone().into_string().unwrap_or_default();
    if text.is_empty() {
        return Value::from("");
    }
    // A password that looks like a URL is masked as a whole.
    let url = (visibility == Visibility::HiddenPassword)
        .then(|| SecretUrl::parse_redis(&text).ok())
        .flatten();
    let shown = url.map(|url| url.to_string());
    Value::from(shown.unwrap_or_else(|| "***".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::declare::schema_of;
    use crate::config::tables::Config;

    #[test]
    fn every_key_with_the_name_of_a_secret_is_masked() {
        let schema = schema_of::<Config>();
        let names_a_secret = |key: &&Key| {
            let name = key.name();
            ["password", "secret", "secret_key", "token"]
                .iter()
                .any(|word| name == *word || name.ends_with(&format!("_{word}")))
        };
        let named: Vec<&Key> = schema.keys().filter(names_a_secret).collect();
        assert!(named.len() >= 2);
        for key in named {
            for value in ["hidden", "redis://hidden"] {
                assert_eq!(shown(key, &Value::from(value)), "\"***\"", "{}", key.path);
            }
            assert_eq!(shown(key, &Value::from("")), "\"\"", "{}", key.path);
        }
    }
}
