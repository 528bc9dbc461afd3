//! The file with every key and its shipped value: `config/default.toml` is its output.
//!
//! Printed by `roomwire config --default`; a test compares the file with it.

use super::declare::schema_of;
use super::schema::{Key, Kind, Schema};
use super::tables::Config;
use super::toml;

/// Columns of a line.
const WIDTH: usize = 120;

const HEAD: &str = "\
# Every key of Roomwire with its shipped value. A file of your own (--config FILE or ROOMWIRE_CONFIG) needs only the
# keys that differ; ROOMWIRE_<SECTION>__<KEY> in the environment takes precedence over both.
# Generated from src/config/tables by `cargo run -- config --default > config/default.toml`.
";

/// The whole file.
pub fn default_file() -> String {
    default_file_of(&schema_of::<Config>())
}

/// The file of the keys in `schema`.
pub(super) fn default_file_of(schema: &Schema) -> String {
    let mut text = HEAD.to_owned();
    for section in &schema.sections {
        text.push('\n');
        text.push_str(&comment(&section.comment));
        text.push_str(&format!("[{}]\n", section.path));
        for key in &section.keys {
            text.push_str(&lines(key));
        }
    }
    text
}

fn lines(key: &Key) -> String {
    let mut text = comment(&key.comment);
    if key.kind != Kind::Flag {
        text.push_str(&comment(&format!("Values: {}.", key.allowed)));
    }
    for entry in &key.entry {
        let meaning = format!(
            "[[{}]] {}: {} Values: {}.",
            key.path, entry.name, entry.comment, entry.allowed
        );
        text.push_str(&comment(&meaning));
    }
    text.push_str(&format!(
        "{} = {}\n",
        key.name(),
        toml::write(key.kind, &key.value)
    ));
    text
}

/// A paragraph as comment lines.
fn comment(paragraph: &str) -> String {
    let mut lines = String::new();
    let mut columns = 0;
    for word in paragraph.split(' ') {
        let width = word.chars().count();
        if columns == 0 || columns + 1 + width > WIDTH {
            lines.push_str(if columns == 0 { "# " } else { "\n# " });
            columns = 2 + width;
        } else {
            lines.push(' ');
            columns += 1 + width;
        }
        lines.push_str(word);
    }
    lines.push('\n');
    lines
}
