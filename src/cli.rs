//! The command line: `roomwire [--config FILE] [serve|check|config|health|help]`.
//!
//! Reads the arguments and carries out the verbs that concern the configuration or ask a node under way;
//! `serve` is the business of `main`. Answers go to standard output, problems to standard error.

mod ask;
pub mod signals;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use url::Url;

use crate::config::{self, Loaded, Problem, Sources};

/// Exit code of a configuration that cannot be used; clap's own for wrong arguments.
pub const REFUSED: u8 = 2;

/// A stand-alone, clustered Socket.IO server.
#[derive(Debug, Clone, Parser)]
#[command(name = "roomwire", version)]
pub struct Cli {
    /// File with the settings that differ from the shipped ones; ROOMWIRE_CONFIG where absent
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Subcommand)]
pub enum Verb {
    /// Run a node (the default)
    #[default]
    Serve,
    /// Check the configuration: report every problem and warning, end with 2 if there is a problem
    Check {
        /// Look at Redis and this machine too: end with 1 if a node could not work there
        #[arg(long)]
        live: bool,
        /// With --live: where clients reach the nodes, as https://host/; opens and holds a connection there
        #[arg(long, value_name = "URL", requires = "live", value_parser = public_url)]
        url: Option<Url>,
        /// With --url: how long the connection is held, as 70s; longer than the idle timeouts in question
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
        idle: Duration,
    },
    /// Ask the node of this configuration whether it is alive: end with 0 if it is, else with 1
    Health {
        /// Ask whether clients should be sent to it
        #[arg(long)]
        ready: bool,
    },
    /// Have the node of this configuration take no new clients, send those it has elsewhere, and end; needs
    /// `server.internal_bind`
    Drain {
        /// Wait until it is gone
        #[arg(long)]
        wait: bool,
    },
    /// Print the configuration in force as TOML, with the origin of each value, passwords masked
    Config {
        /// Print the reference of all keys as Markdown instead
        #[arg(long)]
        reference: bool,
        /// Print the file with all keys and their shipped values instead
        #[arg(long, conflicts_with = "reference")]
        default: bool,
    },
}

impl Cli {
    /// The chosen verb; `serve` where none is given.
    pub fn verb(&self) -> Verb {
        self.verb.clone().unwrap_or_default()
    }
}

/// The URL that clients open.
fn public_url(text: &str) -> Result<Url, String> {
    // `host:443` would be a URL of the scheme `host`.
    if !text.contains("://") {
        return Err(format!(
            "it needs a scheme: https://{text} or http://{text}"
        ));
    }
    Url::parse(text).map_err(|error| error.to_string())
}

/// Reads the arguments of the process; prints and exits by itself on `--help`, `--version` and mistakes.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Where the configuration of this process comes from.
pub fn sources(cli: &Cli) -> Sources {
    Sources::of_process(cli.config.clone())
}

/// Loads the configuration.
///
/// # Errors
/// All problems and warnings, one per line, if the configuration cannot be used.
pub fn read(cli: &Cli) -> Result<Loaded, String> {
    config::load(&sources(cli)).map_err(|rejected| findings(&rejected.problems, &rejected.warnings))
}

/// Loads the configuration; prints all problems and warnings and gives the exit code if it cannot be used.
pub fn load(cli: &Cli) -> Result<Loaded, ExitCode> {
    read(cli).map_err(|lines| {
        print(io::stderr(), &lines);
        ExitCode::from(REFUSED)
    })
}

/// `roomwire check`; gives what was checked, for those that look further.
///
/// # Errors
/// The configuration cannot be used; all problems are printed.
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

/// Prints a line at once.
pub fn say(line: &str) {
    print(io::stdout(), &format!("{line}\n"));
}

/// `roomwire health`
pub fn health(cli: &Cli, ready: bool) -> ExitCode {
    let loaded = match load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let path = if ready { "/readyz" } else { "/livez" };
    let answer = ask::address(&loaded.config.server).and_then(|at| ask::ask(&at, "GET", path));
    match answer {
        Ok(answer) if answer.status == 200 => {
            print(io::stdout(), &answer.body);
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            complain(&format!("{path}: {answer}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error);
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
    let drained = ask::drain(&config.server).and_then(|at| {
        if wait {
            ask::wait_for_end(&at, config.drain.timeout)
        } else {
            Ok("draining".to_owned())
        }
    });
    match drained {
        Ok(said) => {
            print(io::stdout(), &format!("{said}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong, on standard error.
pub fn complain(problem: &str) {
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

fn findings(problems: &[Problem], warnings: &[Problem]) -> String {
    let problems = problems.iter().map(|problem| format!("error: {problem}\n"));
    let warnings = warnings
        .iter()
        .map(|warning| format!("warning: {warning}\n"));
    problems.chain(warnings).collect()
}

/// A reader that went away (`roomwire config | head`) is no failure of ours.
fn print(mut stream: impl Write, text: &str) {
    let _gone = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn verb(arguments: &[&str]) -> Verb {
        Cli::try_parse_from([&["roomwire"], arguments].concat())
            .unwrap()
            .verb()
    }

    #[test]
    fn serve_is_the_default_verb() {
        Cli::command().debug_assert();
        assert_eq!(verb(&[]), Verb::Serve);
        assert_eq!(verb(&["--config", "x.toml"]), Verb::Serve);
        let idle = Duration::from_secs(5);
        let (live, url) = (false, None);
        assert_eq!(
            verb(&["check", "--config", "x.toml"]),
            Verb::Check { live, url, idle }
        );
        let idle = Duration::from_secs(70);
        let (live, url) = (true, "https://host/".parse().ok());
        assert_eq!(
            verb(&["check", "--live", "--url", "https://host/", "--idle", "70s"]),
            Verb::Check { live, url, idle }
        );
        assert!(Cli::try_parse_from(["roomwire", "check", "--url", "https://host/"]).is_err());
        let (reference, default) = (false, false);
        assert_eq!(verb(&["config"]), Verb::Config { reference, default });
        assert!(Cli::try_parse_from(["roomwire", "sevre"]).is_err());
    }

    #[test]
    fn a_public_url_needs_its_scheme() {
        for text in ["https://host/", "http://host:8080", "wss://host/path"] {
            assert!(public_url(text).is_ok(), "{text}");
        }
        for text in ["example.org", "example.org:443", "localhost:8080/path"] {
            let refused = public_url(text).unwrap_err();
            assert!(refused.contains(&format!("https://{text}")), "{refused}");
        }
        assert!(public_url("https://").is_err());
    }
}
