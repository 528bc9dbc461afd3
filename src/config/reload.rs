//! What a running node takes over when its configuration is read again, and what waits for its next start.
//!
//! The only place that says which key is of which kind: the log of a reload and the reference are made of it.
//! What takes over is applied by `server`, part by part; those parts read it through [`Reloadable`].

use std::fmt;
use std::sync::Arc;

use ::config::Value;
use arc_swap::{ArcSwap, Guard};

use super::effective::{shown, toml};
use super::layers::{Kept, Layers};
use super::problem::{Origin, Rejected};
use super::schema::{Key, Schema};
use super::{Loaded, Sources, broken, judge, load};

/// Keys that act in a running node as soon as they are read again.
const AT_ONCE: &[&str] = &[
    "server.trusted_proxies",
    "server.tls_cert",
    "server.tls_key",
    "limits.connections",
    "limits.per_client",
    "limits.connections_per_ip",
    "limits.http_connections_per_ip",
    "limits.handshakes_per_second",
    "limits.handshakes_burst",
    "limits.handshakes_per_second_per_ip",
    "limits.handshakes_burst_per_ip",
    "limits.events_per_second",
    "limits.events_burst",
    "limits.connect_payload",
    "limits.outbox_memory",
    "limits.post_bodies",
    "cors.origins",
    "cors.credentials",
    "app.relay.join",
    "app.relay.publish",
    "app.relay.rooms",
    "drain.timeout",
    "drain.grace",
    "drain.rate",
    "drain.ack_timeout",
    "log.filter",
    "log.format",
];

/// Of those, the ones that can be exchanged but neither be set nor be emptied in a running node.
const NEVER_FROM_OR_TO_NOTHING: &[&str] = &["server.tls_cert", "server.tls_key"];

/// The key on which shipped values of others depend: with it, everything waits for the next start.
const KIND: &str = "app.kind";

/// Keys, and whole sections, that wait for the next start.
#[cfg(test)]
const NEXT_START: &[&str] = &[
    "server.bind",
    "server.workers",
    "server.client_dir",
    "server.demo",
    "server.internal_bind",
    "server.drain_token",
    "server.public_probes",
    "server.proxy_protocol",
    "server.header_timeout",
    "server.body_timeout",
    "server.write_timeout",
    "server.keepalive_timeout",
    "engine.",
    "socket.",
    "app.kind",
    "app.upstream.",
    "app.open_webui.",
    "bus.",
];

/// Whether a running node takes a key over.
pub(super) fn acts_at_once(key: &str) -> bool {
    AT_ONCE.contains(&key)
}

/// A part of the configuration that a reload replaces as a whole while others read it, without a lock.
#[derive(Debug)]
pub struct Reloadable<T>(ArcSwap<T>);

impl<T> Reloadable<T> {
    /// Holds `value` until it is replaced.
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(value)))
    }

    /// What is in force; for a short look, not to be kept.
    pub fn read(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// From now on everybody reads `value`.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// A key whose value is another than the node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path, as `limits.connections`.
    pub key: String,
    /// The value the node runs with, as TOML; secrets masked.
    pub from: String,
    /// The value that was read.
    pub to: String,
    /// Where that was set.
    pub origin: Origin,
    /// Whether the running node takes it over; else it waits for the next start.
    pub at_once: bool,
}

impl Change {
    fn between(key: &Key, running: &Kept, read: &Kept) -> Option<Self> {
        let ((from, _), (to, origin)) = (running.value(&key.path)?, read.value(&key.path)?);
        // As text: values know too how they were read, which does not matter here.
        if toml(key.kind, from) == toml(key.kind, to) {
            return None;
        }
        let is_empty = |value: &Value| {
            value
                .clone()
                .into_string()
                .is_ok_and(|text| text.is_empty())
        };
        let fixed = NEVER_FROM_OR_TO_NOTHING.contains(&key.path.as_str());
        Some(Self {
            at_once: acts_at_once(&key.path) && !(fixed && (is_empty(from) || is_empty(to))),
            from: shown(key, from),
            to: shown(key, to),
            origin: origin.clone(),
            key: key.path.clone(),
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            from,
            to,
            origin,
            ..
        } = self;
        if from == to {
            // Only what is masked differs.
            write!(f, "{key}: changed ({origin})")?;
        } else {
            write!(f, "{key}: {from} → {to} ({origin})")?;
        }
        if !self.at_once {
            f.write_str(", takes effect at the next start")?;
        }
        Ok(())
    }
}

/// A configuration read again by a node that runs.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What the node runs with from now on: the values read of keys that act at once, its own of all others.
    pub loaded: Loaded,
    /// Every key that differs from what the node ran with, in the order of the reference.
    pub changes: Vec<Change>,
}

/// Reads and checks everything again, for a node that runs with `running`.
///
/// # Errors
/// What was read cannot be used, or not together with the values that wait for the next start.
pub fn reload(running: &Loaded, sources: &Sources) -> Result<Reload, Rejected> {
    let read = load(sources)?;
    let schema = Schema::shipped().map_err(broken)?;
    let mut changes: Vec<Change> = schema
        .keys()
        .filter_map(|key| Change::between(key, &running.kept, &read.kept))
        .collect();
    if changes.iter().any(|change| change.key == KIND) {
        changes.iter_mut().for_each(|change| change.at_once = false);
    }
    let waits = |key: &str| {
        changes
            .iter()
            .any(|change| change.key == key && !change.at_once)
    };
    let kept = read.kept.clone().with_others(&running.kept, waits);
    let mixed = judge(&schema, Layers::of_kept(&schema, kept)).map_err(|mut rejected| {
        for problem in &mut rejected.problems {
            problem.message += ", while other settings that were changed wait for the next start";
        }
        rejected
    })?;
    let loaded = Loaded {
        warnings: read.warnings,
        ..mixed
    };
    Ok(Reload { loaded, changes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_acts_at_once_or_at_the_next_start() {
        let schema = Schema::shipped().unwrap();
        let waits = |key: &str| {
            let is_it =
                |name: &&&str| **name == key || name.ends_with('.') && key.starts_with(**name);
            NEXT_START.iter().any(|name| is_it(&name))
        };
        for key in schema.keys() {
            let key = key.path.as_str();
            let why = "must be in exactly one of AT_ONCE and NEXT_START of config/reload.rs";
            assert!(acts_at_once(key) != waits(key), "{key} {why}");
        }
        for name in AT_ONCE.iter().chain(NEVER_FROM_OR_TO_NOTHING) {
            assert!(schema.key(name).is_some(), "{name} is no key");
        }
    }
}
