//! The first lines of the log of a node that accepts clients.

use std::net::SocketAddr;

use log::info;

use crate::config::{Config, PolicyCondition};
use crate::model::NodeId;

/// The lines are those of the server, whatever file they are written in.
const TARGET: &str = "roomwire::server";

/// Logs where the node listens and what it serves there.
pub(super) fn log_start(config: &Config, address: SocketAddr, node: NodeId) {
    let scheme = config.server.tls.as_ref().map_or("http", |_| "https");
    let (app, path) = (
        config.app.kind.name(),
        format_args!("{}/", config.engine.path),
    );
    let (version, workers) = (env!("CARGO_PKG_VERSION"), config.server.workers);
    let upstreams: Vec<String> = config.app.upstreams().map(ToString::to_string).collect();
    if upstreams.is_empty() {
        info!(target: TARGET, node:%, version, app, path:%, workers; "listening on {scheme}://{address}");
    } else {
        let upstreams = upstreams.join(",");
        info!(target: TARGET, node:%, version, app, upstreams, path:%, workers; "listening on {scheme}://{address}");
    }
    if config.server.demo && is_open(config) {
        info!(
            target: TARGET,
            "open {scheme}://{address}/ in two browser windows to try it; `roomwire help` lists the other commands"
        );
    }
    if config.bus.redis_url.is_none() {
        info!(
            target: TARGET,
            "one node without Redis; set ROOMWIRE_BUS__REDIS_URL on every node to make them a cluster"
        );
    }
}

/// Whether the demo page works as it is: it has no token, and its room is one without a rule of its own.
fn is_open(config: &Config) -> bool {
    let rule = config.app.relay.rules.last();
    let can_join = rule.is_some_and(|rule| rule.join.includes(&PolicyCondition::Anyone));
    can_join && !(config.auth.is_on() && config.auth.required)
}
