//! The streams of Socket.IO servers in Node as logs. The log of a namespace has all of its events; the number of an
//! event is the id of its entry.

use std::collections::HashMap;
use std::sync::Arc;

use super::event_logs::EventLogs;
use crate::history::{LogName, LogPage, Logged, LoggedEvent, Tails};
use crate::model::{Emit, Epoch, Namespace, Position};
use crate::store::{SharedEntry, Store, StoreError, StoreFuture};

/// Maps namespaces to streams, and entries to events.
pub struct NodeStreams {
    /// The stream of a namespace.
    pub stream_of: Box<dyn Fn(&Namespace) -> String + Send + Sync>,
    /// Decodes an entry; `None` unless it is an event of the namespace that sessions can recover.
    pub decode: DecodeEntry,
    /// `bus.node_stream_read_count`.
    pub read_count: usize,
}

/// Decodes an entry of a stream, given its name, for a namespace.
pub type DecodeEntry =
    Box<dyn Fn(&str, &SharedEntry, &Namespace) -> Option<StreamedEvent> + Send + Sync>;

/// The event of an entry.
#[derive(Debug)]
pub struct StreamedEvent {
    pub emit: Emit,
    /// Of an entry of a node: the number of the process that added it, and the one that it gave the entry. An entry is
    /// added twice if a connection broke at the wrong moment.
    pub number: Option<(u64, u64)>,
}

/// The streams in a store as logs.
pub(super) struct StreamLogs {
    pub store: Arc<dyn Store>,
    pub streams: Arc<NodeStreams>,
}

/// The id of an entry as Redis writes it.
fn entry_id(n: u64) -> String {
    let epoch = Epoch::STREAM;
    Position { epoch, n }.to_string()
}

/// The number of an entry; 0, which no entry has, if its id does not fit into a position.
fn number_of(entry: &SharedEntry) -> u64 {
    Position::of_entry(entry.id.as_bytes()).map_or(0, |position| position.n)
}

/// A read of the events between two numbers.
struct StreamRead<'a> {
    namespace: &'a Namespace,
    stream: String,
    decode: &'a DecodeEntry,
    limit: usize,
    /// The number after which no event is missing in `found`.
    after: u64,
    /// The number of the last entry that was read.
    last: u64,
    found: Vec<LoggedEvent>,
    /// The highest number of an entry of each process.
    numbers: HashMap<u64, u64>,
    trimmed: bool,
}

impl StreamRead<'_> {
    /// Adds the events of entries that were read from the last known one on. If that one does not exist any more,
    /// entries after it may have been removed too, so the events found before are discarded and the log counts as
    /// trimmed.
    fn add(&mut self, entries: &[SharedEntry]) {
        let mut entries = entries.iter();
        let first = entries.as_slice().first().map_or(0, number_of);
        if first == self.last {
            let known = entries.next();
            known.and_then(|known| self.event(known));
        } else {
            self.trimmed = true;
            self.found.clear();
            self.after = first.saturating_sub(1);
        }
        let mut prev = self.found.last().map_or(self.after, |event| event.n);
        for entry in entries {
            let n = number_of(entry);
            self.last = self.last.max(n);
            if let Some(emit) = self.event(entry) {
                self.found.push(Logged { n, prev, emit });
                prev = n;
                if self.found.len() == self.limit {
                    return;
                }
            }
        }
    }

    /// The event of an entry, unless the entry was added before.
    fn event(&mut self, entry: &SharedEntry) -> Option<Emit> {
        let event = (self.decode)(&self.stream, entry, self.namespace)?;
        if let Some((process, number)) = event.number {
            let highest = self.numbers.entry(process).or_default();
            if number <= *highest {
                return None;
            }
            *highest = number;
        }
        Some(event.emit)
    }
}

impl StreamLogs {
    async fn read_events(
        store: Arc<dyn Store>,
        streams: Arc<NodeStreams>,
        namespace: Namespace,
        (after, until): (u64, u64),
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        let mut read = StreamRead {
            namespace: &namespace,
            stream: (streams.stream_of)(&namespace),
            decode: &streams.decode,
            limit,
            after,
            last: after,
            found: Vec::new(),
            numbers: HashMap::new(),
            trimmed: false,
        };
        let end = entry_id(until);
        while read.last < until && read.found.len() < limit {
            let first = entry_id(read.last);
            let count = streams.read_count + 1;
            let entries = store.stream_read(&read.stream, &first, &end, count).await?;
            read.add(&entries);
            if entries.len() < count {
                break;
            }
        }
        Ok(LogPage {
            epoch: Some(Epoch::STREAM),
            events: read.found,
            trimmed: read.trimmed,
            tail: until,
        })
    }
}

