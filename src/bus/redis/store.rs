//! The store on Redis. Compares and changes leases in scripts, so that no two nodes can both win.

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
use super::settings::{Place, RedisSettings};
use super::slots::{SlotMap, slot};
use super::topology::Surveyor;
use crate::store::{Answer, Renewal, Store, StoreError};

const ACQUIRE: &str = "local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

const RENEW: &str = "local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// Fields asked for at a time; Redis may give more.
const SCAN_BATCH: u32 = 1000;

/// How long a connection counts as alive that has just published.
const PROOF_AGE: Duration = Duration::from_secs(1);

/// Keys in Redis. Connects on first need; clones share the connections.
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
        let surveyor = match settings.place() {
            Place::Cluster(seed) => Some(Surveyor::new(seed.clone())),
            Place::Single(_) | Place::Sentinel(_) => None,
        };
        let connections = Connections {
            by_address: HashMap::new(),
            surveyor,
            found: None,
            proven: None,
            era: 0,
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

    fn run<T, R>(
        &self,
        key: &str,
        command: Cmd,
        read: impl FnOnce(R) -> T + Send + 'static,
    ) -> Answer<T>
    where
        T: Send + 'static,
        R: FromRedisValue + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let slot = slot(key.as_bytes());
        Box::pin(async move {
            let value = shared.query(slot, &command).await;
            value.map(read).map_err(|error| StoreError(error.advised()))
        })
    }
}

impl Shared {
    /// For commands that may run twice: one that failed is sent once more on a fresh connection to whoever is found
    /// to be the master then.
    async fn query<R: FromRedisValue>(
        &self,
        slot: u16,
        command: &Cmd,
    ) -> Result<R, ConnectionError> {
        let (mut connection, era) = self.connection(slot, None).await?;
        match command.query_async(&mut connection).await {
            Err(error) if is_of_the_server(&error) => {}
            settled => return Ok(settled?),
        }
        let (mut connection, _) = self.connection(slot, Some(era)).await?;
        Ok(command.query_async(&mut connection).await?)
    }

    /// A connection for a slot, and its era; not one of the era that is `lost`.
    async fn connection(
        &self,
        slot: u16,
        lost: Option<u64>,
    ) -> Result<(MultiplexedConnection, u64), ConnectionError> {
        let asked = Instant::now();
        let mut connections = self.connections.lock().await;
        connections.begin_anew_after(lost);
        let connection = connections.get(&self.settings, slot, asked).await?;
        Ok((connection, connections.era))
    }

    /// Verifies that the connection works and leads to a master; a new connection has been verified already.
    async fn prove(&self, slot: u16) -> Result<(), ConnectionError> {
        let (mut connection, era) = self.connection(slot, None).await?;
        let address = self.settings.address();
        if self
            .settings
            .verify(&mut connection, &address)
            .await
            .is_err()
        {
            self.connection(slot, Some(era)).await?;
        }
        Ok(())
    }

    /// For a command that must not run twice: sent again only if the server says that it did nothing. A connection
    /// that was not used for a while proves itself first, so that one that died unnoticed costs nothing.
    async fn query_once(&self, slot: u16, command: &Cmd) -> Result<(), ConnectionError> {
        let is_proven = |connections: &Connections| {
            let proven = connections.proven;
            proven.is_some_and(|at| at.elapsed() < PROOF_AGE)
        };
        if !is_proven(&*self.connections.lock().await) {
            self.prove(slot).await?;
        }
        let mut lost = None;
        loop {
            let (mut connection, era) = self.connection(slot, lost).await?;
            let outcome: Result<(), RedisError> = command.query_async(&mut connection).await;
            let mut connections = self.connections.lock().await;
            match outcome {
                Ok(()) => {
                    connections.proven = Some(Instant::now());
                    return Ok(());
                }
                Err(error) if was_not_taken(&error) && lost.is_none() => lost = Some(era),
                Err(error) => {
                    connections.proven = None;
                    return Err(error.into());
                }
            }
        }
    }
}

/// Another connection, or another server, may do it.
fn is_of_the_server(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || was_not_taken(error)
}

/// The server says that it did nothing: another one may.
fn was_not_taken(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{Ask, ClusterDown, Moved, ReadOnly, TryAgain};
    let elsewhere = [Ask, ClusterDown, Moved, ReadOnly, TryAgain].map(ErrorKind::Server);
    elsewhere.contains(&error.kind())
}

/// Connections to the masters used so far, and who owns which slot.
struct Connections {
    by_address: HashMap<Address, MultiplexedConnection>,
    /// In a Redis Cluster.
    surveyor: Option<Surveyor>,
    found: Option<SlotMap>,
    /// When a message was published last.
    proven: Option<Instant>,
    /// How often all of them were given up.
    era: u64,
    /// When nobody could be reached last, and why; not in a Redis Cluster, where others may be.
    failed: Option<(Instant, String)>,
}

