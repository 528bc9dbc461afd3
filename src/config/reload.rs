//! Reloads the configuration of a running node: which keys it applies at once, and which at its next start.
//!
//! The declaration of a key decides (`reload`, `reload_if_set`). The caller, `server`, applies the result; the parts of
//! the node read it through [`Reloadable`].

use std::fmt;
use std::sync::Arc;

use ::config::Value;
use arc_swap::{ArcSwap, Guard};

use super::declare::schema_of;
use super::effective::shown;
use super::layers::{Kept, Layers};
use super::load::{Loaded, Sources, check, load};
use super::problem::{Origin, Rejected};
use super::schema::{Key, Schema, TakesEffect};
use super::tables::Config;
use super::toml;

/// Whether clients are authenticated is decided when the node starts. A change that would switch it on or off waits.
const AUTH: &str = "auth.";

/// The defaults of other keys depend on this key. If it changes, every change waits for the next start.
const KIND: &str = "app.kind";

/// A part of the configuration that a reload replaces as a whole. Reads take no lock.
#[derive(Debug)]
pub struct Reloadable<T>(ArcSwap<T>);

impl<T> Reloadable<T> {
    /// Holds `value` until it is replaced.
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(value)))
    }

    /// The current value. Do not hold the guard for long.
    pub fn read(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// Replaces the value for all later reads.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// A key whose value differs from the one that the node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path, such as `limits.connections`.
    pub key: String,
    /// The value the node runs with, as TOML; secrets masked.
    pub from: String,
    /// The new value.
    pub to: String,
    /// Where the new value was set.
    pub origin: Origin,
    /// Whether the running node applies it; otherwise it waits for the next start.
    pub at_once: bool,
}

impl Change {
    fn between(key: &Key, running: &Kept, read: &Kept) -> Option<Self> {
        let ((from, _), (to, origin)) = (running.value(&key.path)?, read.value(&key.path)?);
        // Compared as text: values also contain where they were read.
        if toml::write(key.kind, from) == toml::write(key.kind, to) {
            return None;
        }
        let at_once = match key.properties.takes_effect {
            TakesEffect::Start => false,
            TakesEffect::Reload => true,
            TakesEffect::ReloadIfSet => !is_empty(from) && !is_empty(to),
        };
        Some(Self {
            at_once,
            from: shown(key, from),
            to: shown(key, to),
            origin: origin.clone(),
            key: key.path.clone(),
        })
    }
}

fn is_empty(value: &Value) -> bool {
    let text = value.clone().into_string();
    text.is_ok_and(|text| text.is_empty())
}

/// The keys that differ between two configurations, in the order of the reference.
pub(super) fn changes(schema: &Schema, running: &Kept, read: &Kept) -> Vec<Change> {
    let keys = schema.keys();
    keys.filter_map(|key| Change::between(key, running, read))
        .collect()
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

/// The result of a reload.
#[derive(Debug, Clone)]
pub struct Reload {
    /// The configuration that the node runs with from now on: new values of the keys that it applies at once, previous
    /// values of all others.
    pub loaded: Loaded,
    /// Every key that differs from the configuration that the node ran with, in the order of the reference.
    pub changes: Vec<Change>,
}

/// Reads and checks the whole configuration for a node that runs with `running`.
///
/// # Errors
/// The new configuration is invalid, or invalid together with the values that wait for the next start.
pub fn reload(running: &Loaded, sources: &Sources) -> Result<Reload, Rejected> {
    let read = load(sources)?;
    let schema = schema_of::<Config>();
    let mut changes = changes(&schema, &running.kept, &read.kept);
    if changes.iter().any(|change| change.key == KIND) {
        changes.iter_mut().for_each(|change| change.at_once = false);
    }
    if running.config.auth.is_on() != read.config.auth.is_on() {
        let of_auth = changes
            .iter_mut()
            .filter(|change| change.key.starts_with(AUTH));
        of_auth.for_each(|change| change.at_once = false);
    }
    let waits = |key: &str| {
        changes
            .iter()
            .any(|change| change.key == key && !change.at_once)
    };
    let kept = read.kept.clone().with_others(&running.kept, waits);
    let mixed = check(&schema, Layers::of_kept(&schema, kept)).map_err(|mut rejected| {
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