impl EventLogs for StreamLogs {
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<LogPage> {
        Box::pin(Self::read_events(
            Arc::clone(&self.store),
            Arc::clone(&self.streams),
            log.namespace.clone(),
            (after, until),
            limit,
        ))
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        let streams = logs
            .iter()
            .map(|log| (self.streams.stream_of)(&log.namespace));
        let streams: Vec<String> = streams.collect();
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let mut tails = Vec::with_capacity(streams.len());
            for stream in &streams {
                let end = store.stream_end(stream).await?;
                let end = Position::of_entry(end.as_bytes());
                let end = end.ok_or_else(|| StoreError("entry id out of range".to_owned()))?;
                tails.push(end.n);
            }
            Ok(Tails {
                epoch: Some(Epoch::STREAM),
                tails,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Payload, Selector};
    use crate::store::MemoryStore;

    /// Entries of the namespace `/`, whose payload is the field `e`, or one with a number.
    fn logs(store: &MemoryStore, read_count: usize) -> StreamLogs {
        let decode = |_: &str, entry: &SharedEntry, namespace: &Namespace| {
            let field = entry
                .fields
                .iter()
                .find(|(name, _)| name.starts_with(b"e"))?;
            let number = std::str::from_utf8(&field.0[1..]).unwrap().parse();
            (namespace == &Namespace::main()).then(|| StreamedEvent {
                emit: Emit {
                    to: Selector::everybody(namespace.clone()),
                    payload: Payload::text(std::str::from_utf8(&field.1).unwrap()),
                    volatile: false,
                    ack: None,
                    conflate: None,
                },
                number: number.ok().map(|number| (7, number)),
            })
        };
        StreamLogs {
            store: Arc::new(store.clone()),
            streams: Arc::new(NodeStreams {
                stream_of: Box::new(|_| "s".to_owned()),
                decode: Box::new(decode),
                read_count,
            }),
        }
    }

    fn append(store: &MemoryStore, field: &'static str, value: String) -> u64 {
        let id = store.stream_append("s", vec![(Bytes::from(field), Bytes::from(value))]);
        id.parse::<Position>().unwrap().n
    }

    #[tokio::test]
    async fn the_events_of_a_namespace_are_read_in_pages_of_any_size() {
        let store = MemoryStore::default();
        let log = LogName::of_namespace(Namespace::main());
        let begin = logs(&store, 1)
            .tails(std::slice::from_ref(&log))
            .await
            .unwrap();
        assert_eq!(begin.epoch, Some(Epoch::STREAM));
        let events: Vec<u64> = (0..20)
            .map(|number| {
                for _ in 0..number % 4 {
                    append(&store, "other", String::new());
                }
                append(&store, "e", format!("[{number}]"))
            })
            .collect();
        let end = append(&store, "other", String::new());
        for read_count in [1, 2, 3, 7, 100] {
            let logs = logs(&store, read_count);
            let tails = logs.tails(&[log.clone(), log.clone()]).await.unwrap();
            assert_eq!(tails.tails, [end, end]);
            for limit in [1, 4, 100] {
                let (mut after, mut read) = (begin.tails[0], Vec::new());
                loop {
                    let page = logs.read(&log, after, end, limit).await.unwrap();
                    assert!(!page.trimmed);
                    assert_eq!(page.events.first().map_or(after, |it| it.prev), after);
                    read.extend(page.events.iter().map(|event| event.n));
                    if page.events.len() < limit {
                        break;
                    }
                    after = *read.last().unwrap();
                }
                assert_eq!(read, events, "{read_count} {limit}");
            }
            let part = logs.read(&log, events[3], events[5], 100).await.unwrap();
            let payloads: Vec<_> = part
                .events
                .iter()
                .map(|it| it.emit.payload.json())
                .collect();
            assert_eq!(payloads, ["[4]", "[5]"]);
        }
    }

    #[tokio::test]
    async fn an_entry_that_was_added_twice_is_read_once() {
        let store = MemoryStore::default();
        let log = LogName::of_namespace(Namespace::main());
        let received = append(&store, "e1", "[1]".to_owned());
        for (field, payload) in [("e2", "[2]"), ("e1", "[1]"), ("e2", "[2]"), ("e3", "[3]")] {
            append(&store, field, payload.to_owned());
        }
        let end = append(&store, "e", "[4]".to_owned());
        for read_count in [1, 2, 100] {
            let page = logs(&store, read_count).read(&log, received, end, 10);
            let events = page.await.unwrap().events;
            let payloads: Vec<_> = events.iter().map(|it| it.emit.payload.json()).collect();
            assert_eq!(payloads, ["[2]", "[3]", "[4]"], "{read_count}");
        }
    }

    #[tokio::test]
    async fn entries_that_were_removed_are_noticed_wherever_they_were() {
        let store = MemoryStore::default();
        let log = LogName::of_namespace(Namespace::main());
        let begin = logs(&store, 2)
            .tails(std::slice::from_ref(&log))
            .await
            .unwrap()
            .tails[0];
        let events: Vec<u64> = (0..10)
            .map(|_| append(&store, "e", "[1]".to_owned()))
            .collect();
        store.stream_trim("s", &entry_id(events[4]));
        let end = events[9];
        let page = logs(&store, 2).read(&log, begin, end, 3).await.unwrap();
        assert!(page.trimmed);
        let numbers: Vec<u64> = page.events.iter().map(|it| it.n).collect();
        assert_eq!(numbers, events[4..7]);
        assert_eq!(page.events[0].prev, events[4] - 1);
        let page = logs(&store, 2).read(&log, events[4], end, 3).await.unwrap();
        assert!(!page.trimmed);
        // Nothing is left.
        store.stream_trim("s", "9999999999999-0");
        let page = logs(&store, 2).read(&log, events[4], end, 3).await.unwrap();
        assert!(page.trimmed && page.events.is_empty());
        assert_eq!(page.tail, end);
    }
}
