//! Reads the stream and executes its entries in order.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::claims::{KeyClaim, KeyClaims, Record};
use super::dead_letter::dead_letter;
use super::entry::request;
use super::execute::Executor;
use super::rejection::RejectedEntry;
use crate::config::StreamConfig;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::StreamOutcome;
use crate::store::{Store, StoreError, StreamEntry, StreamGroup};
use crate::verbs::EarlierJoins;

/// Pause after an error.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Maximum time between two checks for entries that other consumers left behind.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Consumers without entries are removed once they have been gone for this many times `stream.claim_idle`.
const GONE_FACTOR: u32 = 20;
/// How long the current entries may take when the node stops.
const STOP_TIME: Duration = Duration::from_secs(3);

/// The parts of a source.
pub struct SourceParts {
    pub settings: StreamConfig,
    /// The key of the stream.
    pub key: String,
    /// Begins the names of records in the store.
    pub store_prefix: String,
    pub group: Arc<dyn StreamGroup>,
    /// Remembers the keys of entries.
    pub claims: Arc<dyn Store>,
    /// Keeps entries that cannot be executed.
    pub dead_letters: Arc<dyn Store>,
    pub executor: Executor,
    pub metrics: Arc<Metrics>,
}

/// A source that is running.
pub struct Source {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Source {
    /// Starts to read.
    pub fn start(parts: SourceParts) -> Self {
        let (stop, stopped) = watch::channel(false);
        let claims = KeyClaims {
            store: Arc::clone(&parts.claims),
            prefix: format!("{}:stream:{}", parts.store_prefix, parts.key),
            time: parts.settings.idempotency_time,
        };
        let consumer = Consumer {
            parts,
            claims,
            stopped,
        };
        let task = tokio::task::spawn_local(consumer.run());
        Self { stop, task }
    }

    /// Stops reading; returns when the entries that have been read are executed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let wait = timeout(STOP_TIME, &mut self.task).await;
        if wait.is_err() {
            // Other nodes take over the rest.
            self.task.abort();
        }
    }
}

struct Consumer {
    parts: SourceParts,
    claims: KeyClaims,
    stopped: watch::Receiver<bool>,
}

/// Entries that were executed and are not acknowledged yet.
#[derive(Default)]
struct Executed {
    ids: Vec<String>,
    records: Vec<Record>,
    joined: EarlierJoins,
}

