//! The streams of Socket.IO servers in Node as logs. The log of a namespace has all of its events; the number of an
//! event is the id of its entry.

use std::sync::Arc;

use super::event_logs::{EventLogs, EventPage};
use super::node_streams::NodeStreams;
use super::stream_read::StreamRead;
use crate::history::{LogName, Tails};
use crate::model::{Epoch, Position};
use crate::store::{Store, StoreError, StoreFuture};

/// The streams in a store as logs.
pub(super) struct StreamLogs {
    pub store: Arc<dyn Store>,
    pub streams: Arc<NodeStreams>,
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
