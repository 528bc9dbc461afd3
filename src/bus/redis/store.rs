//! The store on Redis. Leases are compared and changed atomically in scripts, so that only one node can hold one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError};
use tokio::sync::Mutex;

use super::address::Address;
use super::error::ConnectionError;
use super::fences;
use super::scripts::{ACQUIRE, CLAIM_FIELD, RELEASE, RENEW, TAKE_FIELD, milliseconds, script};
use super::settings::{Endpoints, RedisSettings};
use super::slots::{SlotMap, slot};
use super::topology::TopologyClient;
use crate::store::{LogEntry, Renewal, Store, StoreError, StoreFuture};

/// The field of a stream entry that contains the value.
const LOG_FIELD: &str = "body";

/// Number of fields per scan; Redis may return more.
const SCAN_BATCH: u32 = 1000;

/// How long a connection counts as verified after it has published.
const VERIFIED_FOR: Duration = Duration::from_secs(1);

/// A store in Redis. Connects on first use; clones share the connections.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    settings: RedisSettings,
    connections: Mutex<Connections>,
}

impl RedisStore {
    /// A store on the same server as a link with these settings.
    pub fn new(settings: RedisSettings) -> Self {
        let topology = match settings.endpoints() {
            Endpoints::Cluster(seed) => Some(TopologyClient::new(seed.clone())),
            Endpoints::Single(_) | Endpoints::Sentinel(_) => None,
        };
        let connections = Connections {
            by_address: HashMap::new(),
            topology,
            slot_map: None,
            last_publish: None,
            generation: 0,
            failed: None,
        };
        let shared = Shared {
            settings,
            connections: Mutex::new(connections),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Runs a command that may run twice, on the server of the key.
    pub(super) fn run<T, R>(
        &self,
        key: &str,
        command: Cmd,
        read: impl FnOnce(R) -> T + Send + 'static,
    ) -> StoreFuture<T>
    where
        T: Send + 'static,
        R: FromRedisValue + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let slot = slot(key.as_bytes());
        Box::pin(async move {
            let value = shared.query(slot, &command).await;
            value
                .map(read)
                .map_err(|error| StoreError(error.with_hint()))
        })
    }

    /// Runs a command that must not run twice; its response is ignored.
    fn run_once(&self, key: &str, command: Cmd) -> StoreFuture<()> {
        let shared = Arc::clone(&self.shared);
        let slot = slot(key.as_bytes());
        Box::pin(async move {
            let executed = shared.query_once(slot, &command).await;
            executed.map_err(|error| StoreError(error.with_hint()))
        })
    }
}

impl Shared {
    /// Runs an idempotent command: if it fails, it is retried once on a new connection to the current master.
    async fn query<R: FromRedisValue>(
        &self,
        slot: u16,
        command: &Cmd,
    ) -> Result<R, ConnectionError> {
        let (mut connection, generation) = self.connection(slot, None).await?;
        match command.query_async(&mut connection).await {
            Err(error) if is_retryable(&error) => {}
            outcome => return Ok(outcome?),
        }
        let (mut connection, _) = self.connection(slot, Some(generation)).await?;
        Ok(command.query_async(&mut connection).await?)
    }

    /// A connection for a slot, and its generation, which is newer than `failed_generation`.
    async fn connection(
        &self,
        slot: u16,
        failed_generation: Option<u64>,
    ) -> Result<(MultiplexedConnection, u64), ConnectionError> {
        let requested = Instant::now();
        let mut connections = self.connections.lock().await;
        connections.invalidate(failed_generation);
        let connection = connections.get(&self.settings, slot, requested).await?;
        Ok((connection, connections.generation))
    }

    /// Verifies that the connection works and leads to a master. A new connection is already verified.
    async fn ensure_verified(&self, slot: u16) -> Result<(), ConnectionError> {
        let (mut connection, generation) = self.connection(slot, None).await?;
        let address = self.settings.address();
        if self
            .settings
            .verify(&mut connection, &address)
            .await
            .is_err()
        {
            self.connection(slot, Some(generation)).await?;
        }
        Ok(())
    }

