//! The `roomwire` binary.

use std::process::ExitCode;

use roomwire::cli::{self, Cli, Verb};
use roomwire::config::Config;
use roomwire::server::Server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::parse();
    match cli.verb() {
        Verb::Serve => serve(&cli),
        Verb::Health { ready } => cli::health(&cli, ready),
        Verb::Check => cli::check(&cli),
        Verb::Config { reference } => cli::print_config(&cli, reference),
    }
}

fn serve(cli: &Cli) -> ExitCode {
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
        log::warn!("{warning}");
    }
    match actix_rt::System::new().block_on(run(loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let server = Server::start(config).await?;
    let name_lost = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = server.drain_wanted() => false,
        () = server.name_lost() => true,
    };
    server.stop().await;
    anyhow::ensure!(!name_lost, "the name of this node was lost");
    Ok(())
}
