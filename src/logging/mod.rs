//! The log of the process. `env_logger` filters the records, `line` formats them, and `output` writes the lines to
//! standard error without blocking the threads that log. Filter and format can change while the node runs.
//!
//! Started once, by `main`. All other modules use the macros of `log`, in one style: a message in lower case, and
//! variable parts in fields, as in `info!(sid = …, reason = …; "session closed")`. Data from clients appears only in
//! fields, where no character can start a line or another field. Ids of sockets appear by their `log_name`, and names
//! that may contain them, of rooms and channels, shortened (`model::shorten_ids`).

mod burst;
mod line;
mod output;

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use env_logger::{Builder, Logger, Target, WriteStyle};
use humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::{LogConfig, LogFormat};
use crate::metrics::Metrics;
pub use burst::Burst;
pub use line::{Json, Text};
use output::Output;

/// Time limit for writing the remaining lines at process exit or after a panic: standard error may be blocked.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Libraries that log every error of a client, so that a client could flood the log.
const PER_CLIENT: [&str; 2] = ["actix_http", "rustls"];

/// The log of this process.
pub struct Logging(ArcSwap<Logger>);

static LOGGING: OnceLock<Logging> = OnceLock::new();
static OUTPUT: Output = Output::new();
/// The name of this node, in every line of JSON: the logs of several nodes are usually collected in one place.
static NODE: OnceLock<String> = OnceLock::new();

/// Starts the thread that writes to standard error. From then on [`report`] works, even before the log is started.
///
/// # Errors
/// Standard error is closed, or the thread cannot be started.
pub fn open() -> io::Result<()> {
    // A separate descriptor, so that a blocked write does not hold the lock of `std::io::stderr`.
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let writer = std::thread::Builder::new().name("log".to_owned());
    writer.spawn(move || {
        OUTPUT.run(std::fs::File::from(stderr), |lines| {
            log::warn!(lines; "lines of the log were dropped: standard error was not read in time, or could not be written");
        })
    })?;
    Ok(())
}

/// Writes lines as they are, without the format of the log.
pub fn report(lines: &str) {
    OUTPUT.push(lines.as_bytes());
}

/// Waits until all lines are written, for at most one second. Called last before the process exits.
pub fn flush() {
    OUTPUT.flush(FLUSH_TIME);
}

impl Logging {
    /// Starts the log. [`open`] must be called first.
    ///
    /// # Errors
    /// The process has a log already.
    pub fn start(config: &LogConfig) -> Result<&'static Self, log::SetLoggerError> {
        let logging = LOGGING.get_or_init(|| Self(ArcSwap::from_pointee(logger(config))));
        log::set_logger(logging)?;
        log::set_max_level(logging.0.load().filter());
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let place = place.unwrap_or_default();
            let what = panic.payload_as_str().unwrap_or_default();
            log::error!(place, what; "internal error: task panicked");
            flush();
        }));
        Ok(logging)
    }

    /// Replaces filter and format.
    pub fn replace(&self, config: &LogConfig) {
        let logger = logger(config);
        log::set_max_level(logger.filter());
        self.0.store(logger.into());
    }

    /// Sets the name of the node, once it is known, and the metrics in which dropped lines are counted.
    pub fn set_node(&self, node: &str, metrics: &Arc<Metrics>) {
        NODE.get_or_init(|| node.to_owned());
        OUTPUT.count_in(Arc::clone(metrics));
    }
}

impl Log for Logging {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.0.load();
        if logger.matches(record) && !repeats(record) {
            logger.log(record);
        }
    }

    fn flush(&self) {
        flush();
    }
}

/// Whether the record is an error of a client that a library logs again within a burst.
fn repeats(record: &Record<'_>) -> bool {
    static BURSTS: [Burst; PER_CLIENT.len()] = [const { Burst::new() }; PER_CLIENT.len()];
    let library = record.target().split("::").next();
    let burst = PER_CLIENT.iter().zip(&BURSTS);
    record.level() <= Level::Warn
        && burst
            .filter(|(name, _)| Some(**name) == library)
            .any(|(_, burst)| burst.note().is_none())
}

/// The target of `env_logger`: each write is a whole line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        OUTPUT.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logger(config: &LogConfig) -> Logger {
    let mut builder = Builder::new();
    // The colours that `env_logger` would choose for standard error, where the lines end up.
    let style: WriteStyle = anstream::AutoStream::choice(&io::stderr()).into();
    builder
        .target(Target::Pipe(Box::new(Lines)))
        .write_style(style)
        // Its lines at info level repeat the first line of the node.
        .filter_module("actix_server", LevelFilter::Warn)
        .parse_filters(&config.filter);
    match config.format {
        LogFormat::Text => builder.format(|buffer, record| {
            let (level, style) = (record.level(), buffer.default_level_style(record.level()));
            let (time, target) = (format_rfc3339_seconds(SystemTime::now()), record.target());
            let line = Text(record);
            writeln!(
                buffer,
                "[{time} {style}{level:<5}{style:#} {target}] {line}"
            )
        }),
        LogFormat::Json => builder.format(|buffer, record| {
            let time = format_rfc3339_millis(SystemTime::now());
            let node = NODE.get().map(String::as_str);
            writeln!(buffer, "{}", Json { time, node, record })
        }),
    };
    builder.build()
}

/// A time in seconds, rounded to tenths, for a field.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
