//! Reads a TOML text, and writes values as TOML.

use ::config::{Config as Tree, File, FileFormat, Source, Value, ValueKind};

use super::schema::Kind;

/// The top-level entries of a TOML text, sorted by name.
///
/// # Errors
/// The message of the parser, without the text it quotes.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Value)>, String> {
    let source = File::from_str(text, FileFormat::Toml);
    let tree = Tree::builder().add_source(source).build();
    let tree = tree.map_err(|error| without_excerpt(&error.to_string()))?;
    let table = tree.collect().map_err(|error| error.to_string())?;
    let mut entries: Vec<(String, Value)> = table.into_iter().collect();
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(entries)
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

/// A value as TOML on one line.
pub(super) fn write(kind: Kind, value: &Value) -> String {
    match (&value.kind, kind) {
        (ValueKind::String(text), _) => quoted(text),
        (ValueKind::Array(items), _) => {
            let items: Vec<String> = items.iter().map(|item| write(Kind::Text, item)).collect();
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
