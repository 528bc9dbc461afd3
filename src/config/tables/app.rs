//! `[app]`: what the events of clients do.

use super::echo_server::EchoServerConfig;
use super::open_webui::OpenWebuiConfig;
use super::relay::RelayConfig;
use super::upstream::UpstreamConfig;
use super::webhook::WebhookAppConfig;
use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{choice, text};
use crate::config::pattern::Pattern;
use crate::config::upstream_url::UpstreamUrl;
use crate::config::values;

table! {
    /// What the events of clients do.
    pub AppConfig = "app" {
        /// `relay`: clients join rooms and emit to them with built-in events. `upstream`: events go to a Socket.IO server
        /// behind this node. `webhook`: events are requests to an HTTP backend (docs/webhooks.md). `echo`: events come back to the client, for protocol tests. `echo_server`: clients are Laravel Echo (docs/echo.md). `open_webui`: the node runs in
        /// front of Open WebUI backends, with other defaults (docs/open-webui.md).
        kind: AppKind = "relay", choice(&AppKind::ALL);
        /// Other apps for some namespaces, as entries `[[app.routes]]` of a file. The first matching entry applies; all
        /// other namespaces belong to `app.kind`.
        routes: Vec<RouteEntry> = [], tables();
    }
    tables {
        relay: RelayConfig,
        upstream: UpstreamConfig,
        webhook: WebhookAppConfig,
        echo_server: EchoServerConfig,
        open_webui: OpenWebuiConfig,
    }
}

entry! {
    /// An entry of `[[app.routes]]`.
    pub RouteEntry {
        /// Name of the namespaces, such as `/chat`, in which `*` stands for any text.
        namespace: Pattern = text("name or pattern", values::namespace);
        /// The app of these namespaces: `relay`, `upstream`, `webhook`, `echo_server` or `echo`.
        app: AppKind = choice(ROUTED);
    }
}

/// Apps that can share a node. `open_webui` changes the defaults of the whole node and must be `app.kind`.
const ROUTED: &[(&str, AppKind)] = &[
    ("relay", AppKind::Relay),
    ("upstream", AppKind::Upstream),
    ("webhook", AppKind::Webhook),
    ("echo_server", AppKind::EchoServer),
    ("echo", AppKind::Echo),
];

impl AppConfig {
    /// Whether any namespace of the node belongs to an app of this kind.
    pub fn uses(&self, kind: AppKind) -> bool {
        self.kind == kind || self.routes.iter().any(|route| route.app == kind)
    }

    /// Whether any namespace of the node belongs to the app `webhook`.
    pub fn uses_webhook(&self) -> bool {
        self.uses(AppKind::Webhook)
    }

    /// Whether the app `webhook` handles the sockets of this namespace.
    pub fn is_webhook(&self, namespace: &str) -> bool {
        self.app_of(namespace) == AppKind::Webhook
    }

    /// Whether any namespace of the node belongs to the app `echo_server`.
    pub fn uses_echo_server(&self) -> bool {
        self.uses(AppKind::EchoServer)
    }

    /// Whether the app `echo_server` handles the sockets of this namespace.
    pub fn is_echo_server(&self, namespace: &str) -> bool {
        self.app_of(namespace) == AppKind::EchoServer
    }

    fn app_of(&self, namespace: &str) -> AppKind {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| route.namespace.matches(namespace));
        route.map_or(self.kind, |route| route.app)
    }

    /// Whether events go to the Socket.IO servers of `app.upstream.urls`.
    pub fn uses_upstream(&self) -> bool {
        self.uses(AppKind::Upstream)
    }

    /// Whether the node runs in front of Open WebUI.
    pub fn is_open_webui(&self) -> bool {
        self.kind == AppKind::OpenWebui
    }

    /// Whether the node itself handles `roomwire:*` events.
    pub fn relays(&self) -> bool {
        self.uses(AppKind::Relay)
            || self.uses_upstream() && self.upstream.relay
            || self.uses(AppKind::Webhook) && self.webhook.relay
    }

    /// The servers behind this node.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamUrl> {
        let upstream = self.uses_upstream().then_some(&self.upstream.urls);
        let backends = self.is_open_webui().then_some(&self.open_webui.upstreams);
        upstream.into_iter().chain(backends).flatten()
    }
}

/// The app of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppKind {
    #[default]
    Relay,
    Upstream,
    Webhook,
    Echo,
    EchoServer,
    OpenWebui,
}

impl AppKind {
    /// All of them, by their names in the configuration.
    pub const ALL: [(&'static str, Self); 6] = [
        ("relay", Self::Relay),
        ("upstream", Self::Upstream),
        ("webhook", Self::Webhook),
        ("echo", Self::Echo),
        ("echo_server", Self::EchoServer),
        ("open_webui", Self::OpenWebui),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, kind)| *kind == self);
        known.map_or("", |(name, _)| name)
    }
}
