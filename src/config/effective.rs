//! The configuration in force as TOML, each key with its origin, secrets masked.
//!
//! What it prints is a valid user file, but for the masked passwords. Printed by `roomwire config`.

use std::fmt;

use ::config::{Value, ValueKind};

use super::layers::Layers;
use super::net::SecretUrl;
use super::problem::Origin;
use super::schema::{Key, Kind, RULE_KEYS, Schema};

/// Keys whose value may hold a password.
const SECRETS: [&str; 4] = [
    "server.drain_token",
    "bus.redis_url",
    "bus.sentinel_password",
    "app.open_webui.secret_key",
];

/// Every section, every key, its value as TOML, and where it came from.
#[derive(Debug, Clone)]
pub struct Effective(Vec<(String, Vec<Line>)>);

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
                let name = key.path.rsplit('.').next()?.to_owned();
                Some(Line {
                    name,
                    value: shown(key, value),
                    origin: origin.clone(),
                })
            });
            (section.path.clone(), lines.collect())
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
    if SECRETS.contains(&key.path.as_str()) {
        return toml(key.kind, &masked(&key.path, value));
    }
    toml(key.kind, value)
}

/// A URL with its password masked. Any other value, including a password that looks like a URL, is shown only as set or
/// not.
fn masked(path: &str, value: &Value) -> Value {
    let text = value.clone().into_string().unwrap_or_default();
    if text.is_empty() {
        return Value::from("");
    }
    let url = (path == "bus.redis_url").then(|| SecretUrl::parse_redis(&text).ok());
    let shown = url.flatten().map(|url| url.to_string());
    Value::from(shown.unwrap_or_else(|| "***".to_owned()))
}

/// A value as TOML on one line.
pub(super) fn toml(kind: Kind, value: &Value) -> String {
    match (&value.kind, kind) {
        (ValueKind::String(text), _) => quoted(text),
        (ValueKind::Table(table), _) => {
            let known = RULE_KEYS
                .into_iter()
                .filter_map(|name| Some((name, table.get(name)?)));
            let pairs: Vec<String> = known
                .map(|(name, value)| format!("{name} = {}", toml(Kind::Text, value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        (ValueKind::Array(items), _) => {
            let items: Vec<String> = items.iter().map(|item| toml(Kind::Text, item)).collect();
            format!("[{}]", items.join(", "))
        }
        (_, Kind::Text) => quoted(&value.to_string()),
        _ => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)))
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_names_a_secret_is_masked() {
        let schema = Schema::shipped().unwrap();
        let names_a_secret = |key: &&Key| {
            let name = key.path.rsplit('.').next().unwrap();
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
