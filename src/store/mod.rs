//! Keys with a lifetime, beside the link: leases of node ids, and what apps keep for the cluster.
//!
//! Two halves: `MemoryStore` for a single node and tests, `RedisStore` for clusters. Unlike a link a store
//! answers, and says so when it cannot.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub mod lease;

/// The store is out of reach or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer: {0}")]
pub struct StoreError(pub String);

/// What a store answers, later.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// How a lease stands after an attempt to renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Still held, for another lifetime.
    Renewed,
    /// Nobody holds it any more.
    Lost,
    /// Somebody else holds it.
    Taken,
}

/// Keys with a lifetime. A lease is a key whose value only its holder knows.
pub trait Store: Send + Sync {
    /// Takes the lease unless another value holds it; taking one's own again is a success.
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> Answer<bool>;

    /// Prolongs the lease if `value` still holds it.
    fn renew(&self, key: &str, value: &str, ttl: Duration) -> Answer<Renewal>;

    /// Gives the lease back if `value` still holds it.
    fn release(&self, key: &str, value: &str) -> Answer<()>;

    /// The value of a key that exists.
    fn get(&self, key: &str) -> Answer<Option<Bytes>>;

    /// Sets a key for a time, or for good.
    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Answer<()>;

    /// Removes a key; says whether it was there.
    fn delete(&self, key: &str) -> Answer<bool>;

    /// The value of one field of a hash.
    fn hash_get(&self, key: &str, field: &str) -> Answer<Option<Bytes>>;

    /// Sets fields of a hash, in one command.
    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> Answer<()>;

    /// Removes fields of a hash; says how many were there.
    fn hash_delete(&self, key: &str, fields: Vec<String>) -> Answer<u64>;

    /// All fields of a hash, read in pieces: what changes meanwhile may be missed, nothing else.
    fn hash_scan(&self, key: &str) -> Answer<Vec<(String, Bytes)>>;

    /// Says something on a channel, to whoever listens there: once, or not at all.
    fn publish(&self, channel: &str, message: Bytes) -> Answer<()>;
}

/// A store in process. Clones share their keys.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    keys: Arc<Mutex<HashMap<String, Value>>>,
    hashes: Arc<Mutex<HashMap<String, HashMap<String, Bytes>>>>,
}

#[derive(Debug)]
struct Value {
    bytes: Bytes,
    expiry: Option<Instant>,
}

impl MemoryStore {
    fn keys(&self) -> MutexGuard<'_, HashMap<String, Value>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        keys.retain(|_, value| value.expiry.is_none_or(|expiry| expiry > now));
        keys
    }

    fn hashes(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Bytes>>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &str, bytes: Bytes, ttl: Option<Duration>) {
        let expiry = ttl.map(|ttl| Instant::now() + ttl);
        self.keys().insert(key.to_owned(), Value { bytes, expiry });
    }

    /// Whether the key exists, and with that value.
    fn holder_is(&self, key: &str, value: &str) -> Option<bool> {
        self.keys().get(key).map(|held| held.bytes == value)
    }
}

fn answer<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(ready(Ok(value)))
}

impl Store for MemoryStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> Answer<bool> {
        let free = self.holder_is(key, value) != Some(false);
        if free {
            self.insert(key, Bytes::copy_from_slice(value.as_bytes()), Some(ttl));
        }
        answer(free)
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> Answer<Renewal> {
        answer(match self.holder_is(key, value) {
            None => Renewal::Lost,
            Some(false) => Renewal::Taken,
            Some(true) => {
                self.insert(key, Bytes::copy_from_slice(value.as_bytes()), Some(ttl));
                Renewal::Renewed
            }
        })
    }

    fn release(&self, key: &str, value: &str) -> Answer<()> {
        if self.holder_is(key, value) == Some(true) {
            self.keys().remove(key);
        }
        answer(())
    }

    fn get(&self, key: &str) -> Answer<Option<Bytes>> {
        answer(self.keys().get(key).map(|value| value.bytes.clone()))
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Answer<()> {
        self.insert(key, value, ttl);
        answer(())
    }

    fn delete(&self, key: &str) -> Answer<bool> {
        let hash = self.hashes().remove(key).is_some();
        answer(self.keys().remove(key).is_some() || hash)
    }
    fn hash_get(&self, key: &str, field: &str) -> Answer<Option<Bytes>> {
        let hashes = self.hashes();
        answer(hashes.get(key).and_then(|hash| hash.get(field)).cloned())
    }

    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> Answer<()> {
        self.hashes()
            .entry(key.to_owned())
            .or_default()
            .extend(fields);
        answer(())
    }

    fn hash_delete(&self, key: &str, fields: Vec<String>) -> Answer<u64> {
        let mut hashes = self.hashes();
        let Some(hash) = hashes.get_mut(key) else {
            return answer(0);
        };
        let removed = fields.iter().filter(|field| hash.remove(*field).is_some());
        answer(removed.count() as u64)
    }

    fn hash_scan(&self, key: &str) -> Answer<Vec<(String, Bytes)>> {
        let hashes = self.hashes();
        let fields = hashes.get(key).into_iter().flatten();
        answer(
            fields
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect(),
        )
    }

    fn publish(&self, _channel: &str, _message: Bytes) -> Answer<()> {
        // Nobody else is there.
        answer(())
    }
}
