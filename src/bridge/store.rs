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
}

/// A store in process. Clones share their keys.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    keys: Arc<Mutex<HashMap<String, Value>>>,
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
        answer(self.keys().remove(key).is_some())
    }
}
