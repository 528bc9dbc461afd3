//! The reference of all keys as Markdown: `docs/configuration.md` is its output.
//!
//! Generated from the declarations in `tables`. Printed by `roomwire config --reference`; a test compares the file with
//! it.

use super::declare::schema_of;
use super::open_webui::{EFFECTS, UNUSED};
use super::schema::{Key, Kind, Schema, Section, TakesEffect};
use super::tables::Config;
use super::toml;

const HEAD: &str = "\
# Configuration

<!-- Generated from src/config/tables by `cargo run -- config --reference > docs/configuration.md`; edit the declarations there. -->

Roomwire runs without any configuration. Each key has the value of the last of these layers that sets it:

1. the shipped values below, which are part of the binary ([`config/default.toml`](../config/default.toml) lists them all);
2. your file: `roomwire --config FILE`, or `ROOMWIRE_CONFIG=FILE`; TOML, with the keys that differ
   ([`config/cluster.toml`](../config/cluster.toml) is an example to start from);
3. the environment: `ROOMWIRE_<SECTION>__<KEY>`, with two underscores between the parts. Lists are separated by commas. An empty value counts
   as unset. An unknown name of this form is rejected. Other names that begin with `ROOMWIRE_` have no effect; a warning names the key that
   is probably meant.

`roomwire check` reads all layers and reports every problem at once, with the key, its origin and the name that was probably meant. Its exit
code is 2 if there is a problem. `roomwire config` prints the effective configuration with the origin of each value, passwords masked.

A running node reads the configuration again at `SIGHUP`. It applies changes of the keys marked with ↻ at once, and changes of all other keys
at its next start ([operations.md](operations.md#reload)).

Durations have units: `300ms`, `25s`, `1m 30s`. Sizes are in bytes, or have a unit: `B`, `kB` (1000 bytes), `KiB` (1024 bytes), `MB`, `MiB`,
`GB`, `GiB`. The largest size is 1 GiB, for `limits.outbox_memory` 1024 GiB. In patterns `*` stands for any text.
";

const NAMES_HEAD: &str = "
## Other environment variables

`RUST_LOG` sets `log.filter` and takes precedence over every other way to set it.

The environment variables of Open WebUI are supported too. They take precedence over the file; `ROOMWIRE_` variables take precedence over
them.

| Name | Effect |
|---|---|
";

/// The whole reference.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str(&sections(&schema_of::<Config>()));
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

/// The sections of the reference, for the keys in `schema`.
pub(super) fn sections(schema: &Schema) -> String {
    schema.sections.iter().map(section_text).collect()
}

fn section_text(section: &Section) -> String {
    let mut text = format!("\n## `[{}]`\n\n{}\n\n", section.path, section.comment);
    text.push_str("| Key | Default | Values | Meaning | Environment |\n|---|---|---|---|---|\n");
    for key in &section.keys {
        text.push_str(&rows(key));
    }
    text
}

fn rows(key: &Key) -> String {
    let environment = match key.kind {
        Kind::Tables => "-".to_owned(),
        _ => format!("`{}`", key.environment_name()),
    };
    let mark = match key.properties.takes_effect {
        TakesEffect::Reload | TakesEffect::ReloadIfSet => " ↻",
        TakesEffect::Start => "",
    };
    let mut text = format!(
        "| `{}`{mark} | `{}` | {} | {} | {environment} |\n",
        key.path,
        toml::write(key.kind, &key.value),
        cell(&key.allowed),
        cell(&key.comment),
    );
    for entry in &key.entry {
        let default = if entry.is_required { "required" } else { "-" };
        text.push_str(&format!(
            "| `[[{}]]` `{}`{mark} | {default} | {} | {} | - |\n",
            key.path,
            entry.name,
            cell(&entry.allowed),
            cell(&entry.comment),
        ));
    }
    text
}

fn cell(words: &str) -> String {
    words.replace('|', "\\|")
}
