//! The log of the process: what is said is filtered and written by `env_logger`, whose settings can be replaced.
//!
//! Started by `main`, once. Everybody else says things by the macros of `log`.

use std::sync::OnceLock;

use arc_swap::ArcSwap;
use env_logger::{Builder, Logger};
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::config::LogConfig;

/// The log of this process.
pub struct Logging(ArcSwap<Logger>);

static LOGGING: OnceLock<Logging> = OnceLock::new();

impl Logging {
    /// Starts it.
    ///
    /// # Errors
    /// The process has a log already.
    pub fn start(config: &LogConfig) -> Result<&'static Self, SetLoggerError> {
        let logging = LOGGING.get_or_init(|| Self(ArcSwap::from_pointee(logger(config))));
        log::set_logger(logging)?;
        log::set_max_level(logging.0.load().filter());
        Ok(logging)
    }

    /// From now on these settings count.
    pub fn replace(&self, config: &LogConfig) {
        let logger = logger(config);
        log::set_max_level(logger.filter());
        self.0.store(logger.into());
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
    Builder::new()
        // Says at info level what our own first line says.
        .filter_module("actix_server", LevelFilter::Warn)
        .parse_filters(&config.filter)
        .build()
}
