//! Reads the configuration again while the node runs, and puts in force what can be.
//!
//! Which keys act at once is said by `config::reload`; here is how. Called by `main` at `SIGHUP`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{error, info, warn};

use super::Server;
use crate::config::{
    self, Config, DrainConfig, Loaded, Rejected, RelayConfig, Reload, Reloadable, Sources,
};
use crate::metrics::Metrics;
use crate::metrics::labels::ReloadResult;
use crate::transport::edge::Access;

/// The parts of the configuration that are read where they matter, each time anew.
pub(super) struct ReloadableParts {
    pub(super) access: Arc<Reloadable<Access>>,
    pub(super) rules: Arc<Reloadable<RelayConfig>>,
    pub(super) drain: Arc<Reloadable<DrainConfig>>,
}

impl ReloadableParts {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            access: Reloadable::new(Access::new(&config.cors, &config.server)),
            rules: Reloadable::new(config.app.relay.clone()),
            drain: Reloadable::new(config.drain.clone()),
        }
    }

    fn replace(&self, config: &Config) {
        self.access
            .replace(Access::new(&config.cors, &config.server));
        self.rules.replace(config.app.relay.clone());
        self.drain.replace(config.drain.clone());
    }
}

/// Puts in force what a running node can take over of `config`.
pub(super) fn apply(server: &Server, config: &Config) {
    server.limits().replace(&config.limits);
    server.blueprint.reloadable.replace(config);
    let files = config.server.tls.clone();
    if let Some((identity, files)) = server.tls().zip(files) {
        identity.move_to(files);
        // What came of it is logged and counted.
        let _ = identity.reload();
    }
}

/// Where the configuration of a node comes from, and what of it is in force.
pub struct Reloader {
    sources: Sources,
    running: Loaded,
}

impl Reloader {
    /// For a node that was started with `running`, just read from `sources`.
    pub fn new(sources: Sources, running: Loaded) -> Self {
        Self { sources, running }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// Notes on a node that starts when its configuration was read.
    pub fn note_start(&self, server: &Server) {
        note_loaded(&server.metrics);
    }

    /// Reads everything again. What cannot be used changes nothing; else what can be taken over is in force at the
    /// return. Either is logged and counted.
    pub fn reload(&mut self, server: &Server) {
        let result = match config::reload(&self.running, &self.sources) {
            Ok(reload) => self.take_over(reload, server),
            Err(rejected) => {
                say_refused(&rejected);
                ReloadResult::Refused
            }
        };
        server.metrics.config_reloads_total.of(result).increment();
    }

    fn take_over(&mut self, reload: Reload, server: &Server) -> ReloadResult {
        let Reload { loaded, changes } = reload;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        // Also with the same settings: the files of a certificate may hold another one.
        apply(server, &loaded.config);
        self.running = loaded;
        note_loaded(&server.metrics);
        let waiting = changes.iter().filter(|change| !change.at_once).count();
        server.metrics.config_restart_pending.set(waiting as i64);
        for change in &changes {
            info!("setting changed {change}");
        }
        if changes.is_empty() {
            info!("configuration reloaded, nothing changed");
            return ReloadResult::Unchanged;
        }
        info!(
            "configuration reloaded changed={} waiting={waiting}",
            changes.len()
        );
        ReloadResult::Applied
    }
}

fn say_refused(rejected: &Rejected) {
    for problem in &rejected.problems {
        error!("configuration refused {problem}");
    }
    error!(
        "configuration not reloaded, the old one stays in force problems={}",
        rejected.problems.len()
    );
}

fn note_loaded(metrics: &Metrics) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    metrics
        .config_loaded_timestamp_seconds
        .set(now.as_secs() as i64);
}
