//! `[log]`: the log on standard error.

use crate::config::declare::table;
use crate::config::forms::{choice, text};
use crate::config::values;

table! {
    /// The log on standard error.
    pub LogConfig = "log" {
        /// Levels as in `RUST_LOG` (which takes precedence): a level, or `module=level` pairs separated by commas. The
        /// target `roomwire::sessions` logs one line at the end of each session.
        filter: String = "info", text("log filter", values::log_filter), reload;
        /// Format of the lines: `text` for people, `json` (one object per line) for programs.
        format: LogFormat = "text", choice(LOG_FORMATS), reload;
    }
}

/// Format of the lines of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
