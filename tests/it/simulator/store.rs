//! A store whose server can fail over, and the connections of nodes to it, which can be cut and delayed.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use roomwire::store::{LogEntry, MemoryStore, Renewal, Store, StoreError, StoreFuture};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::mutation::{Mutation, Mutator};
use super::random::Chance;

mod services;

/// How far back a failover can go.
const KEPT: Duration = Duration::from_secs(2);
/// Usual delay of a command or a response.
const LATENCY: (usize, usize) = (0, 5);
/// The same while the node stalls.
const STALLED: (usize, usize) = (2_000, 2_000);
/// Greatest difference between the speeds of the clocks of a node and the server, in thousandths: many times that of real
/// ones.
const DRIFT: usize = 10;

/// The server. Clones refer to the same one.
#[derive(Clone, Default)]
pub struct StoreServer(Arc<Mutex<Server>>);

#[derive(Default)]
struct Server {
    keys: MemoryStore,
    /// Copies of `keys`, each from just before the change at this time.
    past: VecDeque<(Instant, MemoryStore)>,
}

impl StoreServer {
    /// A replica takes over that lacks the changes of this last time.
    pub fn fail_over(&self, lost: Duration) {
        let mut server = self.0.lock().unwrap();
        let then = Instant::now() - lost;
        let copy = server.past.iter().find(|(changed, _)| *changed > then);
        if let Some((_, copy)) = copy {
            server.keys = copy.snapshot();
        }
        server.past.clear();
    }

    /// Executes a command, whose result is available at once.
    pub(super) fn execute<T>(&self, command: impl FnOnce(&MemoryStore) -> StoreFuture<T>) -> T {
        let mut server = self.0.lock().unwrap();
        let now = Instant::now();
        let copy = server.keys.snapshot();
        server.past.push_back((now, copy));
        while server.past.front().is_some_and(|(at, _)| *at + KEPT < now) {
            server.past.pop_front();
        }
        let result = command(&server.keys).now_or_never();
        result.unwrap().unwrap()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connectivity {
    Up,
    Stalled,
    Cut,
    /// The process of the node was killed.
    Dead,
}

/// The connection of a node.
#[derive(Clone)]
pub struct NodeStore {
    server: StoreServer,
    connection: Arc<Mutex<Connection>>,
    mutator: Arc<Mutator>,
    /// How much longer the server waits than the node by its clock, in thousandths: no two clocks are equally fast.
    drift: i32,
}

struct Connection {
    state: Connectivity,
    /// How often it was cut: what was sent before is lost.
    cuts: u64,
    seed: u64,
    paused_until: Option<Instant>,
    /// When the last command or response of each key arrives: those of a key are in order.
    last_due: BTreeMap<String, Instant>,
}

impl NodeStore {
    pub fn connect(server: &StoreServer, mut chance: Chance, mutator: &Arc<Mutator>) -> Self {
        let connection = Connection {
            state: Connectivity::Up,
            cuts: 0,
            seed: chance.next(),
            paused_until: None,
            last_due: BTreeMap::new(),
        };
        Self {
            server: server.clone(),
            connection: Arc::new(Mutex::new(connection)),
            mutator: Arc::clone(mutator),
            drift: chance.between(0, 2 * DRIFT) as i32 - DRIFT as i32,
        }
    }

    /// How long the server keeps a key, by its own clock.
    fn lifetime(&self, ttl: Duration) -> Duration {
        match self.mutator.is(Mutation::KeepKeys) {
            true => Duration::from_secs(1 << 20),
            false => ttl / 1000 * (1000 + self.drift) as u32,
        }
    }

    pub fn cut(&self) {
        let mut connection = self.connection.lock().unwrap();
        connection.state = Connectivity::Cut;
        connection.cuts += 1;
    }

    pub fn stall(&self) {
        self.connection.lock().unwrap().state = Connectivity::Stalled;
    }

    pub fn restore(&self) {
        self.connection.lock().unwrap().state = Connectivity::Up;
    }

    /// The process ends: nothing more reaches it or comes from it.
    pub fn kill(&self) {
        self.connection.lock().unwrap().state = Connectivity::Dead;
    }

    /// The process is paused until then: nothing that it sends arrives, and it receives nothing.
    pub fn pause(&self, until: Instant) {
        self.connection.lock().unwrap().paused_until = Some(until);
    }

    fn send<T: Send + 'static>(
        &self,
        key: &str,
        command: impl FnOnce(&MemoryStore) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let server = self.server.clone();
        self.call(key, move || Ok(server.execute(command)))
    }

    /// Sends a command. It is executed even if the result is not awaited, and perhaps even if it fails.
    pub fn call<T: Send + 'static>(
        &self,
        key: &str,
        command: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (sender, result) = oneshot::channel();
        let (this, key) = (self.clone(), key.to_owned());
        let (arrives, cuts, is_paused) = {
            let mut connection = self.connection.lock().unwrap();
            let is_paused = connection.is_paused();
            let (arrives, cuts) = connection.due(&key);
            (arrives, cuts, is_paused)
        };
        tokio::spawn(async move {
            sleep_until(arrives).await;
            // A process that is paused sends nothing.
            let outcome = match is_paused || this.is_lost(cuts).await {
                true => Err(lost()),
                false => {
                    let result = command();
                    let (returns, _) = this.connection.lock().unwrap().due(&key);
                    sleep_until(returns).await;
                    match this.is_lost(cuts).await {
                        true => Err(lost()),
                        false => result,
                    }
                }
            };
            let _ = sender.send(outcome);
        });
        Box::pin(async move { result.await.unwrap_or_else(|_| Err(lost())) })
    }