    /// Runs a command that must not run twice: retried only if the server reports that it did not execute it. A
    /// connection that was idle is verified first, so that a stale one does not fail the command.
    async fn query_once(&self, slot: u16, command: &Cmd) -> Result<(), ConnectionError> {
        let is_verified = |connections: &Connections| {
            let last_publish = connections.last_publish;
            last_publish.is_some_and(|at| at.elapsed() < VERIFIED_FOR)
        };
        if !is_verified(&*self.connections.lock().await) {
            self.ensure_verified(slot).await?;
        }
        let mut failed_generation = None;
        loop {
            let (mut connection, generation) = self.connection(slot, failed_generation).await?;
            let outcome: Result<redis::Value, RedisError> =
                command.query_async(&mut connection).await;
            let mut connections = self.connections.lock().await;
            match outcome {
                Ok(_) => {
                    connections.last_publish = Some(Instant::now());
                    return Ok(());
                }
                Err(error) if was_not_executed(&error) && failed_generation.is_none() => {
                    failed_generation = Some(generation)
                }
                Err(error) => {
                    connections.last_publish = None;
                    return Err(error.into());
                }
            }
        }
    }
}

/// A retry on another connection or server may succeed.
fn is_retryable(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || was_not_executed(error)
}

/// The server did not execute the command; another server may.
fn was_not_executed(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{Ask, ClusterDown, Moved, ReadOnly, TryAgain};
    let elsewhere = [Ask, ClusterDown, Moved, ReadOnly, TryAgain].map(ErrorKind::Server);
    elsewhere.contains(&error.kind())
}

/// Connections to the masters used so far, and the slot map.
struct Connections {
    by_address: HashMap<Address, MultiplexedConnection>,
    /// Set in a Redis Cluster.
    topology: Option<TopologyClient>,
    slot_map: Option<SlotMap>,
    /// When a message was last published.
    last_publish: Option<Instant>,
    /// How often all connections were invalidated.
    generation: u64,
    /// When and why the last attempt to connect failed. Unused in a Redis Cluster, where other servers may be
    /// reachable.
    failed: Option<(Instant, String)>,
}

impl Connections {
    /// Discards all connections if `failed_generation` is the current one: many calls fail with one connection, and
    /// only the first of them must replace it.
    fn invalidate(&mut self, failed_generation: Option<u64>) {
        if failed_generation == Some(self.generation) {
            self.by_address.clear();
            self.slot_map = None;
            self.generation += 1;
        }
    }

    /// A connection for a call that has waited since `requested`. If an attempt failed while it waited, it does not
    /// make another one.
    async fn get(
        &mut self,
        settings: &RedisSettings,
        slot: u16,
        requested: Instant,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        if let Some((when, why)) = &self.failed
            && *when >= requested
        {
            return Err(ConnectionError::ConcurrentAttempt(why.clone()));
        }
        let mut outcome = self.find(settings, slot).await;
        // The slot map may be outdated.
        if outcome.is_err() && self.slot_map.take().is_some() {
            outcome = self.find(settings, slot).await;
        }
        let failure = outcome.as_ref().err().filter(|_| self.topology.is_none());
        self.failed = failure.map(|error| (Instant::now(), error.to_string()));
        outcome
    }

    async fn find(
        &mut self,
        settings: &RedisSettings,
        slot: u16,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let address = match (settings.endpoints(), &mut self.topology) {
            // A resolved master is used until its connection fails.
            (Endpoints::Sentinel(sentinels), _) => match self.by_address.keys().next() {
                Some(address) => address.clone(),
                None => sentinels.master(settings).await?,
            },
            (Endpoints::Cluster(_), Some(topology)) => {
                let map = match self.slot_map.take() {
                    Some(map) => map,
                    None => topology.slot_map(settings, true).await?,
                };
                let owner = map.owner(slot).map(|owner| map.masters[owner].clone());
                self.slot_map = Some(map);
                owner.ok_or_else(|| {
                    ConnectionError::Rejected(format!("slot {slot} has no master"))
                })?
            }
            (Endpoints::Single(address) | Endpoints::Cluster(address), _) => address.clone(),
        };
        if let Some(connection) = self.by_address.get(&address) {
            return Ok(connection.clone());
        }
        let connection = settings.connect(&address).await?;
        self.by_address.insert(address, connection.clone());
        Ok(connection)
    }
}

impl Store for RedisStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<bool> {
        let mut command = script(ACQUIRE, key, value);
        command.arg(milliseconds(ttl));
        self.run(key, command, |won: i64| won == 1)
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<Renewal> {
        let mut command = script(RENEW, key, value);
        command.arg(milliseconds(ttl));
        self.run(key, command, |outcome: i64| match outcome {
            1 => Renewal::Renewed,
            0 => Renewal::Lost,
            _ => Renewal::Taken,
        })
    }

    fn release(&self, key: &str, value: &str) -> StoreFuture<()> {
        self.run(key, script(RELEASE, key, value), |_: i64| ())
    }

