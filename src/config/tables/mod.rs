//! Every key of the configuration, one file per table.
//!
//! Each key is declared once, by the macros of `declare`: name, type, shipped value, form with unit and range, meaning,
//! and whether a reload applies it or it is a secret. A new key is a declaration here and the code that reads it; a new
//! table is a file and a line in [`Config`] (or [`AppConfig`]). Each part of the program gets its own table, never the
//! whole. Values that depend on several keys are computed in `cross`.

mod api;
mod app;
mod auth;
mod bus;
mod cors;
mod drain;
mod echo_server;
mod engine;
mod history;
mod identity;
mod limits;
mod log;
mod notices;
mod open_webui;
mod presence;
mod recovery;
mod relay;
mod server;
mod socket;
mod stream;
mod upstream;
mod webhook;

pub(in crate::config) use api::ApiKeyEntry;
pub use api::{ApiConfig, ApiKey, AuditedVerbs};
pub use app::{AppConfig, AppKind};
pub use auth::{AuthConfig, AuthKeyEntry, MAX_LEEWAY, StaticKey, jwks_tls};
pub(in crate::config) use bus::JsonSourceEntry;
pub use bus::{BusConfig, NodeAdapter, RoomChannels, SentinelConfig};
pub use cors::CorsConfig;
pub use drain::{DrainConfig, DrainRate};
pub use echo_server::{EchoClientEntry, EchoServerConfig};
pub use engine::{EngineConfig, Transports};
pub use history::{HistoryConfig, HistoryEntry};
pub use identity::{IdentityConfig, SessionsPerUser};
pub use limits::{EventRateEntry, LimitsConfig, RateSubject};
pub use log::{LogConfig, LogFormat};
pub use notices::{NoticeKind, NoticesConfig};
pub use open_webui::OpenWebuiConfig;
pub use presence::{PresenceConfig, PresenceRoomEntry};
pub use recovery::{RecoveryConfig, RecoveryMode};
pub use relay::{RelayConfig, RoomRule};
pub use server::{HttpTimeouts, PublicProbes, ServerConfig};
pub use socket::SocketConfig;
pub use stream::StreamConfig;
pub use upstream::{UpstreamConfig, UpstreamConnect, WhenLost};
pub use webhook::{HookRoute, HookStatusCode, WebhookAppConfig, WebhookConfig};

use super::declare::table;

table! {
    /// A whole configuration that passed every check. `default()` is the shipped one.
    pub Config = "" {}
    tables {
        server: ServerConfig,
        engine: EngineConfig,
        socket: SocketConfig,
        auth: AuthConfig,
        identity: IdentityConfig,
        limits: LimitsConfig,
        cors: CorsConfig,
        app: AppConfig,
        api: ApiConfig,
        webhook: WebhookConfig,
        bus: BusConfig,
        stream: StreamConfig,
        history: HistoryConfig,
        presence: PresenceConfig,
        recovery: RecoveryConfig,
        drain: DrainConfig,
        log: LogConfig,
    }
}

impl Config {
    /// Whether clients are authenticated, so that their sockets have an identity.
    pub fn authenticates(&self) -> bool {
        self.auth.is_on()
    }

    /// Whether clients can have an identity: that of their token, or one that a response to the app `webhook` establishes.
    pub fn identifies(&self) -> bool {
        let identifies = [AppKind::Webhook, AppKind::OpenWebui];
        self.authenticates() || identifies.into_iter().any(|app| self.app.uses(app))
    }

    /// Whether clients whose requests the relay handles can have an identity.
    pub fn relay_identifies(&self) -> bool {
        self.authenticates() || self.app.uses(AppKind::Webhook) && self.app.webhook.relay
    }

    /// Whether a disconnect of a client is reported to an HTTP backend.
    pub fn reports_disconnects(&self) -> bool {
        let notices = &self.webhook.notices;
        let by_notice = notices.url.is_some() && notices.kinds.contains(&NoticeKind::Disconnected);
        by_notice || self.app.uses(AppKind::Webhook)
    }

    /// Whether other nodes must report when this one is lost.
    pub fn needs_registry(&self) -> bool {
        let has_presence = !self.presence.rooms.is_empty() || self.app.uses_echo_server();
        self.reports_disconnects() || has_presence
    }

    /// Whether a backend decides what the policy `backend` leaves to it.
    pub fn has_room_backend(&self) -> bool {
        !self.webhook.route_table.is_empty()
    }
}
