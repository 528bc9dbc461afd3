//! State shared with the backends in Redis, in their format: connected sessions, models in use, presence in chats, and
//! revoked tokens.
//!
//! A failed Redis command is counted and otherwise ignored, as the backends do for these keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::debug;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::token::Claims;
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::model::{Random, SocketId};
use crate::store::{Store, StoreError};

/// Expiry of a lock that is not released, as at the backends.
const LOCK_EXPIRY: Duration = Duration::from_secs(60);
/// Time to wait for a lock, and the pause between two attempts.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Entries written by one Redis command.
pub(super) const WRITE_BATCH: usize = 500;

/// The keys of the backends.
#[derive(Clone)]
pub(super) struct RedisState {
    store: Arc<dyn Store>,
    prefix: String,
    /// Age in seconds at which a session is considered dead.
    session_timeout: i64,
    metrics: Arc<Metrics>,
}

/// A session pool entry, written by a backend or a node; only the fields used here.
#[derive(Debug, Deserialize)]
struct SessionEntry {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    chat_ids: Vec<String>,
    #[serde(default)]
    last_seen_at: f64,
}

impl RedisState {
    pub(super) fn new(
        store: Arc<dyn Store>,
        config: &OpenWebuiConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            prefix: config.key_prefix.clone(),
            session_timeout: config.session_timeout.as_secs() as i64,
            metrics,
        }
    }

    /// The value of a Redis command. A failure is only counted, since the bus logs the loss of Redis.
    fn value<T>(&self, name: &str, result: Result<T, StoreError>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.metrics.open_webui_redis_failures_total.increment();
                debug!(error:%; "{name}: Redis command failed");
            })
            .ok()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Writes entries of the session pool.
    pub(super) async fn put_sessions(&self, entries: Vec<(SocketId, Bytes)>) {
        let key = self.key("session_pool");
        let mut entries = entries.into_iter();
        loop {
            let batch: Vec<_> = entries
                .by_ref()
                .take(WRITE_BATCH)
                .map(|(socket, entry)| (socket.to_string(), entry))
                .collect();
            if batch.is_empty() {
                return;
            }
            self.value("session pool", self.store.hash_set(&key, batch).await);
        }
    }

    /// Removes entries of the session pool.
    pub(super) async fn remove_sessions(&self, sockets: &[SocketId]) {
        let key = self.key("session_pool");
        for batch in sockets.chunks(WRITE_BATCH) {
            let fields = batch.iter().map(SocketId::to_string).collect();
            self.value("session pool", self.store.hash_delete(&key, fields).await);
        }
    }

    /// Records that a socket uses a model. With concurrent writes to one model the last one wins, as at the backends.
    pub(super) async fn add_model_use(&self, model: &str, socket: SocketId, now: i64) {
        let key = self.key("usage_pool");
        let Some(users) = self.value("usage pool", self.store.hash_get(&key, model).await) else {
            return;
        };
        let mut users = read_users(users.as_ref());
        users.insert(socket.to_string(), json!({"updated_at": now}));
        let entry = (model.to_owned(), encode(&Value::Object(users)));
        self.value("usage pool", self.store.hash_set(&key, vec![entry]).await);
    }

    /// Removes the record that a socket uses a model.
    pub(super) async fn remove_model_use(&self, model: &str, socket: SocketId) {
        let key = self.key("usage_pool");
        let Some(users) = self.value("usage pool", self.store.hash_get(&key, model).await) else {
            return;
        };
        let mut users = read_users(users.as_ref());
        if users.remove(socket.as_str()).is_none() {
            return;
        }
        if users.is_empty() {
            let gone = self.store.hash_delete(&key, vec![model.to_owned()]).await;
            self.value("usage pool", gone);
        } else {
            let entry = (model.to_owned(), encode(&Value::Object(users)));
            self.value("usage pool", self.store.hash_set(&key, vec![entry]).await);
        }
    }

    /// Passes the users present in a chat, of all backends and nodes, to `publish`: `[{"id":…,"name":…},…]`. Holds the
    /// lock of the chat meanwhile, so that an older list cannot overtake a newer one.
    pub(super) async fn with_presence(&self, chat: &str, now: i64, publish: impl FnOnce(&Value)) {
        let key = self.key(&format!("chat:{chat}:presence:lock"));
        let token = lock_token();
        let Some(()) = self.lock(&key, &token).await else {
            return;
        };
        let pool = self.store.hash_scan(&self.key("session_pool")).await;
        if let Some(pool) = self.value("session pool", pool) {
            publish(&present_users(&pool, chat, now - self.session_timeout));
        }
        self.value("presence lock", self.store.release(&key, &token).await);
    }

    async fn lock(&self, key: &str, token: &str) -> Option<()> {
        let started = tokio::time::Instant::now();
        loop {
            let lock = self.store.acquire_lease(key, token, LOCK_EXPIRY).await;
            if self.value("presence lock", lock)? {
                return Some(());
            }
            if started.elapsed() > LOCK_TIMEOUT {
                debug!(key:%; "presence lock not acquired");
                return None;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Whether a backend has revoked the token, or all tokens of its user up to a time of issue. If Redis does not
    /// respond the token is not revoked, as at the backends.
    pub(super) async fn is_revoked(&self, claims: &Claims) -> bool {
        if let Some(id) = &claims.id {
            let key = self.key(&format!("auth:token:{id}:revoked"));
            if let Some(Some(_)) = self.value("revocation", self.store.get(&key).await) {
                return true;
            }
        }
        let key = self.key(&format!("auth:user:{}:revoked_at", claims.user));
        let Some(Some(time)) = self.value("revocation", self.store.get(&key).await) else {
            return false;
        };
        let time = std::str::from_utf8(&time).ok();
        let time = time.and_then(|time| time.trim().parse::<f64>().ok());
        time.zip(claims.issued)
            .is_some_and(|(revoked, issued)| issued as f64 <= revoked)
    }

    /// Publishes a chunk of a completion to the backend that waits for it.
    pub(super) async fn publish_completion_chunk(&self, channel: &str, data: &str) {
        let message = format!(r#"{{"channel":{},"data":{data}}}"#, Value::from(channel));
        let relay = self.key("direct_completion");
        self.value(
            "completion",
            self.store.publish(&relay, message.into()).await,
        );
    }
}

/// The users with a session in the chat that was seen at or after `since`, each once, ordered by id.
fn present_users(pool: &[(String, Bytes)], chat: &str, since: i64) -> Value {
    let quoted = Value::from(chat).to_string();
    let mut users = BTreeMap::new();
    for (_, entry) in pool {
        // Most sessions are in another chat; parsing them would be wasted.
        if !contains(entry, quoted.as_bytes()) {
            continue;
        }
        let Ok(session) = serde_json::from_slice::<SessionEntry>(entry) else {
            continue;
        };
        let is_alive = session.last_seen_at >= since as f64;
        if is_alive && session.chat_ids.iter().any(|id| id == chat) {
            users.insert(session.id, session.name);
        }
    }
    users
        .into_iter()
        .map(|(id, name)| json!({"id": id, "name": name}))
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn read_users(entry: Option<&Bytes>) -> Map<String, Value> {
    entry
        .and_then(|entry| serde_json::from_slice(entry).ok())
        .unwrap_or_default()
}

fn encode(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A random value that identifies the holder of a lock.
fn lock_token() -> String {
    let mut random = [0; 16];
    OsRandom.fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
