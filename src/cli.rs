//! The command line: `roomwire [--config FILE] [serve|check|config|health|drain|token|webhook|openapi|VERB|help]`,
//! where VERB is one of the API.
//!
//! Parses the arguments and runs the verbs that concern the configuration or a running node; `serve` is run by `main`.
//! Results go to standard output, problems to standard error.

mod api;
mod connection;
mod exchange;
mod from_echo;
mod request;
pub mod rules;
pub mod signals;
pub mod token;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use url::Url;

pub use api::{ApiVerb, request_api};

use crate::config::{self, Loaded, Problem, Sources, WebhookUrl};
use token::TokenVerb;

/// Exit code for an invalid configuration; clap uses the same for invalid arguments.
pub const INVALID: u8 = 2;

/// A stand-alone, clustered Socket.IO server.
#[derive(Debug, Clone, Parser)]
#[command(name = "roomwire", version)]
pub struct Cli {
    /// File with the settings that differ from the shipped ones; ROOMWIRE_CONFIG if absent
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<CommandLineVerb>,
}

/// The command to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Subcommand)]
pub enum CommandLineVerb {
    /// Run a node (the default)
    #[default]
    Serve,
    /// Check the configuration: report every problem and warning, exit with 2 if there is a problem
    Check {
        /// Also check Redis and this machine; exit with 1 if a node could not work there
        #[arg(long)]
        live: bool,
        /// With --live: the URL that clients use, as https://host/; opens a connection there and keeps it open
        #[arg(long, value_name = "URL", requires = "live", value_parser = request::parse_url)]
        url: Option<Url>,
        /// With --url: how long the connection is kept open, as 70s; longer than the idle timeouts to check
        #[arg(
            long,
            value_name = "TIME",
            default_value = "5s",
            requires = "url",
            value_parser = humantime::parse_duration
        )]
        idle: Duration,
        #[command(flatten)]
        request: rules::RoomCheck,
    },
    /// Check whether the node of this configuration is alive: exit with 0 if it is, otherwise with 1
    Health {
        /// Check instead whether the node is ready for clients
        #[arg(long)]
        ready: bool,
    },
    /// Drain the node of this configuration: it accepts no new clients, closes its sessions gradually, and exits;
    /// requires `server.internal_bind`
    Drain {
        /// Wait until the node has exited
        #[arg(long)]
        wait: bool,
    },
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Issue and check tokens of clients (docs/auth.md)
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Work with the HTTP backends of the configuration
    Webhook {
        #[command(subcommand)]
        verb: WebhookVerb,
    },
    #[command(flatten)]
    Api(Box<ApiVerb>),
    /// Print the effective configuration as TOML, with the origin of each value, passwords masked
    Config {
        /// Print the reference of all keys as Markdown instead
        #[arg(long)]
        reference: bool,
        /// Print the file with all keys and their shipped values instead
        #[arg(long, conflicts_with = "reference")]
        default: bool,
        /// Convert instead the configuration of laravel-echo-server in this file, and its environment variables, to a
        /// file of Roomwire
        #[arg(long, value_name = "FILE", conflicts_with_all = ["reference", "default"])]
        from_echo: Option<PathBuf>,
    },
}

/// A command about webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum WebhookVerb {
    /// Send the dead letters of the cluster again, in order, and remove those that are accepted; exit with 1 if some
    /// are left
    Replay,
    /// Send a backend the kinds of requests that the configuration sends to its URL, signed with the configured secrets,
    /// with a wrong signature and unsigned, and check its responses; exit with 1 if one is wrong. Every kind is sent if
    /// the configuration does not contain the URL
    Test {
        /// Send every kind of request
        #[arg(long)]
        all: bool,
        /// The backend, as http://host:port/path
        #[arg(value_name = "URL", value_parser = WebhookUrl::parse)]
        url: WebhookUrl,
    },
}

impl Cli {
    /// The chosen verb; `serve` where none is given.
    pub fn verb(&self) -> CommandLineVerb {
        self.verb.clone().unwrap_or_default()
    }
}

/// Parses the arguments of the process. Exits the process on `--help`, `--version` and invalid arguments.
pub fn parse() -> Cli {
    Cli::parse()
}

/// The sources of the configuration of this process.
pub fn sources(cli: &Cli) -> Sources {
    Sources::of_process(cli.config.clone())
}

/// Loads the configuration.
///
/// # Errors
/// All problems and warnings, one per line, if the configuration is invalid.
pub fn read(cli: &Cli) -> Result<Loaded, String> {
    config::load(&sources(cli)).map_err(|rejected| findings(&rejected.problems, &rejected.warnings))
}

/// Loads the configuration.
///
/// # Errors
/// The exit code if the configuration is invalid. All problems and warnings have been printed.
pub fn load(cli: &Cli) -> Result<Loaded, ExitCode> {
    read(cli).map_err(|lines| {
        print(io::stderr(), &lines);
        ExitCode::from(INVALID)
    })
}

