//! `roomwire check --live`: checks the environment of a node, and names the setting to change for each problem.
//!
//! Each module gathers facts and evaluates them; the evaluation is pure. To add a check, add a module that returns
//! findings, and call it in [`check`]. Called by `main`; starts no node.

mod bus;
mod machine;
mod nodes;
mod open_webui;
mod public;
mod upstreams;
mod webhooks;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use url::Url;

use crate::config::Config;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Fine,
    Warning,
    Error,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was found, in one line.
    pub summary: String,
    /// The setting to change, and its new value.
    pub change: Option<String>,
}

impl Finding {
    fn fine(summary: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fine,
            summary: summary.into(),
            change: None,
        }
    }

    fn warning(summary: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            summary: summary.into(),
            change: Some(change.into()),
        }
    }

    fn error(summary: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(summary, change)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fine => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        // Errors of libraries may span several lines.
        let summary = self
            .summary
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        write!(f, "{severity}: {summary}")?;
        match &self.change {
            Some(change) => write!(f, "\n    change: {change}"),
            None => Ok(()),
        }
    }
}

/// Options of the check that are not part of the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URL at which clients reach the nodes.
    pub url: Option<Url>,
    /// How long to keep an idle connection to that URL open.
    pub idle: Duration,
}

/// Runs all checks; passes each finding, and a line before each longer step, to `print` as it is available. Returns the
/// highest severity.
pub async fn check(config: &Config, options: &Options, mut print: impl FnMut(&str)) -> Severity {
    let mut worst = Severity::Fine;
    let mut report = |findings: Vec<Finding>, print: &mut dyn FnMut(&str)| {
        for finding in findings {
            worst = worst.max(finding.severity);
            print(&finding.to_string());
        }
    };
    report(machine::check(config), &mut print);
    let mut nodes = BTreeSet::new();
    if config.bus.redis_url.is_some() {
        print("checking redis ...");
        let (findings, running) = bus::check(config).await;
        nodes = running;
        report(findings, &mut print);
    }
    if config.app.is_open_webui() {
        print("checking the backends ...");
        report(open_webui::check(config, &nodes).await, &mut print);
    }
    report(upstreams::check(config, &nodes).await, &mut print);
    if !config.webhook.urls().is_empty() {
        print("checking the webhook backends ...");
        report(webhooks::check(config).await, &mut print);
    }
    if let Some(url) = &options.url {
        print(&format!(
            "connecting to {url}, holding for {:?} ...",
            options.idle
        ));
        report(
            public::check(url, options.idle, config, &nodes).await,
            &mut print,
        );
    }
    worst
}
