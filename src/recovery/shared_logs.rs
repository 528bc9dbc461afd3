//! Reads of the logs of a cluster that many sessions share: thousands that come back at once read the same part of the same
//! log, which is then read once (`docs/operations.md#storms`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::event_logs::{EventLogs, EventPage};
use super::segments::{LogRange, Segments};
use super::tail_batches::TailBatches;
use crate::clock;
use crate::history::{LogName, Tails};
use crate::metrics::Metrics;
use crate::metrics::labels::LogReadSource;
use crate::store::{StoreError, StoreFuture};

/// Bytes of recently read parts of logs that a node keeps.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Number of reads after which a log is read for one session alone.
const ATTEMPTS: usize = 3;

/// Logs whose reads are shared. Only for numbers up to `until` that were assigned before the read, as those are that
/// [`EventLogs::tails`] returned.
pub(super) struct SharedLogs {
    inner: Arc<SharedInner>,
}

struct SharedInner {
    logs: Arc<dyn EventLogs>,
    metrics: Arc<Metrics>,
    segments: Mutex<Segments>,
    /// One read of a log at a time.
    reading: Mutex<HashMap<LogName, Arc<tokio::sync::Mutex<()>>>>,
    tails: TailBatches,
}

/// A read of a log, or one that waits for it.
struct ReadTurn<'a> {
    inner: &'a SharedInner,
    log: &'a LogName,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl SharedLogs {
    pub(super) fn new(logs: Arc<dyn EventLogs>, metrics: Arc<Metrics>) -> Self {
        let inner = SharedInner {
            logs,
            metrics,
            segments: Mutex::new(Segments::new(KEPT_BYTES)),
            reading: Mutex::default(),
            tails: TailBatches::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Removes what was not used for a while.
    pub(super) fn expire(&self) {
        let mut segments = self.inner.segments();
        segments.expire(clock::now());
        self.inner.report(&segments);
    }
}

impl SharedInner {
    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, segments: &Segments) {
        let bytes = i64::try_from(segments.bytes()).unwrap_or(i64::MAX);
        self.metrics.recovery_shared_bytes.set(bytes);
    }

    fn count(&self, source: LogReadSource) {
        self.metrics.recovery_reads_total.of(source).increment();
    }

    fn known(&self, log: &LogName, range: LogRange, limit: usize) -> Option<EventPage> {
        let page = self.segments().page(log, range, limit, clock::now())?;
        self.count(LogReadSource::Shared);
        Some(page)
    }

    fn turn<'a>(&'a self, log: &'a LogName) -> ReadTurn<'a> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = reading.entry_ref(log).or_default();
        let turn = Arc::clone(turn);
        let inner = self;
        ReadTurn { inner, log, turn }
    }

    async fn read(
        &self,
        log: &LogName,
        mut range: LogRange,
        limit: usize,
    ) -> Result<EventPage, StoreError> {
        if let Some(page) = self.known(log, range, limit) {
            return Ok(page);
        }
        let turn = self.turn(log);
        let _reading = turn.turn.lock().await;
        let mut entries = 0;
        for _ in 0..ATTEMPTS {
            if let Some(mut page) = self.known(log, range, limit) {
                page.entries += entries;
                return Ok(page);
            }
            let missing = self.segments().missing(log, range);
            self.count(LogReadSource::Store);
            let read = self.logs.read(log, missing.0, missing.1, limit);
            let read = read.await?;
            entries += read.entries;
            let mut segments = self.segments();
            segments.keep(log, missing.0, &read, clock::now());
            self.report(&segments);
            drop(segments);
            let is_part = read.until < missing.1;
            if missing == range || missing.0 == range.0 && is_part {
                return Ok(read);
            }
            if is_part {
                range.1 = read.until;
            }
        }
        self.count(LogReadSource::Store);
        self.logs.read(log, range.0, range.1, limit).await
    }

    async fn tails(&self, names: &[LogName]) -> Result<Tails, StoreError> {
        let tails = self.tails.read(&*self.logs, names).await?;
        self.segments().set_epoch(tails.epoch);
        Ok(tails)
    }
}

impl Drop for ReadTurn<'_> {
    fn drop(&mut self) {
        let reading = &self.inner.reading;
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map and this value hold it: no other session reads or waits.
        if Arc::strong_count(&self.turn) == 2 {
            reading.remove(self.log);
        }
    }
}

