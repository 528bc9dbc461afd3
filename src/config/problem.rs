//! Problems of a configuration, each with the origin of the value.
//!
//! A problem prevents the start or the reload, a warning does not; both have the same type. Printed by the command line.

use std::fmt;
use std::path::PathBuf;

/// The layer that set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The shipped value.
    Default,
    /// A default that depends on `app.kind`; with its value.
    Kind(&'static str),
    /// The file of the user. The line counts from 1; `None` = the file as a whole.
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

/// A problem or a warning: the key, where its value was set, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} ({}): {message}{}", place(.key, .origin), hint(.did_you_mean.as_deref()))]
pub struct Problem {
    /// Path of the key, such as `engine.ping_interval`; the name as written if the key is unknown.
    pub key: String,
    /// Where the value was set.
    pub origin: Origin,
    /// The reason, to stand after the key and its origin.
    pub message: String,
    /// The name that was probably meant.
    pub did_you_mean: Option<String>,
}

impl Problem {
    /// A problem without a suggestion.
    pub fn new(key: impl Into<String>, origin: Origin, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            origin,
            message: message.into(),
            did_you_mean: None,
        }
    }

    /// The same problem with the name that was probably meant, if there is one.
    pub fn suggesting(self, did_you_mean: Option<String>) -> Self {
        Self {
            did_you_mean,
            ..self
        }
    }
}

/// The origin; `environment` if its name would only repeat the key.
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

/// An invalid configuration: at least one problem, and all warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What makes it invalid.
    pub problems: Vec<Problem>,
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
