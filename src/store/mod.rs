//! A key-value store beside the bus: leases of node names, and state that apps share across the cluster.
//!
//! Two implementations: `MemoryStore` for a single node and tests, `RedisStore` for clusters. Unlike on a link, every
//! operation returns a result, or an error if the store is unreachable.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

mod group;
pub mod lease;
mod memory_presence;
mod memory_response;
mod presence;
mod shared;
mod tenure;

pub use group::{GroupState, StreamEntry, StreamGroup};
pub use presence::{
    NumberedRequest, PresenceChange, PresenceChangeKind, PresenceDeparture, PresenceEvent,
    PresenceOutcome, PresencePage, PresenceStore, PresenceSweep, PresenceSweepRequest,
};
pub use shared::{FIRST_FIELD, SharedEntry, SharedStore};
pub use tenure::Tenure;

/// The store is unreachable or rejected the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct StoreError(pub String);

/// The result of a store operation.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The result of renewing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Held for another lifetime.
    Renewed,
    /// The lease has expired.
    Lost,
    /// Another holder has it.
    Taken,
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position in the log, which it keeps when others are removed.
    pub id: String,
    pub value: Bytes,
}

/// Keys with an optional lifetime, hashes and logs. A lease is a key whose value identifies its holder.
///
/// Every operation fails with a [`StoreError`] if the store is unreachable or rejects it.
pub trait Store: PresenceStore + SharedStore + Send + Sync {
    /// Acquires the lease for `value`; false if another value holds it. Acquiring a lease that is already held
    /// succeeds.
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<bool>;

    /// Extends the lease by `ttl` if `value` still holds it.
    fn renew(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<Renewal>;

    /// Releases the lease if `value` still holds it.
    fn release(&self, key: &str, value: &str) -> StoreFuture<()>;

    /// The value of a key, `None` if it does not exist.
    fn get(&self, key: &str) -> StoreFuture<Option<Bytes>>;

    /// Sets a key, with a lifetime or without.
    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<()>;

    /// Removes a key; returns whether it existed.
    fn delete(&self, key: &str) -> StoreFuture<bool>;

    /// The value of a field of a hash.
    fn hash_get(&self, key: &str, field: &str) -> StoreFuture<Option<Bytes>>;

    /// Sets fields of a hash in a single command.
    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> StoreFuture<()>;

    /// Removes fields of a hash; returns how many existed.
    fn hash_delete(&self, key: &str, fields: Vec<String>) -> StoreFuture<u64>;

    /// All fields of a hash, read incrementally: only fields changed during the scan may be missed.
    fn hash_scan(&self, key: &str) -> StoreFuture<Vec<(String, Bytes)>>;

    /// Sets a field of a hash unless it exists; returns whether it has this value now. With a value that no other call
    /// has, the result is exact even if the operation runs twice because a connection was lost.
    fn hash_claim(&self, key: &str, field: &str, value: Bytes) -> StoreFuture<bool>;

    /// Removes a field of a hash; returns whether this operation did so. In its place it sets the field `receipt`, by
    /// which it recognizes its own removal if it runs twice: a name that no other call has, which the caller removes once
    /// it has the result.
    fn hash_take(&self, key: &str, field: &str, receipt: &str) -> StoreFuture<bool>;

    /// Appends an entry to a log, at most once. The log then keeps its newest `limit` entries.
    fn log_append(&self, key: &str, value: Bytes, limit: usize) -> StoreFuture<()>;

    /// At most `count` entries of a log in order: those after the entry `after`, or the first ones.
    fn log_read(&self, key: &str, after: Option<&str>, count: usize) -> StoreFuture<Vec<LogEntry>>;

    /// Removes an entry of a log; returns whether it existed.
    fn log_remove(&self, key: &str, id: &str) -> StoreFuture<bool>;

    /// Number of entries of a log.
    fn log_length(&self, key: &str) -> StoreFuture<u64>;

    /// Sets a fenced key, with a lifetime, unless it has a higher generation; returns whether it was set. Only
    /// [`Store::claim_fenced`] and [`Store::delete`] apply to the same key.
    fn set_fenced(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool>;

    /// Raises the generation of a fenced key and renews its lifetime; returns the new generation and the value, or `None`
    /// if the key does not exist. May raise it more than once.
    fn claim_fenced(&self, key: &str, ttl: Duration) -> StoreFuture<Option<(u64, Bytes)>>;

    /// Publishes a message on a channel, at most once.
    fn publish(&self, channel: &str, message: Bytes) -> StoreFuture<()>;
}

/// An in-process store. Clones share their keys.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    keys: Arc<Mutex<MemoryKeys>>,
    hashes: Arc<Mutex<HashMap<String, HashMap<String, Bytes>>>>,
    logs: Arc<Mutex<HashMap<String, MemoryLog>>>,
    streams: Arc<Mutex<shared::MemoryStreams>>,
    /// By base.
    presence: Arc<Mutex<HashMap<String, memory_presence::MemoryPresence>>>,
    /// Number of commands that are executed, but fail.
    #[cfg(test)]
    lost_responses: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Debug, Clone, Default)]
