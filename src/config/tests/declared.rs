//! A table that is declared only in this file: everything that is generated from declarations works for it.

use std::time::Duration;

use super::*;
use crate::config::checker::Checker;
use crate::config::declare::{Table, entry, table};
use crate::config::default_file::default_file_of;
use crate::config::effective::Effective;
use crate::config::entry::tables;
use crate::config::forms::{MILLISECOND, duration, flag, list, number, switch, text};
use crate::config::layers::Layers;
use crate::config::load::layers_of;
use crate::config::reference::sections;
use crate::config::reload::changes;
use crate::config::schema::Schema;

table! {
    /// Toys for tests.
    Toy = "toy" {
        /// Time between two blinks.
        blink_interval: Duration = "5s", duration(MILLISECOND..), reload;
        /// Number of wheels.
        wheels: usize = 4, number(1..=16);
        /// Whether it floats. `auto` = if it has no wheels.
        floats: bool = "auto", switch().or_auto();
        /// Names of its owners.
        owners: Vec<String> = ["ann"], list(text("name", |text| Ok(text.to_owned())));
        /// The combination of its lock.
        lock_password: String = "", text("text", |text| Ok(text.to_owned())), secret;
        /// File with its sounds.
        sounds: Option<String> = "", text("file", |text| Ok(text.to_owned())).or_empty(), reload_if_set;
        /// Its parts.
        parts: Vec<Part> = [], tables();
    }
    derived {
        /// Set after the table is read.
        weight: usize,
    }
    tables {
        battery: Battery,
    }
}

table! {
    /// The battery of a toy.
    Battery = "toy.battery" {
        /// Whether it can be recharged.
        rechargeable: bool = true, flag();
    }
}

entry! {
    /// A part of a toy.
    Part {
        /// Its name.
        name: String = text("name", |text| Ok(text.to_owned()));
        /// Its weight in grams.
        grams: Option<usize> = number(1..).optional();
    }
}

fn layers<'a>(schema: &'a Schema, file: &str, pairs: Pairs<'_>) -> Layers<'a> {
    let file = Scratch::new(file);
    let sources = Sources {
        file: Some(file.0.clone()),
        environment: environment(pairs),
    };
    layers_of(schema, &sources)
}

/// The values of a file and an environment, and all problems.
fn read(file: &str, pairs: Pairs<'_>) -> (Toy, Vec<String>) {
    let schema = schema_of::<Toy>();
    let layers = layers(&schema, file, pairs);
    let mut checker = Checker::new(&layers);
    let toy = Toy::read(&mut checker);
    let problems = layers.problems.iter().chain(&checker.problems);
    let file_name = |problem: &Problem| match &problem.origin {
        Origin::File { path, .. } => format!("{}:", path.display()),
        _ => String::new(),
    };
    let problems = problems.map(|problem| {
        let shown = problem.to_string();
        match file_name(problem) {
            name if name.is_empty() => shown,
            name => shown.replace(&name, "line "),
        }
    });
    (toy, problems.collect())
}

#[test]
fn a_declared_key_has_its_default_and_can_be_set_by_file_and_environment() {
    let (toy, problems) = read("", &[]);
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        (toy.blink_interval, toy.wheels),
        (Duration::from_secs(5), 4)
    );
    assert_eq!(
        (toy.owners, toy.sounds, toy.floats),
        (vec!["ann".to_owned()], None, false)
    );
    assert!(toy.battery.rechargeable && toy.parts.is_empty() && toy.weight == 0);
    assert_eq!(toy.lock_password, "");

    let file = "[toy]\nwheels = 6\nsounds = \"beep\"\nblink_interval = \"1s\"\n\
                [[toy.parts]]\nname = \"lid\"\ngrams = 20\n[[toy.parts]]\nname = \"box\"\n";
    let names = [
        ("ROOMWIRE_TOY__BLINK_INTERVAL", "2s"),
        ("ROOMWIRE_TOY__OWNERS", "bob,eve"),
        ("ROOMWIRE_TOY__FLOATS", "on"),
        ("ROOMWIRE_TOY__BATTERY__RECHARGEABLE", "off"),
    ];
    let (toy, problems) = read(file, &names);
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        (toy.blink_interval, toy.wheels),
        (Duration::from_secs(2), 6)
    );
    assert_eq!(toy.owners, ["bob", "eve"]);
    assert_eq!(toy.sounds.as_deref(), Some("beep"));
    assert!(toy.floats && !toy.battery.rechargeable);
    let parts: Vec<_> = toy
        .parts
        .iter()
        .map(|part| (&*part.name, part.grams))
        .collect();
    assert_eq!(parts, [("lid", Some(20)), ("box", None)]);
}