/// `roomwire check`. Returns the configuration, for further checks.
///
/// # Errors
/// The exit code if the configuration is invalid. All problems have been printed.
pub fn check(cli: &Cli) -> Result<Loaded, ExitCode> {
    let loaded = load(cli)?;
    let mut lines = findings(&[], &loaded.warnings);
    if !loaded.unused_names.is_empty() {
        let names = loaded.unused_names.join(", ");
        lines.push_str(&format!("known names without effect here: {names}\n"));
    }
    lines.push_str("configuration is fine\n");
    print(io::stdout(), &lines);
    Ok(loaded)
}

/// Prints a line to standard output and flushes it.
pub fn print_line(line: &str) {
    print(io::stdout(), &format!("{line}\n"));
}

/// `roomwire health`
pub fn health(cli: &Cli, ready: bool) -> ExitCode {
    let loaded = match load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let path = if ready { "/readyz" } else { "/livez" };
    let response = request::get(&loaded.config.server, path);
    match response {
        Ok(response) if response.status == 200 => {
            print(io::stdout(), &response.body);
            ExitCode::SUCCESS
        }
        Ok(response) => {
            print_error(&format!("{path}: {response}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// `roomwire drain`
pub fn drain(cli: &Cli, wait: bool) -> ExitCode {
    let loaded = match load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = &loaded.config;
    let drained = request::drain(&config.server).and_then(|at| {
        if wait {
            request::wait_for_exit(&at, config.drain.timeout)
        } else {
            Ok("draining".to_owned())
        }
    });
    match drained {
        Ok(line) => {
            print_line(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints a problem to standard error.
pub fn print_error(problem: &str) {
    print(io::stderr(), &format!("{problem}\n"));
}

/// `roomwire config`
pub fn print_config(cli: &Cli, reference: bool, default: bool) -> ExitCode {
    let text = match (reference, default) {
        (true, _) => config::reference(),
        (_, true) => config::default_file(),
        _ => match load(cli) {
            Ok(loaded) => loaded.effective.to_string(),
            Err(code) => return code,
        },
    };
    print(io::stdout(), &text);
    ExitCode::SUCCESS
}

/// `roomwire config --from-echo`
pub fn convert_echo(file: &std::path::Path) -> ExitCode {
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let variable = |name: &str| std::env::var(name).ok();
    match read.and_then(|json| from_echo::convert(&json, variable)) {
        Ok(text) => {
            print(io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&format!("{}: {error}", file.display()));
            ExitCode::from(INVALID)
        }
    }
}

fn findings(problems: &[Problem], warnings: &[Problem]) -> String {
    let problems = problems.iter().map(|problem| format!("error: {problem}\n"));
    let warnings = warnings
        .iter()
        .map(|warning| format!("warning: {warning}\n"));
    problems.chain(warnings).collect()
}

/// Errors are ignored: the reader may have exited, as in `roomwire config | head`.
fn print(mut stream: impl Write, text: &str) {
    let _ignored = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn verb(arguments: &[&str]) -> CommandLineVerb {
        Cli::try_parse_from([&["roomwire"], arguments].concat())
            .unwrap()
            .verb()
    }

    #[test]
    fn serve_is_the_default_verb() {
        Cli::command().debug_assert();
        assert_eq!(verb(&[]), CommandLineVerb::Serve);
        assert_eq!(verb(&["--config", "x.toml"]), CommandLineVerb::Serve);
        let idle = Duration::from_secs(5);
        let (live, url) = (false, None);
        assert_eq!(
            verb(&["check", "--config", "x.toml"]),
            CommandLineVerb::Check {
                live,
                url,
                idle,
                request: Default::default()
            }
        );
        let idle = Duration::from_secs(70);
        let (live, url) = (true, "https://host/".parse().ok());
        assert_eq!(
            verb(&["check", "--live", "--url", "https://host/", "--idle", "70s"]),
            CommandLineVerb::Check {
                live,
                url,
                idle,
                request: Default::default()
            }
        );
        assert!(Cli::try_parse_from(["roomwire", "check", "--url", "https://host/"]).is_err());
        let (reference, default, from_echo) = (false, false, None);
        assert_eq!(
            verb(&["config"]),
            CommandLineVerb::Config {
                reference,
                default,
                from_echo
            }
        );
        assert!(
            Cli::try_parse_from(["roomwire", "config", "--default", "--from-echo", "x"]).is_err()
        );
        assert!(Cli::try_parse_from(["roomwire", "sevre"]).is_err());
        let url = WebhookUrl::parse("http://host/hook").unwrap();
        let test = CommandLineVerb::Webhook {
            verb: WebhookVerb::Test { url, all: false },
        };
        assert_eq!(verb(&["webhook", "test", "http://host/hook"]), test);
        for arguments in [&["webhook"][..], &["webhook", "test", "host"]] {
            let all = [&["roomwire"], arguments].concat();
            assert!(Cli::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn a_public_url_needs_its_scheme() {
        for text in ["https://host/", "http://host:8080", "wss://host/path"] {
            assert!(request::parse_url(text).is_ok(), "{text}");
        }
        for text in ["example.org", "example.org:443", "localhost:8080/path"] {
            let error = request::parse_url(text).unwrap_err();
            assert!(error.contains(&format!("https://{text}")), "{error}");
        }
        assert!(request::parse_url("https://").is_err());
    }
}
