//! The configuration: shipped values < the user's file < the environment, checked as a whole.
//!
//! Each key is declared once, in `tables`. [`load`] builds the layers (`layers`), reads every key in its declared form
//! and checks what depends on several keys (`cross`). All problems are reported at once, each with its key, its origin
//! and the name that was probably meant. [`reload`] does the same for a running node. The default file and the reference
//! are generated from the declarations. The environment is passed in as a value. No sockets, clocks or actors here.

mod auth_values;
mod channel_template;
mod checker;
mod conflation_rule;
mod cross;
mod declare;
mod default_file;
mod effective;
mod entry;
mod environment;
mod form;
mod forms;
mod json_source;
mod layers;
mod load;
mod net;
mod open_webui;
mod outline;
mod pattern;
mod problem;
mod range;
mod redis_url;
mod reference;
mod reload;
mod room_pattern;
mod room_policy;
mod schema;
mod tables;
mod toml;
mod units;
mod upstream_url;
mod user_room;
mod values;
mod webhook_url;

pub use auth_values::TokenSource;
pub use channel_template::{ChannelTarget, ChannelTemplate};
pub use conflation_rule::ConflationRule;
pub use default_file::default_file;
pub use effective::Effective;
pub use environment::Environment;
pub use json_source::{JsonArgs, JsonField, JsonPointer, JsonSource};
pub use load::{Loaded, Sources, load};
pub use net::{BindAddress, IpRange, Secret, SecretUrl};
pub use pattern::{OriginRule, Pattern};
pub use problem::{Origin, Problem, Rejected};
pub use reference::reference;
pub use reload::{Change, Reload, Reloadable, reload};
pub use room_pattern::{ClaimPath, PatternPart, RoomPattern};
pub use room_policy::{PolicyCondition, RoomPolicy};
pub use tables::{
    ApiConfig, ApiKey, AppConfig, AppKind, AuditedVerbs, AuthConfig, AuthKeyEntry, BusConfig,
    Config, CorsConfig, DrainConfig, DrainRate, EngineConfig, EventRateEntry, HistoryConfig,
    HistoryEntry, HookRoute, HookStatusCode, HttpTimeouts, IdentityConfig, LimitsConfig, LogConfig,
    LogFormat, MAX_LEEWAY, NodeAdapter, NoticeKind, NoticesConfig, OpenWebuiConfig, PresenceConfig,
    PresenceRoomEntry, PublicProbes, RateSubject, RecoveryConfig, RecoveryMode, RelayConfig,
    RoomChannels, RoomRule, SentinelConfig, ServerConfig, SessionsPerUser, SocketConfig, StaticKey,
    StreamConfig, Transports, UpstreamConfig, UpstreamConnect, WebhookAppConfig, WebhookConfig,
    WhenLost, jwks_tls,
};
pub use tables::{EchoClientEntry, EchoServerConfig};
pub use upstream_url::UpstreamUrl;
pub use user_room::UserRoom;
pub use webhook_url::WebhookUrl;

#[cfg(test)]
mod tests;
