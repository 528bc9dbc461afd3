//! Whose token it is: what the backends said, kept for a while, asked once at a time.
//!
//! One table for a node. Concurrent requests about the same token share one answer. Of refused tokens, and of tokens
//! that were verified some time ago, only hashes are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::recent::Recent;

/// Hashes kept, each of refused tokens and of verified ones.
const MOST: usize = 100_000;

/// A user as the backends see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role: String,
    /// May be in channels.
    pub(super) channels: bool,
    /// May read notes.
    pub(super) notes: bool,
    /// What the session pool says of the user: a JSON object without its closing brace, to which the socket's own is
    /// added each time.
    pub(super) snapshot: Box<str>,
}

/// The answer of `GET /api/v1/auths/`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    id: String,
    name: String,
    role: String,
    #[serde(default)]
    permissions: Permissions,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    features: Features,
}

#[derive(Debug, Default, Deserialize)]
struct Features {
    #[serde(default)]
    channels: bool,
    #[serde(default)]
    notes: bool,
}

/// Fields of an account that stock backends keep in the session pool, beside those every user has.
const POOLED: [&str; 4] = [
    "email",
    "status_emoji",
    "status_message",
    "status_expires_at",
];

impl Account {
    /// The user, unless the account waits for its approval or is of a kind that sockets do not serve.
    pub(super) fn verified(self) -> Option<User> {
        let is_admin = self.role == "admin";
        if !is_admin && self.role != "user" {
            return None;
        }
        let mut snapshot = Map::new();
        for (field, value) in [("id", &self.id), ("name", &self.name), ("role", &self.role)] {
            snapshot.insert(field.to_owned(), Value::from(value.as_str()));
        }
        let pooled = self.rest.into_iter();
        snapshot.extend(pooled.filter(|(field, _)| POOLED.contains(&field.as_str())));
        Some(User {
            id: self.id,
            name: self.name,
            role: self.role,
            channels: is_admin || self.permissions.features.channels,
            notes: is_admin || self.permissions.features.notes,
            snapshot: open_object(snapshot),
        })
    }
}

/// The JSON of a map that has fields, without its closing brace.
fn open_object(fields: Map<String, Value>) -> Box<str> {
    let mut json = Value::Object(fields).to_string();
    json.pop();
    json.into()
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenStatus {
    Verified(Arc<User>),
    Refused,
    /// No backend answered.
    Unknown,
}

/// What a look into the table gives.
#[derive(Debug)]
pub(super) enum Found {
    /// A word not older than wanted.
    Known(TokenStatus),
    /// Somebody asks already.
    Wait(oneshot::Receiver<TokenStatus>),
    /// Nobody knows: who looked must ask, and tell by [`TokenCache::settle`].
    Ask,
}

#[derive(Debug, Default)]
struct Entry {
    /// Sockets of this node that live by the token.
    sockets: usize,
    known: Option<(TokenStatus, Instant)>,
    /// Who waits for the answer to the question on its way.
    asking: Option<Vec<oneshot::Sender<TokenStatus>>>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct TokenCache(Mutex<Table>);

#[derive(Debug)]
struct Table {
    /// Tokens in use by sockets, verified recently, or about which a request is pending.
    entries: HashMap<Arc<str>, Entry>,
    /// When each was refused.
    refused: Recent,
    /// Tokens that were valid once. They are not accepted for that, but requests about them have priority.
    verified: Recent,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            refused: Recent::new(MOST),
            verified: Recent::new(MOST),
        }
    }
}

impl TokenCache {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token was verified before.
    pub(super) fn is_familiar(&self, token: &Arc<str>) -> bool {
        let table = self.table();
        let entry = table.entries.get(token);
        entry.is_some_and(|entry| entry.sockets > 0) || table.verified.at(token).is_some()
    }