struct MemoryLog {
    last: u64,
    entries: BTreeMap<u64, Bytes>,
}

/// The keys of a [`MemoryStore`]. Those that have expired are removed when they are next used, or once the number of
/// keys has doubled.
#[derive(Debug, Clone, Default)]
struct MemoryKeys {
    values: HashMap<String, Value>,
    prune_at: usize,
    /// The highest generation of a shared key.
    claims: u64,
}

#[derive(Debug, Clone)]
struct Value {
    bytes: Bytes,
    expiry: Option<Instant>,
}

impl Value {
    fn is_live(&self, now: Instant) -> bool {
        self.expiry.is_none_or(|expiry| expiry > now)
    }
}

impl MemoryKeys {
    fn get(&self, key: &str) -> Option<&Value> {
        let value = self.values.get(key)?;
        value.is_live(Instant::now()).then_some(value)
    }

    fn insert(&mut self, key: String, value: Value) {
        if self.values.len() >= self.prune_at {
            let now = Instant::now();
            self.values.retain(|_, value| value.is_live(now));
            self.prune_at = (2 * self.values.len()).max(64);
        }
        self.values.insert(key, value);
    }

    /// Whether `value` holds the key; `None` if it does not exist.
    fn is_held_by(&self, key: &str, value: &str) -> Option<bool> {
        self.get(key).map(|held| held.bytes == value)
    }

    fn hold(&mut self, key: &str, value: &str, ttl: Duration) {
        let bytes = Bytes::copy_from_slice(value.as_bytes());
        let expiry = Some(Instant::now() + ttl);
        self.insert(key.to_owned(), Value { bytes, expiry });
    }

    fn insert_fenced(&mut self, key: &str, generation: u64, value: &[u8], ttl: Duration) {
        let bytes = [&generation.to_be_bytes(), value].concat().into();
        let expiry = Some(Instant::now() + ttl);
        self.insert(key.to_owned(), Value { bytes, expiry });
    }

    fn remove(&mut self, key: &str) -> Option<Value> {
        let value = self.values.remove(key)?;
        value.is_live(Instant::now()).then_some(value)
    }
}

impl MemoryStore {
    /// A store of its own with the keys, hashes and logs that this one has now, such as a replica.
    pub fn snapshot(&self) -> Self {
        let (keys, hashes, logs) = (self.keys(), self.hashes(), self.logs());
        let (presence, streams) = (self.presence(), self.streams());
        Self {
            keys: Arc::new(Mutex::new(keys.clone())),
            hashes: Arc::new(Mutex::new(hashes.clone())),
            logs: Arc::new(Mutex::new(logs.clone())),
            streams: Arc::new(Mutex::new(streams.clone())),
            presence: Arc::new(Mutex::new(presence.clone())),
            #[cfg(test)]
            lost_responses: Arc::default(),
        }
    }

    /// Number of keys, those included that have expired and were not removed yet.
    #[cfg(test)]
    pub(crate) fn key_count(&self) -> usize {
        self.keys().values.len()
    }

    fn presence(&self) -> MutexGuard<'_, HashMap<String, memory_presence::MemoryPresence>> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, MemoryKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashes(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Bytes>>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<String, MemoryLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, shared::MemoryStreams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &str, bytes: Bytes, ttl: Option<Duration>) {
        let expiry = ttl.map(|ttl| Instant::now() + ttl);
        self.keys().insert(key.to_owned(), Value { bytes, expiry });
    }
}

/// Bytes of the generation in front of a fenced value.
const GENERATION_BYTES: usize = size_of::<u64>();

fn generation_of(held: &[u8]) -> u64 {
    held.first_chunk()
        .map_or(0, |generation| u64::from_be_bytes(*generation))
}

fn ready_ok<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(ready(Ok(value)))
}

impl Store for MemoryStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<bool> {
        let mut keys = self.keys();
        let free = keys.is_held_by(key, value) != Some(false);
        if free {
            keys.hold(key, value, ttl);
        }
        ready_ok(free)
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<Renewal> {
        let mut keys = self.keys();
        ready_ok(match keys.is_held_by(key, value) {
            None => Renewal::Lost,
            Some(false) => Renewal::Taken,
            Some(true) => {
                keys.hold(key, value, ttl);
                Renewal::Renewed
            }
        })
    }

    fn release(&self, key: &str, value: &str) -> StoreFuture<()> {
        let mut keys = self.keys();
        if keys.is_held_by(key, value) == Some(true) {
            keys.remove(key);
        }
        ready_ok(())
    }

