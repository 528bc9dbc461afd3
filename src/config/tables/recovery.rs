//! `[recovery]`: sessions that continue after their connection was lost.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{choice, duration, list, number, size, text};
use crate::config::values;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The greatest number of events that are replayed.
const MAX_EVENTS: u64 = 1_000_000;

table! {
    /// Recovery of sessions: clients that lost their connection receive what they missed, on any node, also after a crash
    /// or restart (docs/delivery.md). Events of these namespaces are logged for it; entries of `[[history.rooms]]` apply
    /// before. All nodes need the same values.
    pub RecoveryConfig = "recovery" {
        /// The namespaces in which sessions can be recovered. Empty = none.
        namespaces: Vec<String> = [], list(text("namespace", values::single_namespace));
        /// Which clients: `opt_in` = those that connect with `auth: {roomwire: {recover: true}}`, `all` = every client. These
        /// clients receive one more argument with each event, which stock clients for JavaScript and Dart expect.
        mode: RecoveryMode = "opt_in", choice(&[("opt_in", RecoveryMode::OptIn), ("all", RecoveryMode::All)]);
        /// How long after it was lost a connection can be recovered.
        window: Duration = "120s", duration(SECOND..=DAY);
        /// Maximum number of missed events that are replayed to a client; with more, it begins a new session. Also the
        /// length of the logs of rooms without an entry in `[[history.rooms]]`.
        max_events: u32 = 1000, number(1..=MAX_EVENTS);
        /// Maximum size of the missed events of a client.
        max_bytes: usize = "4MiB", size(1..);
        /// How often clients that track their position by themselves (`recover: "offsets"`) receive `roomwire:offset`, if it
        /// has changed.
        offset_interval: Duration = "1s", duration(Duration::from_millis(10)..=DAY);
    }
}

/// Which clients can recover their sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Those that request it.
    #[default]
    OptIn,
    /// All.
    All,
}