#[test]
fn mistakes_in_declared_keys_are_reported_at_once_with_origin_and_suggestion() {
    let file = "[toy]\nwheels = 17\nblink_intervall = \"1s\"\n[toy.batery]\n\
                [[toy.parts]]\nnam = \"lid\"\n[[toy.parts]]\nname = \"box\"\ngrams = 0\n";
    let names = [
        ("ROOMWIRE_TOY__BLINK_INTERVAL", "0s"),
        ("ROOMWIRE_TOY__OWNRES", "bob"),
        ("ROOMWIRE_TOY__FLOATS", "perhaps"),
    ];
    let (_, problems) = read(file, &names);
    let expected = [
        "toy.batery (line 4): unknown section; did you mean toy.battery?",
        "toy.blink_intervall (line 3): unknown key; did you mean toy.blink_interval?",
        "toy.parts[0] (line 5): requires the key `name`",
        "toy.parts[0].nam (line 6): unknown key; did you mean name?",
        "ROOMWIRE_TOY__OWNRES (environment): unknown name; did you mean ROOMWIRE_TOY__OWNERS?",
        "toy.blink_interval (ROOMWIRE_TOY__BLINK_INTERVAL): must be at least 1ms",
        "toy.wheels (line 2): must be at most 16",
        "toy.floats (ROOMWIRE_TOY__FLOATS): `perhaps` is none of on, off, true, false (or `auto`)",
        "toy.parts[1].grams (line 9): must be at least 1",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_declaration_decides_what_a_reload_applies() {
    let schema = schema_of::<Toy>();
    let kept = |file: &str| layers(&schema, file, &[]).keep();
    let shown = |from: &str, to: &str| {
        let changes = changes(&schema, &kept(from), &kept(to));
        let shown = changes
            .iter()
            .map(|change| (change.key.clone(), change.at_once));
        shown.collect::<Vec<_>>()
    };
    let before = "[toy]\nsounds = \"a\"\n";
    let after = "[toy]\nsounds = \"b\"\nwheels = 5\nblink_interval = \"1s\"\n";
    let expected = [
        ("toy.blink_interval".to_owned(), true),
        ("toy.wheels".to_owned(), false),
        ("toy.sounds".to_owned(), true),
    ];
    assert_eq!(shown(before, after), expected);
    assert_eq!(shown(before, ""), [("toy.sounds".to_owned(), false)]);
}

#[test]
fn a_declared_key_is_in_the_reference_and_the_default_file() {
    let schema = schema_of::<Toy>();
    let reference = sections(&schema);
    for row in [
        "## `[toy]`\n\nToys for tests.\n",
        "| `toy.blink_interval` ↻ | `\"5s\"` | duration from 1ms | Time between two blinks. | `ROOMWIRE_TOY__BLINK_INTERVAL` |\n",
        "| `toy.wheels` | `4` | number 1 to 16 | Number of wheels. | `ROOMWIRE_TOY__WHEELS` |\n",
        "| `toy.floats` | `\"auto\"` | `auto`, `on`, `off` | Whether it floats. `auto` = if it has no wheels. | `ROOMWIRE_TOY__FLOATS` |\n",
        "| `toy.parts` | `[]` | list of tables | Its parts. | - |\n",
        "| `[[toy.parts]]` `grams` | - | number from 1 | Its weight in grams. | - |\n",
        "| `toy.battery.rechargeable` | `true` | `true` or `false` | Whether it can be recharged. | `ROOMWIRE_TOY__BATTERY__RECHARGEABLE` |\n",
    ] {
        assert!(reference.contains(row), "{row} is not in {reference}");
    }
    let file = default_file_of(&schema);
    let lines = "# Number of wheels.\n# Values: number 1 to 16.\nwheels = 4\n";
    assert!(file.contains(lines), "{file}");
    assert_eq!(
        read(&file, &[]).1,
        [""; 0],
        "the file is one of its own keys"
    );
}

#[test]
fn a_declared_secret_is_not_shown() {
    let schema = schema_of::<Toy>();
    let file = "[toy]\nlock_password = \"s3cret\"\n";
    let printed = Effective::of(&schema, &layers(&schema, file, &[])).to_string();
    assert!(printed.contains("lock_password = \"***\""), "{printed}");
    assert!(!printed.contains("s3cret"));
}

#[test]
fn every_automatic_value_of_the_program_is_resolved() {
    let schema = schema_of::<Config>();
    let layers = Layers::shipped(&schema);
    let mut checker = Checker::new(&layers);
    let mut config = Config::read(&mut checker);
    cross::resolve(&mut config, &mut checker);
    for key in schema.keys() {
        let is_resolved = checker.resolved.contains(&key.path.as_str());
        let why = "`or_auto` needs a `resolve` in config/cross, and nothing else does";
        assert_eq!(is_resolved, key.resolves_auto, "{}: {why}", key.path);
    }
}
