//! The log of the process: `env_logger` decides what is said, we how it looks; both can change while the node runs.
//!
//! Started by `main`, once. Everybody else says things by the macros of `log`, in one style: a message in small
//! letters, and what varies in fields, `info!(sid = …, reason = …; "session closed")`. What a client sent stands in
//! fields only, where no character of it can begin a line or another field.

mod burst;
mod line;

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use arc_swap::ArcSwap;
use env_logger::{Builder, Logger};
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::config::{LogConfig, LogFormat};
pub use burst::Burst;
pub use line::{Json, Text};

/// The log of this process.
pub struct Logging(ArcSwap<Logger>);

static LOGGING: OnceLock<Logging> = OnceLock::new();
/// The name of this node, in every line of JSON: those of several nodes meet in one place.
static NODE: OnceLock<String> = OnceLock::new();

impl Logging {
    /// Starts it.
    ///
    /// # Errors
    /// The process has a log already.
    pub fn start(config: &LogConfig) -> Result<&'static Self, SetLoggerError> {
        let logging = LOGGING.get_or_init(|| Self(ArcSwap::from_pointee(logger(config))));
        log::set_logger(logging)?;
        log::set_max_level(logging.0.load().filter());
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let place = place.unwrap_or_default();
            let what = panic.payload_as_str().unwrap_or_default();
            log::error!(place, what; "a part of the program failed, which is a bug");
        }));
        Ok(logging)
    }

    /// From now on these settings count.
    pub fn replace(&self, config: &LogConfig) {
        let logger = logger(config);
        log::set_max_level(logger.filter());
        self.0.store(logger.into());
    }

    /// Says whose log this is, once that is known.
    pub fn tell_node(&self, node: &str) {
        NODE.get_or_init(|| node.to_owned());
    }
}

impl Log for Logging {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.0.load().log(record);
    }

    fn flush(&self) {
        self.0.load().flush();
    }
}

fn logger(config: &LogConfig) -> Logger {
    let mut builder = Builder::new();
    builder
        // Says at info level what our own first line says.
        .filter_module("actix_server", LevelFilter::Warn)
        .parse_filters(&config.filter);
    match config.format {
        LogFormat::Text => builder.format(|buffer, record| {
            let (level, style) = (record.level(), buffer.default_level_style(record.level()));
            let (time, target) = (buffer.timestamp_seconds(), record.target());
            let line = Text(record);
            writeln!(
                buffer,
                "[{time} {style}{level:<5}{style:#} {target}] {line}"
            )
        }),
        LogFormat::Json => builder.format(|buffer, record| {
            let time = buffer.timestamp_millis();
            let node = NODE.get().map(String::as_str);
            writeln!(buffer, "{}", Json { time, node, record })
        }),
    };
    builder.build()
}

/// A time in seconds to a tenth, for a field.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
