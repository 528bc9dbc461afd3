//! What this tier keeps in Redis for the backends, in their form: who is connected, which models are in use,
//! who looks at a chat; and the words by which they revoke tokens.
//!
//! Redis that does not answer is logged and otherwise no trouble: the backends treat these keys the same way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::debug;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::token::Claims;
use super::token_cache::User;
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::model::{Random, SocketId};
use crate::store::{Store, StoreError};

/// Life of a lock that is not given back, as at the backends.
const LOCK_LIFE: Duration = Duration::from_secs(60);
/// How long one waits for a lock, and how often one looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Entries written by one command.
pub(super) const WRITE_BATCH: usize = 500;

/// The keys of the backends.
#[derive(Clone)]
pub(super) struct Pools {
    store: Arc<dyn Store>,
    prefix: String,
    /// Age in seconds at which a session counts as dead.
    session_timeout: i64,
    metrics: Arc<Metrics>,
}

/// A session as a backend or a node wrote it; only what is read here.
#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    chat_ids: Vec<String>,
    #[serde(default)]
    last_seen_at: f64,
}

impl Pools {
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

    /// What Redis answered; that it did not is counted, for the bridge reports the loss of Redis itself.
    fn noted<T>(&self, what: &str, answer: Result<T, StoreError>) -> Option<T> {
        answer
            .map_err(|error| {
                self.metrics.open_webui_redis_failures_total.increment();
                debug!(error:%; "{what} not reached");
            })
            .ok()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Enters sockets, or refreshes their entries.
    pub(super) async fn enter(&self, entries: Vec<(SocketId, Bytes)>) {
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
            self.noted("session pool", self.store.hash_set(&key, batch).await);
        }
    }

    /// Removes sockets.
    pub(super) async fn leave(&self, sockets: &[SocketId]) {
        let key = self.key("session_pool");
        for batch in sockets.chunks(WRITE_BATCH) {
            let fields = batch.iter().map(SocketId::to_string).collect();
            self.noted("session pool", self.store.hash_delete(&key, fields).await);
        }
    }

    /// Notes that a socket uses a model. Others write the same entry: the last one wins, as at the backends.
    pub(super) async fn use_model(&self, model: &str, socket: SocketId, now: i64) {
        let key = self.key("usage_pool");
        let Some(users) = self.noted("usage pool", self.store.hash_get(&key, model).await) else {
            return;
        };
        let mut users = read_users(users.as_ref());
        users.insert(socket.to_string(), json!({"updated_at": now}));
        let entry = (model.to_owned(), encoded(&Value::Object(users)));
        self.noted("usage pool", self.store.hash_set(&key, vec![entry]).await);
    }

    /// A socket uses a model no more.
    pub(super) async fn drop_model(&self, model: &str, socket: SocketId) {
        let key = self.key("usage_pool");
        let Some(users) = self.noted("usage pool", self.store.hash_get(&key, model).await) else {
            return;
        };
        let mut users = read_users(users.as_ref());
        if users.remove(socket.as_str()).is_none() {
            return;
        }
        if users.is_empty() {
            let gone = self.store.hash_delete(&key, vec![model.to_owned()]).await;
            self.noted("usage pool", gone);
        } else {
            let entry = (model.to_owned(), encoded(&Value::Object(users)));
            self.noted("usage pool", self.store.hash_set(&key, vec![entry]).await);
        }
    }

    /// Who looks at a chat, over all backends and nodes: `[{"id":…,"name":…},…]`. Held by the lock of that chat
    /// while `tell` hands it on, so that an older list cannot overtake a newer one.
    pub(super) async fn present(&self, chat: &str, now: i64, tell: impl FnOnce(&Value)) {
        let key = self.key(&format!("chat:{chat}:presence:lock"));
        let token = lock_token();
        let Some(()) = self.lock(&key, &token).await else {
            return;
        };
        let pool = self.store.hash_scan(&self.key("session_pool")).await;
        if let Some(pool) = self.noted("session pool", pool) {
            tell(&people(&pool, chat, now - self.session_timeout));
        }
        self.noted("presence lock", self.store.release(&key, &token).await);
    }

    async fn lock(&self, key: &str, token: &str) -> Option<()> {
        let begun = tokio::time::Instant::now();
        loop {
            let lock = self.store.acquire_lease(key, token, LOCK_LIFE).await;
            if self.noted("presence lock", lock)? {
                return Some(());
            }
            if begun.elapsed() > LOCK_PATIENCE {
                debug!(key:%; "presence lock not taken");
                return None;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Whether a backend has revoked the token: itself, or all of its user made until a time. Without an answer
    /// it counts as good, as at the backends.
    pub(super) async fn is_revoked(&self, claims: &Claims) -> bool {
        if let Some(id) = &claims.id {
            let key = self.key(&format!("auth:token:{id}:revoked"));
            if let Some(Some(_)) = self.noted("revocation", self.store.get(&key).await) {
                return true;
            }
        }
        let key = self.key(&format!("auth:user:{}:revoked_at", claims.user));
        let Some(Some(time)) = self.noted("revocation", self.store.get(&key).await) else {
            return false;
        };
        let time = std::str::from_utf8(&time).ok();
        let time = time.and_then(|time| time.trim().parse::<f64>().ok());
        time.zip(claims.issued)
            .is_some_and(|(revoked, issued)| issued as f64 <= revoked)
    }

    /// Hands a piece of a model's answer to the backend that waits for it.
    pub(super) async fn pass_piece(&self, channel: &str, data: &str) {
        let message = format!(r#"{{"channel":{},"data":{data}}}"#, Value::from(channel));
        let relay = self.key("direct_completion");
        self.noted("relay", self.store.publish(&relay, message.into()).await);
    }
}

/// The entry of a socket in the session pool.
pub(super) fn session<'a>(user: &User, chats: impl Iterator<Item = &'a String>, now: i64) -> Bytes {
    let chats: Vec<_> = chats.map(|chat| Value::from(chat.as_str())).collect();
    let chats = Value::from(chats);
    let entry = format!(
        r#"{},"last_seen_at":{now},"chat_ids":{chats}}}"#,
        user.snapshot
    );
    Bytes::from(entry)
}

/// The people with a living session in the chat, each once, by id.
fn people(pool: &[(String, Bytes)], chat: &str, since: i64) -> Value {
    let quoted = Value::from(chat).to_string();
    let mut people = BTreeMap::new();
    for (_, entry) in pool {
        // Most sessions look at another chat: do not parse those.
        if !contains(entry, quoted.as_bytes()) {
            continue;
        }
        let Ok(session) = serde_json::from_slice::<Session>(entry) else {
            continue;
        };
        let lives = session.last_seen_at >= since as f64;
        if lives && session.chat_ids.iter().any(|id| id == chat) {
            people.insert(session.id, session.name);
        }
    }
    people
        .into_iter()
        .map(|(id, name)| json!({"id": id, "name": name}))
        .collect()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn read_users(entry: Option<&Bytes>) -> Map<String, Value> {
    entry
        .and_then(|entry| serde_json::from_slice(entry).ok())
        .unwrap_or_default()
}

fn encoded(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A value that no other holder of a lock has.
fn lock_token() -> String {
    let mut random = [0; 16];
    OsRandom.fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
