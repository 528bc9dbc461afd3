//! The settings of sessions.

use std::time::Duration;

use crate::config::{Config, IdentityConfig, NodeAdapter, Pattern};
use crate::protocol::connection::Timing;

/// The settings of sessions.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub timing: Timing,
    /// Namespaces that clients may request.
    pub namespaces: Vec<Pattern>,
    /// Bytes of a session's events that may wait for the app before nothing more is read from the client.
    pub inbox_limit: usize,
    /// Acks that a socket may owe to the app; with more, the oldest is dropped.
    pub max_pending_acks: usize,
    /// Time within which a client must make progress once its queue exceeds `socket.outbox_limit`.
    pub slow_timeout: Duration,
    pub identity: IdentityConfig,
    /// Headers that other servers receive in the handshakes of sockets. If empty, they receive no handshakes.
    pub shown_headers: Vec<&'static str>,
}

impl SessionSettings {
    /// The settings of a node with this configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            timing: Timing {
                ping_interval: config.engine.ping_interval,
                ping_timeout: config.engine.ping_timeout,
                connect_timeout: config.socket.connect_timeout,
                max_namespaces: config.socket.max_namespaces,
                max_payload: config.engine.max_payload,
                max_depth: config.socket.max_depth,
                msgpack: config.engine.msgpack,
            },
            namespaces: config.socket.namespaces.clone(),
            inbox_limit: config.socket.inbox_limit,
            max_pending_acks: config.socket.max_pending_acks,
            slow_timeout: config.socket.slow_timeout,
            identity: config.identity.clone(),
            shown_headers: shown_headers(config),
        }
    }
}

/// `bus.node_handshake`, if there are servers that fetch sockets.
fn shown_headers(config: &Config) -> Vec<&'static str> {
    let has_servers = !matches!(
        config.bus.node_adapter,
        NodeAdapter::None | NodeAdapter::Emitters
    );
    let names = config.bus.node_handshake.iter().filter(|_| has_servers);
    names
        .map(|name| &*Box::leak(name.clone().into_boxed_str()))
        .collect()
}