impl Connections {
    /// Gives all of them up, unless somebody did since that era: many calls fail with one connection, and the first to
    /// say so has it replaced.
    fn begin_anew_after(&mut self, lost: Option<u64>) {
        if lost == Some(self.era) {
            self.by_address.clear();
            self.found = None;
            self.era += 1;
        }
    }

    /// For a call that waits since `asked`: one that waited for an attempt that failed does not make one more.
    async fn get(
        &mut self,
        settings: &RedisSettings,
        slot: u16,
        asked: Instant,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        if let Some((when, why)) = &self.failed
            && *when >= asked
        {
            return Err(ConnectionError::Again(why.clone()));
        }
        let mut outcome = self.find(settings, slot).await;
        // The map may be of another time.
        if outcome.is_err() && self.found.take().is_some() {
            outcome = self.find(settings, slot).await;
        }
        let failure = outcome.as_ref().err().filter(|_| self.surveyor.is_none());
        self.failed = failure.map(|error| (Instant::now(), error.to_string()));
        outcome
    }

    async fn find(
        &mut self,
        settings: &RedisSettings,
        slot: u16,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let address = match (settings.place(), &mut self.surveyor) {
            // One that is found once is kept until it fails.
            (Place::Sentinel(sentinels), _) => match self.by_address.keys().next() {
                Some(address) => address.clone(),
                None => sentinels.master(settings).await?,
            },
            (Place::Cluster(_), Some(surveyor)) => {
                let map = match self.found.take() {
                    Some(map) => map,
                    None => surveyor.survey(settings, true).await?,
                };
                let owner = map.owner(slot).map(|owner| map.masters[owner].clone());
                self.found = Some(map);
                owner
                    .ok_or_else(|| ConnectionError::Refused(format!("slot {slot} has no master")))?
            }
            (Place::Single(address) | Place::Cluster(address), _) => address.clone(),
        };
        if let Some(connection) = self.by_address.get(&address) {
            return Ok(connection.clone());
        }
        let connection = settings.connect(&address).await?;
        self.by_address.insert(address, connection.clone());
        Ok(connection)
    }
}

fn script(text: &str, key: &str, value: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(key).arg(value);
    command
}

/// Redis takes whole milliseconds, and not 0.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Store for RedisStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> Answer<bool> {
        let mut command = script(ACQUIRE, key, value);
        command.arg(milliseconds(ttl));
        self.run(key, command, |won: i64| won == 1)
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> Answer<Renewal> {
        let mut command = script(RENEW, key, value);
        command.arg(milliseconds(ttl));
        self.run(key, command, |outcome: i64| match outcome {
            1 => Renewal::Renewed,
            0 => Renewal::Lost,
            _ => Renewal::Taken,
        })
    }

    fn release(&self, key: &str, value: &str) -> Answer<()> {
        self.run(key, script(RELEASE, key, value), |_: i64| ())
    }

    fn get(&self, key: &str) -> Answer<Option<Bytes>> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        self.run(key, command, |value: Option<Vec<u8>>| {
            value.map(Bytes::from)
        })
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Answer<()> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&*value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(milliseconds(ttl));
        }
        self.run(key, command, |()| ())
    }

    fn delete(&self, key: &str) -> Answer<bool> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.run(key, command, |removed: u64| removed > 0)
    }

    fn hash_get(&self, key: &str, field: &str) -> Answer<Option<Bytes>> {
        let mut command = redis::cmd("HGET");
        command.arg(key).arg(field);
        self.run(key, command, |value: Option<Vec<u8>>| {
            value.map(Bytes::from)
        })
    }

    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> Answer<()> {
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

    fn hash_delete(&self, key: &str, fields: Vec<String>) -> Answer<u64> {
        if fields.is_empty() {
            return Box::pin(async { Ok(0) });
        }
        let mut command = redis::cmd("HDEL");
        command.arg(key).arg(fields);
        self.run(key, command, |removed: u64| removed)
    }

    fn hash_scan(&self, key: &str) -> Answer<Vec<(String, Bytes)>> {
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
                    .map_err(|error| StoreError(error.advised()))?;
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

    fn publish(&self, channel: &str, message: Bytes) -> Answer<()> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(&*message);
        let shared = Arc::clone(&self.shared);
        let slot = slot(channel.as_bytes());
        Box::pin(async move {
            let said = shared.query_once(slot, &command).await;
            said.map_err(|error| StoreError(error.advised()))
        })
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
    async fn who_waits_for_an_attempt_makes_none_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        // Takes connections and says nothing.
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
        let answers = join_all((0..100).map(|_| store.get("key"))).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        silent.abort();
    }
}
