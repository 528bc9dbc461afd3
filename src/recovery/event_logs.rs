//! The logs from which sessions read missed events.

use std::sync::Arc;

use crate::history::{LogName, LogPage, RoomLogs, Tails};
use crate::store::StoreFuture;

/// Logs from which sessions read missed events.
///
/// Every operation fails with a [`StoreError`](crate::store::StoreError) if the server that keeps the logs is
/// unreachable.
pub trait EventLogs: Send + Sync {
    /// The first events of a log with numbers above `after` and up to `until`, at most `limit` of them, in order. Fewer
    /// than `limit` are returned only if there were no more.
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<LogPage>;

    /// The number of the newest entry of each log.
    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails>;
}

/// The logs of rooms.
#[derive(Clone)]
pub(super) struct LogsOfRooms(pub Arc<dyn RoomLogs>);

impl EventLogs for LogsOfRooms {
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<LogPage> {
        self.0.read(log, after, Some(until), limit)
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        self.0.tails(logs)
    }
}
