//! `[app]`: what the events of clients do.

use super::open_webui::OpenWebuiConfig;
use super::relay::RelayConfig;
use super::upstream::UpstreamConfig;
use crate::config::declare::table;
use crate::config::forms::choice;
use crate::config::upstream_url::UpstreamUrl;

table! {
    /// What the events of clients do.
    pub AppConfig = "app" {
        /// `relay`: clients join rooms and emit to them with built-in events. `upstream`: events go to a Socket.IO server
        /// behind this node. `echo`: events come back to the client, for protocol tests. `open_webui`: the node runs in
        /// front of Open WebUI backends, with other defaults (docs/open-webui.md).
        kind: AppKind = "relay", choice(&AppKind::ALL);
    }
    tables {
        relay: RelayConfig,
        upstream: UpstreamConfig,
        open_webui: OpenWebuiConfig,
    }
}

impl AppConfig {
    /// Whether the node itself handles `roomwire:*` events.
    pub fn relays(&self) -> bool {
        match self.kind {
            AppKind::Relay => true,
            AppKind::Upstream => self.upstream.relay,
            AppKind::Echo | AppKind::OpenWebui => false,
        }
    }

    /// The servers behind this node.
    pub fn upstreams(&self) -> &[UpstreamUrl] {
        match self.kind {
            AppKind::Relay | AppKind::Echo => &[],
            AppKind::Upstream => &self.upstream.urls,
            AppKind::OpenWebui => &self.open_webui.upstreams,
        }
    }
}

/// The app of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppKind {
    #[default]
    Relay,
    Upstream,
    Echo,
    OpenWebui,
}

impl AppKind {
    /// All of them, by their names in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("relay", Self::Relay),
        ("upstream", Self::Upstream),
        ("echo", Self::Echo),
        ("open_webui", Self::OpenWebui),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, kind)| *kind == self);
        known.map_or("", |(name, _)| name)
    }
}