    /// Whether the connection was lost since it had been cut this often. Never returns in a dead process.
    async fn is_lost(&self, cuts: u64) -> bool {
        let (state, lost) = {
            let connection = self.connection.lock().unwrap();
            (connection.state, connection.cuts != cuts)
        };
        match state {
            Connectivity::Dead => pending().await,
            Connectivity::Cut => true,
            Connectivity::Up | Connectivity::Stalled => lost,
        }
    }
}

fn lost() -> StoreError {
    StoreError("the connection was lost".to_owned())
}

impl Connection {
    fn is_paused(&self) -> bool {
        self.paused_until
            .is_some_and(|until| until > Instant::now())
    }

    /// When what is sent now for a key arrives, and how often the connection was cut so far.
    ///
    /// The delay depends on the key and the time, not on what was sent before: several services send what they have for
    /// the store in the order of a hash table, which differs from run to run.
    fn due(&mut self, key: &str) -> (Instant, u64) {
        let (from, to) = match self.state {
            Connectivity::Stalled => STALLED,
            _ => LATENCY,
        };
        let now = Instant::now();
        let last = self.last_due.get(key).copied();
        let mut hasher = DefaultHasher::new();
        (self.seed, key, last.map(|last| now - last)).hash(&mut hasher);
        let delay = Chance::new(hasher.finish()).milliseconds(from, to);
        let mut due = now.max(self.paused_until.unwrap_or(now)) + delay;
        if let Some(last) = last {
            // Timers have milliseconds: those of the same one would fire in any order.
            due = due.max(last + Duration::from_millis(1));
        }
        self.last_due.insert(key.to_owned(), due);
        (due, self.cuts)
    }
}

impl Store for NodeStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<bool> {
        let ttl = self.lifetime(ttl);
        let (key, value) = (key.to_owned(), value.to_owned());
        self.send(&key.clone(), move |keys| {
            keys.acquire_lease(&key, &value, ttl)
        })
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> StoreFuture<Renewal> {
        let ttl = self.lifetime(ttl);
        let (key, value) = (key.to_owned(), value.to_owned());
        self.send(&key.clone(), move |keys| keys.renew(&key, &value, ttl))
    }

