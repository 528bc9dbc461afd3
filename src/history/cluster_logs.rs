//! The logs of a cluster, whose entries are messages between nodes.

use std::sync::Arc;

use bytes::Bytes;

use super::{LogName, LogReader, Page, Tails};
use crate::model::Emit;
use crate::store::StoreFuture;

/// Decodes the message that an entry holds; `None` if it is malformed.
pub type DecodeEmit = Arc<dyn Fn(&Bytes) -> Option<Emit> + Send + Sync>;

/// Decodes what the logs of a cluster hold.
pub struct ClusterLogs {
    reader: Arc<dyn LogReader<Bytes>>,
    decode: DecodeEmit,
}

impl ClusterLogs {
    /// Reads with `reader`.
    pub fn new(reader: Arc<dyn LogReader<Bytes>>, decode: DecodeEmit) -> Self {
        Self { reader, decode }
    }

    fn decoded(&self, page: StoreFuture<Page<Bytes>>) -> StoreFuture<Page<Emit>> {
        let decode = Arc::clone(&self.decode);
        Box::pin(async move {
            let page = page.await?;
            Ok(page.convert(|message| decode(&message)))
        })
    }
}

impl LogReader<Emit> for ClusterLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Emit>> {
        self.decoded(self.reader.read(log, after, until, limit))
    }

    fn read_back(
        &self,
        log: &LogName,
        before: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Emit>> {
        self.decoded(self.reader.read_back(log, before, limit))
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        self.reader.tails(logs)
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        self.reader.size(logs)
    }
}
