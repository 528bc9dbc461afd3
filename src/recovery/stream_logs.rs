//! The streams of Socket.IO servers in Node as logs. The log of a namespace has all of its events; the number of an
//! event is the id of its entry.

use std::sync::Arc;

use super::event_logs::{EventLogs, EventPage};
use super::stream_read::StreamRead;
use crate::history::{LogName, Tails};
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
    /// `bus.node_session_entries`.
    pub max_entries: usize,
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
    /// The connection broke after an earlier attempt to add the entry, which may have succeeded.
    pub may_be_repeated: bool,
}

/// The streams in a store as logs.
pub(super) struct StreamLogs {
    pub store: Arc<dyn Store>,
    pub streams: Arc<NodeStreams>,
}

/// The id of an entry as Redis writes it.
pub(super) fn entry_id(n: u64) -> String {
    let epoch = Epoch::STREAM;
    Position { epoch, n }.to_string()
}

impl EventLogs for StreamLogs {
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<EventPage> {
        let (store, streams) = (Arc::clone(&self.store), Arc::clone(&self.streams));
        let namespace = log.namespace.clone();
        Box::pin(async move {
            let read = StreamRead::new(&*store, &streams, &namespace, (after, until));
            read.page(limit).await
        })
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
mod tests;
