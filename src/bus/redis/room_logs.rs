//! Reads the logs of rooms in Redis. `append` writes them.

use bytes::Bytes;
use redis::Cmd;

use super::store::RedisStore;
use crate::history::{LogName, LogReader, Logged, Page, Tails};
use crate::model::Epoch;
use crate::store::StoreFuture;

/// Reads a part of a log. KEYS: epoch and last number of all logs; the stream; its last number. ARGV: command; the ids
/// between which entries are read; their maximum number.
const READ: &str = "local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local tail = redis.call('GET', KEYS[3])
if not tail or string.sub(tail, 1, 6) ~= epoch then return {epoch, now, '0', {}, {}} end
local entries = redis.call(ARGV[1], KEYS[2], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
local oldest = {}
if #entries == 0 then oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1) end
return {epoch, now, string.sub(tail, 7), entries, oldest}";

/// Reads the last numbers of logs. KEYS: epoch and last number of all logs; the last number of each log.
const TAILS: &str = "local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
return {epoch, redis.call('MGET', unpack(KEYS, 2))}";

/// Adds up the memory of keys.
const SIZE: &str = "local size = 0
for i = 1, #KEYS do size = size + (redis.call('MEMORY', 'USAGE', KEYS[i]) or 0) end
return size";

/// Number of logs that are measured by one command.
const MEASURED_AT_ONCE: usize = 50;
/// Number of logs whose last numbers are read by one command.
const TAILS_AT_ONCE: usize = 1000;
/// Microseconds for which the last number of a log is kept longer than its entries.
const TAIL_KEPT: u64 = 3_600_000_000;

/// The keys of logs. All are in one slot of a Redis Cluster.
#[derive(Debug, Clone)]
pub(super) struct LogKeys {
    /// `{P:log}`
    tag: String,
}

impl LogKeys {
    /// The keys of the cluster of this prefix.
    pub(super) fn new(prefix: &str) -> Self {
        let tag = format!("{{{prefix}:log}}");
        Self { tag }
    }

    /// What decides the slot of all keys.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The epoch and the last number of all logs.
    pub(super) fn head(&self) -> String {
        format!("{}:head", self.tag)
    }

    /// The last sequence number of a sender.
    pub(super) fn sender(&self, sender: u64) -> String {
        format!("{}:sender:{sender:016x}", self.tag)
    }

    /// The entries of a log.
    pub(super) fn stream(&self, log: &LogName) -> String {
        format!("{}:events:{}", self.tag, log.key())
    }

    /// The epoch and last number of a log.
    pub(super) fn tail(&self, log: &LogName) -> String {
        format!("{}:tail:{}", self.tag, log.key())
    }
}

/// The logs of a cluster.
pub(super) struct RedisRoomLogs {
    store: RedisStore,
    keys: LogKeys,
}

type Fields = Vec<(String, Vec<u8>)>;
type Entries = Vec<(String, Fields)>;
/// Epoch, time in microseconds, last number, entries, oldest entry if there are none.
type Response = (Vec<u8>, u64, u64, Entries, Entries);

impl RedisRoomLogs {
    pub(super) fn new(store: RedisStore, prefix: &str) -> Self {
        let keys = LogKeys::new(prefix);
        Self { store, keys }
    }

    fn query(
        &self,
        log: &LogName,
        command: &str,
        (from, to): (String, String),
        limit: usize,
    ) -> Cmd {
        let mut query = redis::cmd("EVAL");
        query.arg(READ).arg(3);
        query
            .arg(self.keys.head())
            .arg(self.keys.stream(log))
            .arg(self.keys.tail(log));
        query.arg(command).arg(from).arg(to).arg(limit);
        query
    }
}

impl LogReader<Bytes> for RedisRoomLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        // The first entry after `until` is needed too: it shows whether entries before it were removed.
        let range = (format!("({after}-0"), "+".to_owned());
        let query = self.query(log, "XRANGE", range, limit);
        self.store
            .run(self.keys.tag(), query, move |response: Response| {
                let (epoch, now, tail, entries, _) = response;
                let mut events = parsed(entries);
                let trimmed = match events.first() {
                    Some(Logged { prev: 0, n, .. }) => after > 0 && after + TAIL_KEPT < *n,
                    Some(first) => first.prev > after && until.is_none_or(|until| after < until),
                    None if tail == 0 => after > 0 && after + TAIL_KEPT < now,
                    None => tail > after,
                };
                events.retain(|event| until.is_none_or(|until| event.n <= until));
                Page {
                    epoch: Epoch::parse(&epoch),
                    events,
                    trimmed,
                    tail,
                }
            })
    }

    fn read_back(
        &self,
        log: &LogName,
        before: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        let from = before.map_or_else(|| "+".to_owned(), |before| format!("({before}-0"));
        let query = self.query(log, "XREVRANGE", (from, "-".to_owned()), limit);
        self.store
            .run(self.keys.tag(), query, move |response: Response| {
                let (epoch, _, tail, entries, oldest) = response;
                let events = parsed(entries);
                let trimmed = match events.last() {
                    Some(oldest) => events.len() < limit && oldest.prev > 0,
                    None => tail > 0 && parsed(oldest).first().is_none_or(|oldest| oldest.prev > 0),
                };
                Page {
                    epoch: Epoch::parse(&epoch),
                    events,
                    trimmed,
                    tail,
                }
            })
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        let queries = logs.chunks(TAILS_AT_ONCE).map(|logs| {
            let mut query = redis::cmd("EVAL");
            query.arg(TAILS).arg(1 + logs.len()).arg(self.keys.head());
            for log in logs {
                query.arg(self.keys.tail(log));
            }
            type TailsResponse = (Vec<u8>, Vec<Option<Vec<u8>>>);
            self.store
                .run(self.keys.tag(), query, |(epoch, tails): TailsResponse| {
                    let tails = tails.iter().map(|tail| tail_in(&epoch, tail.as_deref()));
                    (Epoch::parse(&epoch), tails.collect::<Vec<_>>())
                })
        });
        let queries: Vec<_> = queries.collect();
        Box::pin(async move {
            let (mut epoch, mut tails) = (None, Vec::new());
            for query in queries {
                let (current, some) = query.await?;
                epoch = current;
                tails.extend(some);
            }
            Ok(Tails { epoch, tails })
        })
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        let queries = logs.chunks(MEASURED_AT_ONCE).map(|logs| {
            let mut query = redis::cmd("EVAL");
            query.arg(SIZE).arg(2 * logs.len());
            for log in logs {
                query.arg(self.keys.stream(log)).arg(self.keys.tail(log));
            }
            self.store.run(self.keys.tag(), query, |size: u64| size)
        });
        let queries: Vec<_> = queries.collect();
        Box::pin(async move {
            let mut size = 0;
            for query in queries {
                size += query.await?;
            }
            Ok(size)
        })
    }
}

/// The last number of a log in an epoch, from the value of its key.
fn tail_in(epoch: &[u8], value: Option<&[u8]>) -> u64 {
    let number = value.and_then(|value| value.strip_prefix(epoch));
    let number = number.and_then(|number| std::str::from_utf8(number).ok());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn parsed(entries: Entries) -> Vec<Logged<Bytes>> {
    let entries = entries.into_iter().filter_map(|(id, fields)| {
        let (n, _) = id.split_once('-')?;
        let (mut emit, mut prev) = (None, 0);
        for (name, value) in fields {
            match name.as_str() {
                "m" => emit = Some(Bytes::from(value)),
                "p" => prev = std::str::from_utf8(&value).ok()?.parse().ok()?,
                _ => {}
            }
        }
        let (n, emit) = (n.parse().ok()?, emit?);
        Some(Logged { n, prev, emit })
    });
    entries.collect()
}
