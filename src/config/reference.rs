//! The reference of all keys as Markdown: `docs/configuration.md` is its output.
//!
//! The words are the comments of `default.toml`. Printed by `roomwire config --reference`; a test
//! compares the file with it.

use super::effective::toml;
use super::open_webui::{EFFECTS, UNUSED};
use super::reload::acts_at_once;
use super::schema::{Schema, Section};

const HEAD: &str = "\
# Configuration

<!-- Made of config/default.toml by `cargo run -- config --reference > docs/configuration.md`; edit that file. -->

Roomwire runs without any configuration. Three layers lie over each other, each key on its own:

1. the shipped values below ([`config/default.toml`](../config/default.toml), embedded in the binary);
2. your file: `roomwire --config FILE`, or `ROOMWIRE_CONFIG=FILE`; TOML, only what differs
   ([`config/cluster.toml`](../config/cluster.toml) is one to start from);
3. the environment: `ROOMWIRE_<SECTION>__<KEY>`, two underscores between the parts; lists by comma; an empty value counts as unset.
   An unknown name of that form is refused. Other names that begin with `ROOMWIRE_` have no effect: a warning names the key that is probably meant.

`roomwire check` reads all of it, reports every problem at once, with the key, the place it was set and the name that was probably meant,
and ends with 2 if there is one. `roomwire config` prints what is in force and where each value came from, with passwords masked.

A node under way reads all of it again at `SIGHUP`. Keys marked with ↻ then act at once, the others at its next start;
[operations.md](operations.md#reload) has the rest.

Durations have units: `300ms`, `25s`, `1m 30s`. Sizes are bytes, or have `B`, `kB` (1000), `KiB` (1024), `MB`, `MiB`, `GB`, `GiB`; 1 GiB at most.
In patterns `*` stands for any text.
";

const NAMES_HEAD: &str = "
## Other environment names

`RUST_LOG` sets `log.filter` and wins over every other way to set it.

The names an Open WebUI operator already has work too. They lie above the file and below `ROOMWIRE_` names.

| Name | Effect |
|---|---|
";

/// The whole reference. Empty only if the binary was built with a broken `default.toml`.
pub fn reference() -> String {
    let sections = Schema::shipped()
        .map(|schema| schema.sections)
        .unwrap_or_default();
    let mut text = HEAD.to_owned();
    for section in &sections {
        text.push_str(&section_text(section));
    }
    text.push_str(NAMES_HEAD);
    for (name, effect) in EFFECTS {
        text.push_str(&format!("| `{name}` | {effect} |\n"));
    }
    let unused: Vec<String> = UNUSED.iter().map(|name| format!("`{name}`")).collect();
    text.push_str(&format!(
        "\nKnown, without effect here, and listed by `roomwire check`: {}.\n",
        unused.join(", ")
    ));
    text
}

fn section_text(section: &Section) -> String {
    let mut text = format!("\n## `[{}]`\n\n{}\n\n", section.path, section.comment);
    text.push_str("| Key | Default | Meaning | Environment |\n|---|---|---|---|\n");
    for key in &section.keys {
        let value = toml(key.kind, &key.value);
        let name = if key.path == super::schema::RULES {
            "-".to_owned()
        } else {
            format!("`{}`", key.environment_name())
        };
        let mark = if acts_at_once(&key.path) { " ↻" } else { "" };
        text.push_str(&format!(
            "| `{}`{mark} | `{value}` | {} | {name} |\n",
            key.path,
            cell(&key.comment)
        ));
    }
    text
}

fn cell(words: &str) -> String {
    words.replace('|', "\\|")
}