    fn get(&self, key: &str) -> StoreFuture<Option<Bytes>> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        self.run(key, command, |value: Option<Vec<u8>>| {
            value.map(Bytes::from)
        })
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<()> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&*value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(milliseconds(ttl));
        }
        self.run(key, command, |()| ())
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.run(key, command, |removed: u64| removed > 0)
    }

    fn hash_get(&self, key: &str, field: &str) -> StoreFuture<Option<Bytes>> {
        let mut command = redis::cmd("HGET");
        command.arg(key).arg(field);
        self.run(key, command, |value: Option<Vec<u8>>| {
            value.map(Bytes::from)
        })
    }

    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> StoreFuture<()> {
        if fields.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let mut command = redis::cmd("HSET");
        command.arg(key);
        for (field, value) in &fields {
            command.arg(field).arg(&**value);
        }
        self.run(key, command, |_added: u64| ())
    }

    fn hash_delete(&self, key: &str, fields: Vec<String>) -> StoreFuture<u64> {
        if fields.is_empty() {
            return Box::pin(async { Ok(0) });
        }
        let mut command = redis::cmd("HDEL");
        command.arg(key).arg(fields);
        self.run(key, command, |removed: u64| removed)
    }

    fn hash_scan(&self, key: &str) -> StoreFuture<Vec<(String, Bytes)>> {
        let shared = Arc::clone(&self.shared);
        let (key, slot) = (key.to_owned(), slot(key.as_bytes()));
        Box::pin(async move {
            let mut found = HashMap::new();
            let mut cursor = 0_u64;
            loop {
                let mut command = redis::cmd("HSCAN");
                command.arg(&key).arg(cursor).arg("COUNT").arg(SCAN_BATCH);
                let (next, batch): (u64, Vec<(String, Vec<u8>)>) = shared
                    .query(slot, &command)
                    .await
                    .map_err(|error| StoreError(error.with_hint()))?;
                found.extend(
                    batch
                        .into_iter()
                        .map(|(field, value)| (field, Bytes::from(value))),
                );
                cursor = next;
                if cursor == 0 {
                    return Ok(found.into_iter().collect());
                }
            }
        })
    }

    fn hash_claim(&self, key: &str, field: &str, value: Bytes) -> StoreFuture<bool> {
        let mut command = script(CLAIM_FIELD, key, field);
        command.arg(&*value);
        self.run(key, command, |claimed: i64| claimed == 1)
    }

    fn hash_take(&self, key: &str, field: &str, receipt: &str) -> StoreFuture<bool> {
        let mut command = script(TAKE_FIELD, key, field);
        command.arg(receipt);
        self.run(key, command, |taken: i64| taken == 1)
    }

    fn log_append(&self, key: &str, value: Bytes, limit: usize) -> StoreFuture<()> {
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("MAXLEN").arg(limit);
        command.arg("*").arg(LOG_FIELD).arg(&*value);
        self.run_once(key, command)
    }

    fn log_read(&self, key: &str, after: Option<&str>, count: usize) -> StoreFuture<Vec<LogEntry>> {
        let mut command = redis::cmd("XRANGE");
        let first = after.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        command.arg(key).arg(first).arg("+").arg("COUNT").arg(count);
        type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;
        self.run(key, command, |entries: Entries| {
            let entries = entries.into_iter().filter_map(|(id, fields)| {
                let mut fields = fields.into_iter();
                let (_, value) = fields.find(|(name, _)| name == LOG_FIELD)?;
                let value = Bytes::from(value);
                Some(LogEntry { id, value })
            });
            entries.collect()
        })
    }

    fn log_remove(&self, key: &str, id: &str) -> StoreFuture<bool> {
        let mut command = redis::cmd("XDEL");
        command.arg(key).arg(id);
        self.run(key, command, |removed: u64| removed > 0)
    }

    fn log_length(&self, key: &str) -> StoreFuture<u64> {
        let mut command = redis::cmd("XLEN");
        command.arg(key);
        self.run(key, command, |length: u64| length)
    }

    fn set_fenced(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        self.run(
            key,
            fences::set(key, generation, &value, milliseconds(ttl)),
            |set: bool| set,
        )
    }

    fn claim_fenced(&self, key: &str, ttl: Duration) -> StoreFuture<Option<(u64, Bytes)>> {
        self.run(key, fences::claim(key, milliseconds(ttl)), fences::claimed)
    }

    fn publish(&self, channel: &str, message: Bytes) -> StoreFuture<()> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(&*message);
        self.run_once(channel, command)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore")
            .field(&self.shared.settings)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn concurrent_calls_share_one_attempt_to_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        // Accepts connections and never responds.
        let silent = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
            }
        });
        let mut settings = RedisSettings::parse(&format!("redis://{address}")).unwrap();
        settings.connect_timeout = Duration::from_millis(200);
        let store = RedisStore::new(settings);
        let results = join_all((0..100).map(|_| store.get("key"))).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        silent.abort();
    }
}
