//! The `roomwire` binary.

use std::process::ExitCode;

use log::{info, warn};
use roomwire::cli::{self, Cli, Verb};
use roomwire::config::Config;
use roomwire::live::{self, Options, Severity};
use roomwire::server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a node that was told a second time to end, before it was empty.
const CUT_SHORT: i32 = 3;

fn main() -> ExitCode {
    let cli = cli::parse();
    match cli.verb() {
        Verb::Serve => serve(&cli),
        Verb::Health { ready } => cli::health(&cli, ready),
        Verb::Drain { wait } => cli::drain(&cli, wait),
        Verb::Check { live, url, idle } => check(&cli, live.then_some(Options { url, idle })),
        Verb::Config { reference } => cli::print_config(&cli, reference),
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
    let looked = live::check(&loaded.config, &options, cli::say);
    match actix_rt::System::new().block_on(looked) {
        Severity::Error => ExitCode::FAILURE,
        Severity::Fine | Severity::Warning => ExitCode::SUCCESS,
    }
}

fn serve(cli: &Cli) -> ExitCode {
    // Signals first: as the first process of a container we would miss one that comes before its handler.
    let system = actix_rt::System::new();
    let signals = match system.block_on(async { EndSignals::new() }) {
        Ok(signals) => signals,
        Err(error) => {
            cli::complain(&format!("signals cannot be handled: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let loaded = match cli::load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    env_logger::Builder::new()
        // Says at info level what our own first line says.
        .filter_module("actix_server", log::LevelFilter::Warn)
        .parse_filters(&loaded.config.log.filter)
        .init();
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let code = match system.block_on(run(loaded.config, signals)) {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error:#}");
            1
        }
    };
    // The runtime would wait for a name look-up that hangs.
    std::process::exit(code)
}

/// Runs a node from its start to its end; its exit code.
async fn run(config: Config, mut signals: EndSignals) -> anyhow::Result<i32> {
    let server = tokio::select! {
        server = Server::start(config) => server?,
        name = signals.next() => {
            info!("ended by {name} while starting");
            return Ok(0);
        }
    };
    let name_lost = tokio::select! {
        name = signals.next() => {
            info!("told to end by {name}");
            false
        }
        () = server.drain_wanted() => {
            info!("told to end by POST /drain");
            false
        }
        () = server.name_lost() => true,
    };
    tokio::select! {
        () = server.drain() => {}
        name = signals.next() => {
            warn!("told a second time by {name}: ending at once");
            return Ok(CUT_SHORT);
        }
    }
    server.stop().await;
    anyhow::ensure!(!name_lost, "the name of this node was lost");
    Ok(0)
}

/// The signals that end a node.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them; its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
