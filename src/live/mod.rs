//! `roomwire check --live`: looks at what a node will meet, and names the exact setting to change.
//!
//! Each part gathers facts and judges them; the judgement is pure. To add one: a module here that returns findings,
//! and a line in [`check`]. Called by `main`; starts no node.

mod bus;
mod machine;
mod nodes;
mod open_webui;
mod public;
mod upstreams;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use url::Url;

use crate::config::Config;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Fine,
    Warning,
    Error,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// The setting to change, and to what.
    pub change: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fine,
            what: what.into(),
            change: None,
        }
    }

    fn warning(what: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            what: what.into(),
            change: Some(change.into()),
        }
    }

    fn error(what: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(what, change)
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
        // Some reasons of others have several lines.
        let what = self.what.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{severity}: {what}")?;
        match &self.change {
            Some(change) => write!(f, "\n    change: {change}"),
            None => Ok(()),
        }
    }
}

/// What to look at beside the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where clients reach the nodes.
    pub url: Option<Url>,
    /// How long a connection there is held without a word of ours.
    pub idle: Duration,
}

/// Looks at everything and tells each finding and each longer step as it comes. Returns the worst severity.
pub async fn check(config: &Config, options: &Options, mut say: impl FnMut(&str)) -> Severity {
    let mut worst = Severity::Fine;
    let mut tell = |findings: Vec<Finding>, say: &mut dyn FnMut(&str)| {
        for finding in findings {
            worst = worst.max(finding.severity);
            say(&finding.to_string());
        }
    };
    tell(machine::check(config), &mut say);
    let mut nodes = BTreeSet::new();
    if config.bus.redis_url.is_some() {
        say("looking at redis ...");
        let (findings, under_way) = bus::check(config).await;
        nodes = under_way;
        tell(findings, &mut say);
    }
    if config.app.is_open_webui() {
        say("checking the backends ...");
        tell(open_webui::check(config, &nodes).await, &mut say);
    }
    tell(upstreams::check(config, &nodes).await, &mut say);
    if let Some(url) = &options.url {
        say(&format!(
            "connecting to {url}, holding for {:?} ...",
            options.idle
        ));
        tell(
            public::check(url, options.idle, config, &nodes).await,
            &mut say,
        );
    }
    worst
}