    fn release(&self, key: &str, value: &str) -> StoreFuture<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.send(&key.clone(), move |keys| keys.release(&key, &value))
    }

    fn get(&self, key: &str) -> StoreFuture<Option<Bytes>> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| keys.get(&key))
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<()> {
        let (key, ttl) = (key.to_owned(), ttl.map(|ttl| self.lifetime(ttl)));
        self.send(&key.clone(), move |keys| keys.set(&key, value, ttl))
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| keys.delete(&key))
    }

    fn hash_get(&self, key: &str, field: &str) -> StoreFuture<Option<Bytes>> {
        let (key, field) = (key.to_owned(), field.to_owned());
        self.send(&key.clone(), move |keys| keys.hash_get(&key, &field))
    }

    fn hash_set(&self, key: &str, fields: Vec<(String, Bytes)>) -> StoreFuture<()> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| keys.hash_set(&key, fields))
    }

    fn hash_delete(&self, key: &str, mut fields: Vec<String>) -> StoreFuture<u64> {
        let key = key.to_owned();
        fields.retain(|_| !self.mutator.is(Mutation::KeepFields));
        self.send(&key.clone(), move |keys| keys.hash_delete(&key, fields))
    }

    fn hash_scan(&self, key: &str) -> StoreFuture<Vec<(String, Bytes)>> {
        let key = key.to_owned();
        let fields = self.send(&key.clone(), move |keys| keys.hash_scan(&key));
        Box::pin(async move {
            let mut fields = fields.await?;
            // The order of a hash differs from run to run.
            fields.sort();
            Ok(fields)
        })
    }

    fn hash_claim(&self, key: &str, field: &str, value: Bytes) -> StoreFuture<bool> {
        let (key, field) = (key.to_owned(), field.to_owned());
        self.send(&key.clone(), move |keys| {
            keys.hash_claim(&key, &field, value)
        })
    }

    fn hash_take(&self, key: &str, field: &str, receipt: &str) -> StoreFuture<bool> {
        let key = key.to_owned();
        let (field, receipt) = (field.to_owned(), receipt.to_owned());
        self.send(&key.clone(), move |keys| {
            keys.hash_take(&key, &field, &receipt)
        })
    }

    fn log_append(&self, key: &str, value: Bytes, limit: usize) -> StoreFuture<()> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| {
            keys.log_append(&key, value, limit)
        })
    }

    fn log_read(&self, key: &str, after: Option<&str>, count: usize) -> StoreFuture<Vec<LogEntry>> {
        let (key, after) = (key.to_owned(), after.map(str::to_owned));
        self.send(&key.clone(), move |keys| {
            keys.log_read(&key, after.as_deref(), count)
        })
    }

    fn log_remove(&self, key: &str, id: &str) -> StoreFuture<bool> {
        let (key, id) = (key.to_owned(), id.to_owned());
        self.send(&key.clone(), move |keys| keys.log_remove(&key, &id))
    }

    fn log_length(&self, key: &str) -> StoreFuture<u64> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| keys.log_length(&key))
    }

    fn set_fenced(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        let (key, ttl) = (key.to_owned(), self.lifetime(ttl));
        self.send(&key.clone(), move |keys| {
            keys.set_fenced(&key, generation, value, ttl)
        })
    }

    fn claim_fenced(&self, key: &str, ttl: Duration) -> StoreFuture<Option<(u64, Bytes)>> {
        let (key, ttl) = (key.to_owned(), self.lifetime(ttl));
        self.send(&key.clone(), move |keys| keys.claim_fenced(&key, ttl))
    }

    fn publish(&self, channel: &str, message: Bytes) -> StoreFuture<()> {
        let channel = channel.to_owned();
        self.send(&channel.clone(), move |keys| {
            keys.publish(&channel, message)
        })
    }
}
