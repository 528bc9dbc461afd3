//! The configuration: `default.toml` < the user's file < the environment, checked as a whole.
//!
//! [`load`] lays the layers over each other (`layers`), fills `settings`, the mirror of the
//! file, and makes a [`Config`] of checked types (`check`). All problems are reported at once,
//! each with its key and origin. [`reload`] does it again for a node that runs. The environment is passed in as a value. Called by the command
//! line; everybody else gets a section of [`Config`]. Knows no socket, clock or actor.

mod check;
mod checked;
mod cross;
mod effective;
mod environment;
mod layers;
mod net;
mod open_webui;
mod outline;
mod pattern;
mod problem;
mod redis_url;
mod reference;
mod reload;
mod schema;
mod settings;
mod units;
mod upstream_url;
mod values;

use std::path::PathBuf;

pub use checked::{
    AppConfig, AppKind, BusConfig, Config, CorsConfig, DrainConfig, DrainRate, EngineConfig,
    HttpTimeouts, JoinPolicy, LimitsConfig, LogConfig, LogFormat, OpenWebuiConfig, PublicProbes,
    PublishPolicy, RelayConfig, RoomRule, ServerConfig, SocketConfig, Transports, UpstreamConfig,
    UpstreamConnect, WhenLost,
};
pub use effective::Effective;
pub use layers::Environment;
pub use net::{BindAddress, IpRange, Secret, SecretUrl};
pub use pattern::{OriginRule, Pattern};
pub use problem::{Origin, Problem, Rejected};
pub use reference::reference;
pub use reload::{Change, Reload, Reloadable, reload};
pub use upstream_url::UpstreamUrl;

use check::Checker;
use layers::{Kept, Layers};
use schema::Schema;

/// Where to look for the user's settings.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The user's file, as given on the command line; else `ROOMWIRE_CONFIG` of the environment names it.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
}

impl Sources {
    /// The environment of this process; what is not Unicode is kept with replacement characters.
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
    /// What a person should know, though the node runs.
    pub warnings: Vec<Problem>,
    /// Names of the environment that are known but have no effect here.
    pub unused_names: Vec<String>,
    /// Every key with its value and origin; prints as TOML, secrets masked.
    pub effective: Effective,
    kept: Kept,
}

/// Reads and checks everything; on refusal, says all that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, Rejected> {
    let schema = Schema::shipped().map_err(broken)?;
    let mut layers = Layers::shipped(&schema);
    let named = sources
        .environment
        .get("ROOMWIRE_CONFIG")
        .filter(|path| !path.is_empty());
    if let Some(path) = sources.file.clone().or_else(|| named.map(PathBuf::from)) {
        layers.add_file(&path);
    }
    layers.add_environment(&sources.environment);
    layers.add_kind_defaults();
    judge(&schema, layers)
}

/// A problem that makes all others void.
fn broken(problem: Problem) -> Rejected {
    Rejected {
        problems: vec![problem],
        warnings: Vec::new(),
    }
}

/// Checks what the layers amount to.
fn judge(schema: &Schema, layers: Layers<'_>) -> Result<Loaded, Rejected> {
    let settings = layers.settings().map_err(broken)?;
    let mut checker = Checker::new(&layers);
    let config = check::check(&settings, &mut checker);
    let Checker {
        problems: checked,
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
    problems.extend(checked);
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
            Err(rejected) => unreachable!("the embedded defaults, checked by a test: {rejected}"),
        }
    }
}

#[cfg(test)]
mod tests;
