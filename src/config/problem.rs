//! What is wrong with a setting, and where that setting came from.
//!
//! Problems stop a node, warnings do not; both are this one type. Made by every other file of
//! this module, printed by the command line.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `default.toml`.
    Default,
    /// What `app.kind` makes the default.
    Kind(&'static str),
    /// The user's file; the line counts from 1 and is absent where no single line is meant.
    File { path: PathBuf, line: Option<usize> },
    /// An environment variable, by name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Kind(kind) => write!(f, "default of app.kind = \"{kind}\""),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// One thing to repair, or to know: the key, where it was set, and what is the matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} ({}): {message}{}", place(.key, .origin), hint(.did_you_mean.as_deref()))]
pub struct Problem {
    /// Path of the key, as `engine.ping_interval`; the name as written where the key is unknown.
    pub key: String,
    /// Where the value was set.
    pub origin: Origin,
    /// What is the matter, for a person.
    pub message: String,
    /// The name that was probably meant.
    pub did_you_mean: Option<String>,
}

impl Problem {
    /// A problem without a likely intended name.
    pub fn new(key: impl Into<String>, origin: Origin, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            origin,
            message: message.into(),
            did_you_mean: None,
        }
    }

    /// The same problem with the name that was probably meant, if one is near.
    pub fn suggesting(self, did_you_mean: Option<String>) -> Self {
        Self {
            did_you_mean,
            ..self
        }
    }
}

/// The origin, unless it repeats the key.
fn place(key: &str, origin: &Origin) -> String {
    match origin {
        Origin::Environment(name) if name == key => "environment".to_owned(),
        origin => origin.to_string(),
    }
}

fn hint(did_you_mean: Option<&str>) -> String {
    did_you_mean
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

/// Everything found in a configuration that cannot be used; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What must be repaired.
    pub problems: Vec<Problem>,
    /// What was noticed besides.
    pub warnings: Vec<Problem>,
}

impl std::error::Error for Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the configuration has {} problem(s)",
            self.problems.len()
        )?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