impl EventLogs for SharedLogs {
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<EventPage> {
        let (inner, log) = (Arc::clone(&self.inner), log.clone());
        Box::pin(async move { inner.read(&log, (after, until), limit).await })
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        let (inner, logs) = (Arc::clone(&self.inner), logs.to_vec());
        Box::pin(async move { inner.tails(&logs).await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;
    use crate::history::{LogTable, LogTarget};
    use crate::model::random::OsRandom;
    use crate::model::{Emit, Epoch, Namespace, Payload, Room, Selector};

    const PAGE: usize = 100;

    /// Logs whose reads take a while.
    struct SlowLogs {
        table: Mutex<LogTable<Emit>>,
        reads: AtomicUsize,
        tails: AtomicUsize,
        fail: AtomicUsize,
    }

    impl SlowLogs {
        fn append(&self, log: &LogName) -> u64 {
            let target = LogTarget {
                index: 0,
                name: log.clone(),
                length: 1000,
                age: Duration::from_secs(1000),
            };
            let emit = Emit {
                to: Selector::everybody(Namespace::main()),
                payload: Payload::text("[1]"),
                volatile: false,
                ack: None,
                conflate: None,
            };
            let mut table = self.table.lock().unwrap();
            table.append(0, &[target], 3, &emit).position.n
        }

        fn respond<T: Send + 'static>(&self, result: T) -> StoreFuture<T> {
            let fails = self.fail.load(Ordering::Relaxed) > 0;
            Box::pin(async move {
                sleep(Duration::from_millis(10)).await;
                match fails {
                    true => Err(StoreError("away".to_owned())),
                    false => Ok(result),
                }
            })
        }
    }

    impl EventLogs for SlowLogs {
        fn read(
            &self,
            log: &LogName,
            after: u64,
            until: u64,
            limit: usize,
        ) -> StoreFuture<EventPage> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let page = self.table.lock().unwrap();
            let page = page.read(log, after, Some(until), limit);
            self.respond(EventPage::new(page, until, limit))
        }

        fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
            self.tails.fetch_add(1, Ordering::Relaxed);
            self.respond(self.table.lock().unwrap().tails(logs))
        }
    }

    fn shared() -> (Arc<SlowLogs>, SharedLogs, Arc<Metrics>) {
        let logs = Arc::new(SlowLogs {
            table: Mutex::new(LogTable::new(Epoch::random(&OsRandom), 1 << 20)),
            reads: AtomicUsize::default(),
            tails: AtomicUsize::default(),
            fail: AtomicUsize::default(),
        });
        let metrics = Arc::<Metrics>::default();
        let reader: Arc<dyn EventLogs> = Arc::<SlowLogs>::clone(&logs);
        let shared = SharedLogs::new(reader, Arc::clone(&metrics));
        (logs, shared, metrics)
    }

    fn room(name: &str) -> LogName {
        LogName::of_room(Namespace::main(), Room::from(name))
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_sessions_read_the_same_part_of_a_log_once_and_the_ends_of_logs_twice() {
        let (logs, shared, metrics) = shared();
        let numbers: Vec<u64> = (0..250).map(|_| logs.append(&room("a"))).collect();
        let session = |index: usize| {
            let own = room(&format!("own{index}"));
            let shared = &shared;
            async move {
                let tails = shared.tails(&[room("a"), own]).await.unwrap();
                assert_eq!(tails.tails, [250, 0]);
                let (mut after, mut read) = (0, Vec::new());
                loop {
                    let part = shared.read(&room("a"), after, 250, PAGE).await.unwrap();
                    read.extend(part.page.events.iter().map(|event| event.n));
                    after = part.until;
                    if after == 250 {
                        return read;
                    }
                }
            }
        };
        for read in join_all((0..1000).map(session)).await {
            assert_eq!(read, numbers);
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!((count(&logs.reads), count(&logs.tails)), (3, 2));
        let of = |source| metrics.recovery_reads_total.of(source).get();
        assert_eq!(of(LogReadSource::Store), 3);
        assert_eq!(of(LogReadSource::Shared), 3 * 1000 - 3);
        assert!(shared.inner.reading.lock().unwrap().is_empty());
        assert!(metrics.recovery_shared_bytes.get() > 250 * 256);
        tokio::time::advance(Duration::from_secs(5)).await;
        shared.expire();
        assert_eq!(metrics.recovery_shared_bytes.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_log_is_never_older_than_its_request() {
        let (logs, shared, _) = shared();
        let append_and_read = |delay: u64| {
            let (logs, shared) = (&logs, &shared);
            async move {
                sleep(Duration::from_millis(delay)).await;
                let n = logs.append(&room("a"));
                let tails = shared.tails(&[room("a")]).await.unwrap();
                assert!(tails.tails[0] >= n, "{tails:?} after {n}");
                let page = shared.read(&room("a"), n - 1, n, PAGE).await.unwrap();
                assert_eq!(page.page.events[0].n, n);
            }
        };
        join_all((0..200).map(append_and_read)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_gone_or_a_read_that_fails_delays_no_other() {
        let (logs, shared, _) = shared();
        let n = logs.append(&room("a"));
        let (names, log) = ([room("a")], room("a"));
        let gone = (shared.tails(&names), shared.read(&log, 0, n, PAGE));
        let both = async { tokio::join!(gone.0, gone.1) };
        let lost = tokio::time::timeout(Duration::from_millis(1), both).await;
        assert!(lost.is_err());
        assert_eq!(shared.tails(&names).await.unwrap().tails, [n]);
        logs.fail.store(1, Ordering::Relaxed);
        let later = logs.append(&room("a"));
        assert!(shared.tails(&names).await.is_err());
        assert!(shared.read(&log, 0, later, PAGE).await.is_err());
        logs.fail.store(0, Ordering::Relaxed);
        assert_eq!(shared.tails(&names).await.unwrap().tails, [later]);
        let page = shared.read(&log, 0, later, PAGE).await.unwrap();
        assert_eq!(page.page.events.len(), 2);
        assert!(shared.inner.reading.lock().unwrap().is_empty());
    }
}
