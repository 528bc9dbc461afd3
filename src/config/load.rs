//! Reads a whole configuration: layers, then the declared tables, then the checks across keys.

use std::path::{Path, PathBuf};

use super::checker::Checker;
use super::cross;
use super::declare::{Table, schema_of};
use super::effective::Effective;
use super::environment::{Environment, FILE_VARIABLE};
use super::layers::{Kept, Layers};
use super::problem::{Problem, Rejected};
use super::schema::Schema;
use super::tables::Config;

/// Where to read the settings of the user.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of the user, as given on the command line. `None` = the file that `ROOMWIRE_CONFIG` names, if any.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub environment: Environment,
}

impl Sources {
    /// The environment of this process. Text that is not Unicode gets replacement characters.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            file,
            environment: environment.collect(),
        }
    }
}

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Combinations that are allowed but probably not intended.
    pub warnings: Vec<Problem>,
    /// Environment variables that are known but have no effect here.
    pub unused_names: Vec<String>,
    /// Every key with its value and origin; prints as TOML, secrets masked.
    pub effective: Effective,
    pub(super) kept: Kept,
}

/// Reads and checks the configuration.
///
/// # Errors
/// All problems of a configuration that is invalid.
pub fn load(sources: &Sources) -> Result<Loaded, Rejected> {
    let schema = schema_of::<Config>();
    let layers = layers_of(&schema, sources);
    check(&schema, layers)
}

/// The layers of `sources` for the keys of `schema`.
pub(super) fn layers_of<'a>(schema: &'a Schema, sources: &Sources) -> Layers<'a> {
    let mut layers = Layers::shipped(schema);
    let named = sources.environment.get(FILE_VARIABLE);
    match (&sources.file, named.filter(|path| !path.is_empty())) {
        (Some(path), _) => layers.add_file(path, "--config"),
        (None, Some(path)) => layers.add_file(Path::new(path), FILE_VARIABLE),
        (None, None) => {}
    }
    layers.add_environment(&sources.environment);
    layers.add_kind_defaults();
    layers
}

/// Reads every key of `layers` and checks the values.
pub(super) fn check(schema: &Schema, layers: Layers<'_>) -> Result<Loaded, Rejected> {
    let mut checker = Checker::new(&layers);
    let mut config = Config::read(&mut checker);
    cross::resolve(&mut config, &mut checker);
    cross::check(&config, &mut checker);
    let Checker {
        problems: found,
        warnings: noticed,
        ..
    } = checker;
    let effective = Effective::of(schema, &layers);
    let kept = layers.keep();
    let Layers {
        mut problems,
        mut warnings,
        borrowed,
        ..
    } = layers;
    problems.extend(found);
    warnings.extend(noticed);
    if !problems.is_empty() {
        return Err(Rejected { problems, warnings });
    }
    Ok(Loaded {
        config,
        warnings,
        unused_names: borrowed.unused,
        effective,
        kept,
    })
}

impl Default for Config {
    /// The shipped configuration.
    fn default() -> Self {
        match load(&Sources::default()) {
            Ok(loaded) => loaded.config,
            Err(rejected) => unreachable!("a test checks the shipped values: {rejected}"),
        }
    }
}
