//! `[recovery]`: the logs that it needs, and the sessions that are shared with Socket.IO servers in Node.

use std::time::Duration;

use crate::config::checker::Checker;
use crate::config::pattern::Pattern;
use crate::config::tables::{Config, HistoryEntry, NodeAdapter};

/// Appends the logs of namespaces with recovery to `[[history.rooms]]`. They are kept for as long as a session can be
/// recovered after its connection was lost, which the node may notice only by a missing pong. The events of shared
/// namespaces are in the stream alone.
pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    if config.bus.node_sessions {
        reject_logs_of_shared(config, checker);
        config.bus.shared_namespaces = config.recovery.namespaces.clone();
        return;
    }
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

/// Rejects entries of `[[history.rooms]]` for namespaces whose events have the order of the stream.
fn reject_logs_of_shared(config: &Config, checker: &mut Checker<'_, '_>) {
    for (number, entry) in config.history.rooms.iter().enumerate() {
        let namespace = entry.namespace.as_deref().unwrap_or("/");
        if config.recovery.namespaces.iter().any(|it| it == namespace) {
            let message = format!(
                "cannot be {namespace}, a namespace of recovery.namespaces, with bus.node_sessions: its events are kept in the stream of the Node servers, not in logs of rooms"
            );
            checker.reject(&format!("history.rooms[{number}].namespace"), message);
        }
    }
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let key = "bus.node_sessions";
    if !config.bus.node_sessions {
        return;
    }
    if checker.sound(&["bus.node_adapter"]) && config.bus.node_adapter != NodeAdapter::Streams {
        checker.reject(key, "requires bus.node_adapter = \"streams\"");
    }
    if checker.sound(&["recovery.namespaces"]) && config.recovery.namespaces.is_empty() {
        let message = "requires recovery.namespaces: the namespaces whose sessions are shared";
        checker.reject(key, message);
    }
    if checker.sound(&["bus.redis_url"]) && config.bus.redis_url.is_none() {
        checker.reject(key, "requires bus.redis_url");
    }
}