    /// Looks for a word about the token that is at most `age` old.
    pub(super) fn look(&self, token: &Arc<str>, age: Duration, now: Instant) -> Found {
        let mut table = self.table();
        let is_young = |said: Instant| now.duration_since(said) < age;
        let entry = table.entries.get(token);
        if let Some((status, said)) = entry.and_then(|entry| entry.known.as_ref())
            && is_young(*said)
        {
            return Found::Known(status.clone());
        }
        if table.refused.at(token).is_some_and(is_young) {
            return Found::Known(TokenStatus::Refused);
        }
        let entry = table.entries.entry(Arc::clone(token)).or_default();
        match &mut entry.asking {
            Some(waiting) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Found::Wait(receiver)
            }
            None => {
                entry.asking = Some(Vec::new());
                Found::Ask
            }
        }
    }

    /// The answer to a question: everybody who waits hears it. That nobody answered is not remembered.
    pub(super) fn settle(&self, token: &Arc<str>, status: &TokenStatus, now: Instant) {
        let mut table = self.table();
        let Table {
            entries,
            refused,
            verified,
        } = &mut *table;
        let Some(entry) = entries.get_mut(token) else {
            return;
        };
        let waiting = entry.asking.take();
        let is_used = entry.sockets > 0;
        let forget = match status {
            TokenStatus::Unknown => entry.known.is_none() && !is_used,
            TokenStatus::Refused => {
                refused.enter(token, now);
                verified.remove(token);
                !is_used
            }
            TokenStatus::Verified(_) => {
                refused.remove(token);
                verified.enter(token, now);
                false
            }
        };
        if forget {
            entries.remove(token);
        } else if *status != TokenStatus::Unknown {
            entry.known = Some((status.clone(), now));
        }
        for sender in waiting.into_iter().flatten() {
            // Whoever waited may be gone.
            let _ = sender.send(status.clone());
        }
    }

    /// A socket lives by the token from now on.
    pub(super) fn hold(&self, token: &Arc<str>) {
        let mut table = self.table();
        let entry = table.entries.entry(Arc::clone(token)).or_default();
        entry.sockets += 1;
    }

    /// A socket that lived by the token is gone. After the last one nothing is believed: the backends end all sockets of
    /// a token that they void, and this node would not hear of it any more.
    pub(super) fn release(&self, token: &Arc<str>) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(token) else {
            return;
        };
        entry.sockets = entry.sockets.saturating_sub(1);
        if entry.sockets == 0 {
            entry.known = None;
            if entry.asking.is_none() {
                table.entries.remove(token);
            }
            table.refused.remove(token);
        }
    }

    /// Believes nothing that was said about the token so far.
    pub(super) fn doubt(&self, token: &Arc<str>) {
        let mut table = self.table();
        if let Some(entry) = table.entries.get_mut(token) {
            entry.known = None;
        }
        table.refused.remove(token);
    }

    /// Forgets what is older than `age`.
    pub(super) fn purge(&self, age: Duration, now: Instant) {
        self.table().entries.retain(|_, entry| {
            let is_young = |(_, said): &(TokenStatus, Instant)| now.duration_since(*said) < age;
            entry.asking.is_some()
                || entry.sockets > 0
                || entry.known.as_ref().is_some_and(is_young)
        });
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(json: &str) -> Option<User> {
        serde_json::from_str::<Account>(json).unwrap().verified()
    }

    #[test]
    fn an_account_becomes_a_user() {
        let json = r#"{"token":"t","id":"u","name":"N","role":"user","email":"e","bio":"long","status_emoji":null,
            "permissions":{"features":{"channels":true,"notes":false},"chat":{}},"expires_at":1}"#;
        let user = account(json).unwrap();
        assert!(user.channels && !user.notes);
        let snapshot: Value = serde_json::from_str(&format!("{}}}", user.snapshot)).unwrap();
        let expected =
            serde_json::json!({"id":"u","name":"N","role":"user","email":"e","status_emoji":null});
        assert_eq!(snapshot, expected);
        let admin = account(r#"{"id":"u","name":"N","role":"admin"}"#).unwrap();
        assert!(admin.channels && admin.notes);
        assert_eq!(account(r#"{"id":"u","name":"N","role":"pending"}"#), None);
    }

    #[test]
    fn a_token_is_asked_about_once_and_believed_for_a_while() {
        let token_cache = TokenCache::default();
        let token: Arc<str> = "t".into();
        let age = Duration::from_secs(10);
        let now = Instant::now();
        assert!(matches!(token_cache.look(&token, age, now), Found::Ask));
        let Found::Wait(mut waiting) = token_cache.look(&token, age, now) else {
            panic!("a second question would be on its way");
        };
        assert!(waiting.try_recv().is_err());
        token_cache.settle(&token, &TokenStatus::Refused, now);
        assert_eq!(waiting.try_recv(), Ok(TokenStatus::Refused));
        let known = token_cache.look(&token, age, now + age / 2);
        assert!(matches!(known, Found::Known(TokenStatus::Refused)));
        assert!(matches!(
            token_cache.look(&token, age, now + age),
            Found::Ask
        ));
        token_cache.settle(&token, &TokenStatus::Unknown, now + age);
        let older = token_cache.look(&token, age * 3, now + age);
        assert!(
            matches!(older, Found::Known(TokenStatus::Refused)),
            "still known"
        );
        token_cache.doubt(&token);
        assert!(matches!(token_cache.look(&token, age, now), Found::Ask));
        token_cache.settle(&token, &TokenStatus::Unknown, now);
        assert_eq!(
            token_cache.len(),
            0,
            "that nobody answered is not remembered"
        );
    }

    #[test]
    fn with_its_last_socket_a_token_is_forgotten() {
        let token_cache = TokenCache::default();
        let token: Arc<str> = "t".into();
        let age = Duration::from_secs(10);
        let now = Instant::now();
        assert!(matches!(token_cache.look(&token, age, now), Found::Ask));
        token_cache.settle(&token, &TokenStatus::Refused, now);
        token_cache.hold(&token);
        token_cache.hold(&token);
        token_cache.purge(age, now + age * 2);
        token_cache.release(&token);
        let known = token_cache.look(&token, age, now);
        assert!(matches!(known, Found::Known(TokenStatus::Refused)));
        token_cache.release(&token);
        assert_eq!(token_cache.len(), 0);
        token_cache.release(&token);
        assert!(matches!(token_cache.look(&token, age, now), Found::Ask));
    }

    #[test]
    fn refused_tokens_are_kept_as_hashes_and_verified_ones_stay_familiar() {
        let token_cache = TokenCache::default();
        let age = Duration::from_secs(10);
        let now = Instant::now();
        for number in 0..100 {
            let forged: Arc<str> = format!("forged {number}").into();
            assert!(matches!(token_cache.look(&forged, age, now), Found::Ask));
            token_cache.settle(&forged, &TokenStatus::Refused, now);
            let again = token_cache.look(&forged, age, now);
            assert!(matches!(again, Found::Known(TokenStatus::Refused)));
            assert!(!token_cache.is_familiar(&forged));
        }
        assert_eq!(token_cache.len(), 0);
        let good: Arc<str> = "good".into();
        assert!(!token_cache.is_familiar(&good));
        assert!(matches!(token_cache.look(&good, age, now), Found::Ask));
        let user = account(r#"{"id":"u","name":"N","role":"admin"}"#).unwrap();
        token_cache.settle(&good, &TokenStatus::Verified(Arc::new(user)), now);
        token_cache.hold(&good);
        token_cache.release(&good);
        assert_eq!(token_cache.len(), 0);
        assert!(token_cache.is_familiar(&good), "its page comes back");
        assert!(matches!(token_cache.look(&good, age, now), Found::Ask));
        token_cache.settle(&good, &TokenStatus::Refused, now);
        assert!(!token_cache.is_familiar(&good));
    }

    #[test]
    fn old_words_are_forgotten() {
        let token_cache = TokenCache::default();
        let age = Duration::from_secs(10);
        let now = Instant::now();
        for name in ["a", "b"] {
            let token: Arc<str> = name.into();
            assert!(matches!(token_cache.look(&token, age, now), Found::Ask));
            if name == "a" {
                token_cache.settle(&token, &TokenStatus::Refused, now);
            }
        }
        token_cache.purge(age, now + age * 2);
        assert_eq!(token_cache.len(), 1, "the question on its way stays");
    }
}
