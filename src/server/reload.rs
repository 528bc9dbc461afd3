//! Reads the configuration again while the node runs, and puts in force what can be.
//!
//! Which keys act at once is said by `config::reload`; here is how. Called by `main` at `SIGHUP`.

use std::time::{SystemTime, UNIX_EPOCH};

use log::{error, info, warn};

use super::Server;
use super::worker::outbox_memory;
use crate::config::{self, Change, Config, Loaded, Problem, Rejected, Reload, Sources};
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::metrics::labels::ReloadResult;

/// Puts in force what a running node can take over of `config`.
pub(super) fn apply(server: &Server, config: &Config) {
    server.limits().replace(&config.limits);
    let memory = outbox_memory(config);
    server.blueprint.outbox_memory.set_limit(memory);
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
    logging: &'static Logging,
}

impl Reloader {
    /// For a node that was started with `running`, just read from `sources`.
    pub fn new(sources: Sources, running: Loaded, logging: &'static Logging) -> Self {
        Self {
            sources,
            running,
            logging,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// Notes of a node that has started who it is, and that it runs with what was read.
    pub fn note_start(&self, server: &Server) {
        self.logging.set_node(server.node.as_str(), &server.metrics);
        note_loaded(&server.metrics);
    }

    /// Reads everything again. What cannot be used changes nothing; else what can be taken over is in force at the
    /// return. Either is logged and counted.
    pub fn reload(&mut self, server: &Server) {
        let reloads = &server.metrics.config_reloads_total;
        match config::reload(&self.running, &self.sources) {
            Ok(reload) => {
                let Reload { loaded, changes } = reload;
                let result = if changes.is_empty() {
                    ReloadResult::Unchanged
                } else {
                    ReloadResult::Applied
                };
                // Also with the same settings: the files of a certificate may hold another one.
                apply(server, &loaded.config);
                self.running = loaded;
                reloads.of(result).increment();
                note_loaded(&server.metrics);
                self.say_taken_over(server, &changes);
            }
            Err(rejected) => {
                reloads.of(ReloadResult::Refused).increment();
                if rejected.problems.iter().any(is_of_certificate) {
                    server.metrics.tls_reload_failures_total.increment();
                }
                say_refused(&rejected);
            }
        }
    }

    fn say_taken_over(&self, server: &Server, changes: &[Change]) {
        for warning in &self.running.warnings {
            warn!("{warning}");
        }
        let waiting = changes.iter().filter(|change| !change.at_once).count();
        server.metrics.config_restart_pending.set(waiting as i64);
        for change in changes {
            info!("setting changed {change}");
        }
        self.logging.replace(&self.running.config.log);
        if changes.is_empty() {
            info!("configuration reloaded, nothing changed");
        } else {
            info!(changed = changes.len(), waiting; "configuration reloaded");
        }
    }
}

/// A renewal that is half done at `SIGHUP`, such as a new certificate with the old key.
fn is_of_certificate(problem: &Problem) -> bool {
    ["server.tls_cert", "server.tls_key"].contains(&&*problem.key)
}

fn say_refused(rejected: &Rejected) {
    for problem in &rejected.problems {
        error!("configuration refused {problem}");
    }
    error!(
        problems = rejected.problems.len();
        "configuration not reloaded, the old one stays in force"
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
