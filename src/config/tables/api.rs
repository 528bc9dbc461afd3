//! `[api]`: the HTTP API for backends.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{choice, duration, flag, list, number, size, text};
use crate::config::net::{BindAddress, Secret};
use crate::config::pattern::Pattern;
use crate::config::schema::nearest_hint;
use crate::config::values;
use crate::tls::TlsFiles;
use crate::verbs::VERBS;

/// A claim or a time must be kept for longer than a request can take.
const MINUTE: Duration = Duration::from_secs(60);

table! {
    /// The HTTP API for backends, under `/api/v1/` (docs/api.md). Requests need a key.
    pub ApiConfig = "api" {
        /// Address of a separate listener for the API. Empty = the internal listener (`server.internal_bind`) serves
        /// it.
        bind: Option<BindAddress> = "", text("`host:port`", BindAddress::parse).or_empty();
        /// PEM file with the certificate of the listener `api.bind`, followed by its chain. Empty = no TLS.
        tls_cert: Option<PathBuf> = "", text("file", values::any_path).or_empty();
        /// PEM file with the private key of `api.tls_cert`, unencrypted.
        tls_key: Option<PathBuf> = "", text("file", values::any_path).or_empty();
        /// PEM file with certificate authorities. Clients of `api.bind` must present a certificate that one of them has
        /// signed (mutual TLS). Empty = no client certificates are required.
        client_ca: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// PEM file with the certificate, and its chain, that `roomwire emit` and the other commands of the API present to
        /// a listener that requires one. Empty = they have none.
        client_cert: Option<PathBuf> = "", text("file", values::any_path).or_empty();
        /// PEM file with the private key of `api.client_cert`.
        client_key: Option<PathBuf> = "", text("file", values::any_path).or_empty();
        /// Whether the public listener serves the API as well.
        public: bool = false, flag();
        /// Key for all verbs and rooms, with the name `default`.
        key: Option<Secret> = "", text("at least 16 characters", values::token).or_empty(), secret, reload;
        /// TOML file with further keys, as entries `[[keys]]` with the same fields as `[[api.keys]]`. A reload reads it
        /// again.
        keys_file: Option<PathBuf> = "", text("file", values::file).or_empty(), reload;
        /// Keys, as entries `[[api.keys]]` of a file. Several entries can have the same name, so that a key and its
        /// successor are valid at the same time.
        keys: Vec<ApiKeyEntry> = [], tables(), reload;
        /// Requests per second of a key that has no limit of its own, on each node. 0 = no limit.
        requests_per_second: u32 = 10000, number(0..=1_000_000), reload;
        /// Size limit of a request body.
        max_body: usize = "1MiB", size(1024..);
        /// Maximum number of items of a batch.
        max_batch: usize = 1000, number(1..=100_000);
        /// How long the response to a request with an `Idempotency-Key` is kept in the store.
        idempotency_time: Duration = "24h", duration(MINUTE..);
        /// How long the store remembers when a user was last seen.
        last_seen_time: Duration = "30d", duration(MINUTE..);
        /// Which requests are logged, with their key, verb and target: `changes` (of rooms and connections, and
        /// revocations), `all` or `off`.
        audit: AuditedVerbs = "changes", choice(AUDITED);
    }
    derived {
        /// All keys, with their secrets read from their files.
        credentials: Vec<ApiKey>,
        /// `tls_cert` and `tls_key`; both were usable when they were checked. `None` = no TLS.
        tls: Option<TlsFiles>,
    }
}

entry! {
    /// An entry of `[[api.keys]]`.
    pub ApiKeyEntry {
        /// Name of the key in the log and in errors.
        name: String = text("name", name);
        /// The key itself. Alternatively `key_file`.
        key: Option<Secret> = text("at least 16 characters", values::token).optional(), secret;
        /// File that contains the key. Read again by a reload.
        key_file: Option<PathBuf> = text("file", values::any_path).optional();
        /// Verbs that the key can use, such as `emit`. Absent = all.
        scopes: Option<Vec<String>> = list(text("verb", verb)).optional();
        /// Names or patterns of the rooms that the key can use; users and sockets count by the names of their rooms.
        /// Absent = all rooms, and everybody.
        rooms: Option<Vec<Pattern>> = list(text("name or pattern", |text| Ok(Pattern::from(text)))).optional();
        /// Time after which the key is not valid.
        expires: Option<SystemTime> = text("time such as `2027-01-31T00:00:00Z`", time).optional();
        /// Requests per second of the key on each node. Absent = `api.requests_per_second`, 0 = no limit.
        requests_per_second: Option<u32> = number(0..=1_000_000).optional();
    }
}

/// A key of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub name: String,
    pub secret: Secret,
    /// Empty = all verbs.
    pub scopes: Vec<String>,
    /// Empty = all rooms.
    pub rooms: Vec<Pattern>,
    /// `None` = never.
    pub expires: Option<SystemTime>,
    /// `None` = `api.requests_per_second`.
    pub requests_per_second: Option<u32>,
}

/// The requests that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditedVerbs {
    #[default]
    Off,
    /// Changes of rooms and connections, and revocations.
    Changes,
    All,
}

const AUDITED: &[(&str, AuditedVerbs)] = &[
    ("changes", AuditedVerbs::Changes),
    ("all", AuditedVerbs::All),
    ("off", AuditedVerbs::Off),
];

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

fn verb(text: &str) -> Result<String, String> {
    if VERBS.contains(&text) {
        return Ok(text.to_owned());
    }
    let meant = nearest_hint(text, VERBS.iter().copied());
    Err(format!("`{text}` is none of {}{meant}", VERBS.join(", ")))
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text.trim())
        .map_err(|_| format!("`{text}` is not a time such as `2027-01-31T00:00:00Z`"))
}