    fn get(&self, key: &str) -> StoreFuture<Option<Bytes>> {
        ready_ok(self.keys().get(key).map(|value| value.bytes.clone()))
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<()> {
        self.insert(key, value, ttl);
        ready_ok(())
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        let hash = self.hashes().remove(key).is_some();
        let log = self.logs().remove(key).is_some();
        ready_ok(self.keys().remove(key).is_some() || hash || log)
    }

    fn hash_get(&self, key: &str, field: &str) -> StoreFuture<Option<Bytes>> {
        let hashes = self.hashes();
        ready_ok(hashes.get(key).and_then(|hash| hash.get(field)).cloned())
    }

    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> StoreFuture<()> {
        self.hashes()
            .entry(key.to_owned())
            .or_default()
            .extend(fields);
        ready_ok(())
    }

    fn hash_delete(&self, key: &str, fields: Vec<String>) -> StoreFuture<u64> {
        let mut hashes = self.hashes();
        let Some(hash) = hashes.get_mut(key) else {
            return ready_ok(0);
        };
        let removed = fields.iter().filter(|field| hash.remove(*field).is_some());
        ready_ok(removed.count() as u64)
    }

    fn hash_scan(&self, key: &str) -> StoreFuture<Vec<(String, Bytes)>> {
        let hashes = self.hashes();
        let fields = hashes.get(key).into_iter().flatten();
        ready_ok(
            fields
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect(),
        )
    }

    fn hash_claim(&self, key: &str, field: &str, value: Bytes) -> StoreFuture<bool> {
        let mut hashes = self.hashes();
        let hash = hashes.entry(key.to_owned()).or_default();
        let present = hash.entry(field.to_owned());
        let present = present.or_insert_with(|| value.clone());
        self.respond(*present == value)
    }

    fn hash_take(&self, key: &str, field: &str, receipt: &str) -> StoreFuture<bool> {
        let mut hashes = self.hashes();
        let hash = hashes.entry(key.to_owned()).or_default();
        if hash.remove(field).is_some() {
            hash.insert(receipt.to_owned(), Bytes::new());
        }
        self.respond(hash.contains_key(receipt))
    }

    fn log_append(&self, key: &str, value: Bytes, limit: usize) -> StoreFuture<()> {
        let mut logs = self.logs();
        let log = logs.entry(key.to_owned()).or_default();
        log.last += 1;
        log.entries.insert(log.last, value);
        while log.entries.len() > limit {
            log.entries.pop_first();
        }
        ready_ok(())
    }

    fn log_read(&self, key: &str, after: Option<&str>, count: usize) -> StoreFuture<Vec<LogEntry>> {
        let first = after.and_then(|id| id.parse::<u64>().ok()).unwrap_or(0) + 1;
        let logs = self.logs();
        let entries = logs.get(key).into_iter();
        let entries = entries.flat_map(|log| log.entries.range(first..));
        let entries = entries.take(count).map(|(id, value)| LogEntry {
            id: id.to_string(),
            value: value.clone(),
        });
        ready_ok(entries.collect())
    }

    fn log_remove(&self, key: &str, id: &str) -> StoreFuture<bool> {
        let mut logs = self.logs();
        let log = logs.get_mut(key);
        let removed = log.and_then(|log| log.entries.remove(&id.parse().ok()?));
        ready_ok(removed.is_some())
    }

    fn log_length(&self, key: &str) -> StoreFuture<u64> {
        ready_ok(
            self.logs()
                .get(key)
                .map_or(0, |log| log.entries.len() as u64),
        )
    }

    fn set_fenced(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        let mut keys = self.keys();
        let held = keys.get(key).map_or(0, |held| generation_of(&held.bytes));
        if held <= generation {
            keys.insert_fenced(key, generation, &value, ttl);
        }
        ready_ok(held <= generation)
    }

    fn claim_fenced(&self, key: &str, ttl: Duration) -> StoreFuture<Option<(u64, Bytes)>> {
        let mut keys = self.keys();
        let Some(held) = keys.get(key).map(|held| held.bytes.clone()) else {
            return ready_ok(None);
        };
        let generation = generation_of(&held) + 1;
        let value = held.slice(GENERATION_BYTES.min(held.len())..);
        keys.insert_fenced(key, generation, &value, ttl);
        ready_ok(Some((generation, value)))
    }

    fn publish(&self, _channel: &str, _message: Bytes) -> StoreFuture<()> {
        // An in-process store has no subscribers.
        ready_ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expired_keys_are_removed_before_they_outnumber_the_others() {
        let store = MemoryStore::default();
        let ttl = Some(Duration::from_secs(1));
        for number in 0..10_000 {
            let expiring = store.set(&number.to_string(), Bytes::new(), ttl);
            expiring.await.unwrap();
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        // At most 50 keys were live at any time.
        assert!(store.keys().values.len() <= 128);
        assert_eq!(store.get("0").await.unwrap(), None);
        assert!(store.get("9999").await.unwrap().is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!store.delete("9999").await.unwrap());
    }
}
