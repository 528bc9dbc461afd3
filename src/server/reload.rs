//! Reads the configuration again while the node runs, and applies the settings that can change at run time.
//!
//! `config::reload` determines which keys those are. Called by `main` on `SIGHUP`.

use std::time::{SystemTime, UNIX_EPOCH};

use log::{error, info, warn};

use super::Server;
use super::worker::outbox_memory;
use crate::config::{self, Change, Config, Loaded, Problem, Rejected, Reload, Sources};
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::metrics::labels::ReloadResult;

/// Applies the settings of `config` that can change while the node runs.
pub(super) fn apply(server: &Server, config: &Config) {
    server.limits().replace(&config.limits);
    let memory = outbox_memory(config);
    server.blueprint.outbox_memory.set_limit(memory);
    server.blueprint.reloadable.replace(config);
    if let Some(verifier) = server.verifier() {
        verifier.replace(&config.auth);
    }
    let files = config.server.tls.clone();
    if let Some((identity, files)) = server.tls().zip(files) {
        identity.move_to(files);
        // The result has been logged and counted.
        let _ = identity.reload();
    }
}

/// The sources of a node's configuration, and the configuration in force.
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

    /// Records that a node has started with this configuration, and sets its name in the log.
    pub fn record_start(&self, server: &Server) {
        self.logging
            .set_node(server.node().as_str(), server.metrics());
        record_loaded(server.metrics());
    }

    /// Reads all sources again. An invalid configuration changes nothing; otherwise the settings that can change at run
    /// time are in force on return. The result is logged and counted.
    pub fn reload(&mut self, server: &Server) {
        let reloads = &server.metrics().config_reloads_total;
        match config::reload(&self.running, &self.sources) {
            Ok(reload) => {
                let Reload { loaded, changes } = reload;
                let result = if changes.is_empty() {
                    ReloadResult::Unchanged
                } else {
                    ReloadResult::Applied
                };
                // Even if no setting has changed: the certificate files may contain another certificate.
                apply(server, &loaded.config);
                self.running = loaded;
                reloads.of(result).increment();
                record_loaded(server.metrics());
                self.log_applied(server, &changes);
            }
            Err(rejected) => {
                reloads.of(ReloadResult::Rejected).increment();
                if rejected.problems.iter().any(is_about_certificate) {
                    server.metrics().tls_reload_failures_total.increment();
                }
                log_rejected(&rejected);
            }
        }
    }

    fn log_applied(&self, server: &Server, changes: &[Change]) {
        for warning in &self.running.warnings {
            warn!("{warning}");
        }
        let waiting = changes.iter().filter(|change| !change.at_once).count();
        server.metrics().config_restart_pending.set(waiting as i64);
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

/// Whether a problem is about the certificate, such as a renewal that is incomplete at `SIGHUP`: a new certificate with
/// the old key.
fn is_about_certificate(problem: &Problem) -> bool {
    ["server.tls_cert", "server.tls_key"].contains(&&*problem.key)
}

fn log_rejected(rejected: &Rejected) {
    for problem in &rejected.problems {
        error!("configuration rejected: {problem}");
    }
    error!(
        problems = rejected.problems.len();
        "configuration not reloaded, the old one stays in force"
    );
}

fn record_loaded(metrics: &Metrics) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    metrics
        .config_loaded_timestamp_seconds
        .set(now.as_secs() as i64);
}
