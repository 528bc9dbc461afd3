//! `[recovery]`: the logs that it needs.

use std::time::Duration;

use crate::config::pattern::Pattern;
use crate::config::tables::{Config, HistoryEntry};

/// Appends the logs of namespaces with recovery to `[[history.rooms]]`. They are kept for as long as a session can be
/// recovered after its connection was lost, which the node may notice only by a missing pong.
pub(super) fn resolve(config: &mut Config) {
    let recovery = &config.recovery;
    let noticed = config.engine.ping_interval + config.engine.ping_timeout;
    let age = recovery.window + recovery.window / 3 + noticed;
    let entries = recovery.namespaces.iter().map(|namespace| HistoryEntry {
        namespace: Some(namespace.clone()),
        rooms: Pattern::from("*"),
        broadcasts: Some(true),
        sockets: Some(true),
        length: Some(recovery.max_events),
        age: Some(age.max(Duration::from_secs(1))),
    });
    config.history.rooms.extend(entries);
}
