//! The `roomwire` binary.

use std::process::ExitCode;
use std::sync::Arc;

use log::{info, warn};
use roomwire::cli::signals::{SignalRequest, Signals};
use roomwire::cli::{self, Cli, CommandLineVerb, WebhookVerb};
use roomwire::config::{Config, Loaded, WebhookUrl};
use roomwire::live::{self, Options, Severity};
use roomwire::logging::{self, Logging};
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::{Reloader, Server, replay_dead_letters};
use roomwire::webhook_check;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a node that received a second signal before its drain was complete.
const CUT_SHORT: i32 = 3;

fn main() -> ExitCode {
    // The allocator requests pages of 2 MiB, of which a node touches many and fills few (ADR 0014). If the kernel
    // rejects the call, the node only uses more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = cli::parse();
    match cli.verb() {
        CommandLineVerb::Serve => serve(&cli),
        CommandLineVerb::Health { ready } => cli::health(&cli, ready),
        CommandLineVerb::Drain { wait } => cli::drain(&cli, wait),
        CommandLineVerb::Token { verb } => cli::token::run(&cli, &verb),
        CommandLineVerb::Check { request, .. } if request.is_given() => {
            cli::rules::explain(&cli, &request)
        }
        CommandLineVerb::Check {
            live, url, idle, ..
        } => check(&cli, live.then_some(Options { url, idle })),
        CommandLineVerb::Api(verb) => cli::request_api(&cli, &verb),
        CommandLineVerb::Openapi => openapi(),
        CommandLineVerb::Webhook { verb } => webhook(&cli, &verb),
        CommandLineVerb::Config {
            from_echo: Some(file),
            ..
        } => cli::convert_echo(&file),
        CommandLineVerb::Config {
            reference, default, ..
        } => cli::print_config(&cli, reference, default),
    }
}

fn openapi() -> ExitCode {
    match roomwire::api::document().to_pretty_json() {
        Ok(document) => {
            cli::print_line(&document);
            ExitCode::SUCCESS
        }
        Err(error) => {
            cli::print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn check(cli: &Cli, live: Option<Options>) -> ExitCode {
    let loaded = match cli::check(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let Some(options) = live else {
        return ExitCode::SUCCESS;
    };
    let looked = live::check(&loaded.config, &options, cli::print_line);
    match actix_rt::System::new().block_on(looked) {
        Severity::Error => ExitCode::FAILURE,
        Severity::Fine | Severity::Warning => ExitCode::SUCCESS,
    }
}

fn webhook(cli: &Cli, verb: &WebhookVerb) -> ExitCode {
    let loaded = match cli::load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = &loaded.config;
    let passed = actix_rt::System::new().block_on(async {
        match verb {
            WebhookVerb::Replay => {
                let replayed = replay_dead_letters(config, cli::print_line).await?;
                anyhow::Ok(replayed.left == 0)
            }
            WebhookVerb::Test { url, all } => test_backend(config, url, *all).await,
        }
    });
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            cli::print_error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the backend passes every check.
async fn test_backend(config: &Config, url: &WebhookUrl, all: bool) -> anyhow::Result<bool> {
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let report = webhook_check::run(config, url, all, &random).await?;
    cli::print_line(webhook_check::render(&report.rows).trim_end());
    if !report.left_out.is_empty() {
        let kinds = report.left_out.join(", ");
        cli::print_line(&format!(
            "not sent, because the configuration does not send it to this URL: {kinds} (--all sends everything)"
        ));
    }
    if config.webhook.signing_secrets.is_empty() {
        cli::print_line("webhook.secrets is empty: requests are not signed");
    }
    Ok(report.rows.iter().all(webhook_check::Row::is_passed))
}

fn serve(cli: &Cli) -> ExitCode {
    // Signals first: the first process of a container ignores a signal that arrives before its handler is installed.
    let system = actix_rt::System::new();
    // Leaks a handle on purpose: each thread of the node holds a handle of the system, and dropping the last one wakes
    // a task. At process exit that would happen while the thread-local variables of a worker are being destroyed, where
    // waking panics and aborts the process.
    std::mem::forget(actix_rt::System::current());
    let signals = match system.block_on(async { Signals::new() }) {
        Ok(signals) => signals,
        Err(error) => {
            cli::print_error(&format!("signals cannot be handled: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = logging::open() {
        cli::print_error(&format!("the log cannot be written: {error}"));
        return ExitCode::FAILURE;
    }
    let code = match cli::read(cli) {
        Ok(loaded) => system.block_on(start(cli, loaded, signals)),
        Err(problems) => {
            logging::report(&problems);
            cli::INVALID.into()
        }
    };
    logging::flush();
    // Dropping the runtime would wait for a hanging name lookup.
    std::process::exit(code)
}

/// Starts the log and runs a node; returns the exit code.
async fn start(cli: &Cli, loaded: Loaded, signals: Signals) -> i32 {
    let logging = match Logging::start(&loaded.config.log) {
        Ok(logging) => logging,
        Err(error) => {
            logging::report(&format!("the log cannot be started: {error}\n"));
            return 1;
        }
    };
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let mut reloader = Reloader::new(cli::sources(cli), loaded, logging);
    let mut signals = signals;
    loop {
        match run(&mut reloader, &mut signals).await {
            Ok(End::Exit(code)) => return code,
            Ok(End::Fenced) => info!("starting again, under another name"),
            Err(error) => {
                log::error!("{error:#}");
                return 1;
            }
        }
    }
}

/// How the run of a node ended.
enum End {
    /// With this exit code.
    Exit(i32),
    /// It lost its name to another node, and must not serve any session that it had.
    Fenced,
}

/// Runs a node from its start to its end.
async fn run(reloader: &mut Reloader, signals: &mut Signals) -> anyhow::Result<End> {
    let server = tokio::select! {
        server = Server::start(reloader.config().clone()) => server?,
        name = signals.end() => {
            info!("shut down by {name} during startup");
            return Ok(End::Exit(0));
        }
    };
    reloader.record_start(&server);
    let mut name_lost = Box::pin(server.name_lost());
    let name_was_lost = loop {
        tokio::select! {
            request = signals.next() => match request {
                SignalRequest::ShutDown(name) => {
                    info!("shutting down: received {name}");
                    break false;
                }
                SignalRequest::Reload => reloader.reload(&server),
            },
            () = server.drain_requested() => {
                info!("shutting down: received POST /drain");
                break false;
            }
            () = &mut name_lost => break true,
        }
    };
    drop(name_lost);
    let mut ended = Box::pin(async move {
        if !name_was_lost {
            server.drain().await;
        }
        server.stop().await;
    });
    loop {
        tokio::select! {
            () = &mut ended => break,
            request = signals.next() => match request {
                SignalRequest::ShutDown(name) => {
                    warn!("received a second signal, {name}: shutting down at once");
                    return Ok(End::Exit(CUT_SHORT));
                }
                SignalRequest::Reload => warn!("configuration not reloaded: this node is shutting down"),
            },
        }
    }
    Ok(match name_was_lost {
        true => End::Fenced,
        false => End::Exit(0),
    })
}
