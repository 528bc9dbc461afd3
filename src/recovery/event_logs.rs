//! What sessions read of the logs that have their events.

use std::sync::Arc;

use crate::history::{LogName, LogPage, RoomLogs, Tails};
use crate::store::StoreFuture;

/// Logs with the events of sessions.
///
/// Every operation fails with a [`StoreError`](crate::store::StoreError) if the server that has the logs is unreachable.
pub trait EventLogs: Send + Sync {
    /// At most `limit` events of a log after the number `after`, and not after `until`, in order. If fewer are returned,
    /// there were no others at that time.
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<LogPage>;

    /// The newest entries of these logs.
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