impl Consumer {
    async fn run(self) {
        static FAILURES: Burst = Burst::new();
        while !self.is_stopped() {
            let Err(error) = self.consume().await else {
                return;
            };
            self.parts.metrics.stream_connected.set(0);
            if let Some(suppressed) = FAILURES.note() {
                let stream = &self.parts.key;
                let reason = self.reason(&error);
                warn!(stream, suppressed; "stream not read, will be tried again: {reason}");
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// The error, with the setting of this stream in a hint about the Redis of the bus.
    fn reason(&self, error: &StoreError) -> String {
        let reason = error.to_string();
        match self.parts.settings.url {
            Some(_) => reason.replace("bus.redis_url", "stream.url"),
            None => reason,
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Reads until the source stops.
    async fn consume(&self) -> Result<(), StoreError> {
        let group = &self.parts.group;
        let settings = &self.parts.settings;
        group.create().await?;
        let (stream, name) = (&self.parts.key, &settings.group);
        info!(stream, group = name; "reading requests from the stream");
        self.parts.metrics.stream_connected.set(1);
        self.resume().await?;
        let mut next_upkeep = Instant::now();
        while !self.is_stopped() {
            if !self.parts.executor.is_connected() {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            if Instant::now() >= next_upkeep {
                self.upkeep().await?;
                next_upkeep = Instant::now() + UPKEEP_INTERVAL.min(settings.claim_idle / 2);
            }
            let entries = group.read_new(settings.batch, settings.block).await?;
            self.execute(&entries).await?;
        }
        Ok(())
    }

    /// Executes what was delivered to this consumer before the connection failed.
    async fn resume(&self) -> Result<(), StoreError> {
        let mut after = "0".to_owned();
        loop {
            let entries = self.parts.group.read_own(&after, self.parts.settings.batch);
            let entries = entries.await?;
            let Some(last) = entries.last() else {
                return Ok(());
            };
            after.clone_from(&last.id);
            self.execute(&entries).await?;
        }
    }

    /// Takes over entries of consumers that failed, and measures the backlog.
    async fn upkeep(&self) -> Result<(), StoreError> {
        let (group, settings) = (&self.parts.group, &self.parts.settings);
        while !self.is_stopped() {
            let claimed = group.claim(settings.claim_idle, settings.batch).await?;
            if claimed.is_empty() {
                break;
            }
            let (entries, stream) = (claimed.len(), &self.parts.key);
            debug!(stream, entries; "took over entries that were not acknowledged");
            self.execute(&claimed).await?;
        }
        group
            .remove_idle_consumers(settings.claim_idle * GONE_FACTOR)
            .await?;
        let state = group.state().await?;
        let metrics = &self.parts.metrics;
        metrics.stream_pending.set(as_gauge(state.pending));
        metrics.stream_lag.set(as_gauge(state.lag.unwrap_or(0)));
        Ok(())
    }

    /// Executes entries in order, then acknowledges them.
    async fn execute(&self, entries: &[StreamEntry]) -> Result<(), StoreError> {
        let mut executed = Executed::default();
        let mut outcome = Ok(());
        for entry in entries {
            outcome = self.execute_entry(entry, &mut executed).await;
            if outcome.is_err() {
                break;
            }
            // Lets clients and other nodes go first.
            tokio::task::yield_now().await;
        }
        self.acknowledge(executed).await?;
        outcome
    }

    async fn execute_entry(
        &self,
        entry: &StreamEntry,
        executed: &mut Executed,
    ) -> Result<(), StoreError> {
        let limit = self.parts.settings.max_deliveries;
        if entry.earlier >= limit {
            let message = format!("was delivered {limit} times and never acknowledged");
            self.reject(entry, &RejectedEntry::new("deliveries_exceeded", message))
                .await?;
            executed.ids.push(entry.id.clone());
            return Ok(());
        }
        let metrics = &self.parts.metrics.stream_entries_total;
        let request = match request(entry) {
            Ok(request) => request,
            Err(rejection) => {
                self.reject(entry, &rejection).await?;
                executed.ids.push(entry.id.clone());
                return Ok(());
            }
        };
        let record = match request.key {
            None => None,
            Some(key) => match self.claims.claim(key, &entry.id).await? {
                KeyClaim::First(record) => Some(record),
                KeyClaim::Done => {
                    metrics.of(StreamOutcome::Duplicate).increment();
                    executed.ids.push(entry.id.clone());
                    return Ok(());
                }
                // Delivered again later.
                KeyClaim::Busy => return Ok(()),
            },
        };
        let (verb, body) = (request.verb, request.body);
        let executor = &self.parts.executor;
        match executor.execute(verb, body, &mut executed.joined).await {
            Ok(()) => {
                metrics.of(StreamOutcome::Executed).increment();
                executed.records.extend(record);
            }
            Err(rejection) => {
                self.reject(entry, &rejection).await?;
                if let Some(record) = &record {
                    self.claims.release(record).await?;
                }
            }
        }
        executed.ids.push(entry.id.clone());
        Ok(())
    }

    /// Keeps an entry that is never executed.
    async fn reject(
        &self,
        entry: &StreamEntry,
        rejection: &RejectedEntry,
    ) -> Result<(), StoreError> {
        static REJECTIONS: Burst = Burst::new();
        let settings = &self.parts.settings;
        let key = format!("{}:dead", self.parts.key);
        let letter = dead_letter(entry, rejection);
        let limit = settings.dead_letters;
        self.parts
            .dead_letters
            .log_append(&key, letter, limit)
            .await?;
        let outcome = match rejection.code {
            "deliveries_exceeded" => StreamOutcome::Abandoned,
            _ => StreamOutcome::Rejected,
        };
        self.parts
            .metrics
            .stream_entries_total
            .of(outcome)
            .increment();
        if let Some(suppressed) = REJECTIONS.note() {
            let (entry, code, message) = (&entry.id, rejection.code, &rejection.message);
            warn!(entry, code, suppressed; "entry of the stream moved to {key}: {message}");
        }
        Ok(())
    }

    async fn acknowledge(&self, executed: Executed) -> Result<(), StoreError> {
        if executed.ids.is_empty() {
            return Ok(());
        }
        if !self.parts.executor.settle().await {
            return Err(StoreError("the bus is not connected".to_owned()));
        }
        for record in &executed.records {
            self.claims.settle(record).await?;
        }
        self.parts.group.acknowledge(executed.ids).await
    }
}

fn as_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
