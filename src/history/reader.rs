//! The interface to the logs.

use super::{LogName, Page, Tails};
use crate::model::Emit;
use crate::store::StoreFuture;

/// Reads logs that hold their events as `T`.
///
/// Every operation fails with a [`StoreError`](crate::store::StoreError) if the server that has the logs is unreachable.
pub trait LogReader<T>: Send + Sync {
    /// At most `limit` entries after the number `after`, and not after `until`, in order. If fewer are returned, there
    /// were no others at that time.
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<T>>;

    /// At most `limit` entries before the number `before`, or the newest ones, newest first.
    fn read_back(&self, log: &LogName, before: Option<u64>, limit: usize) -> StoreFuture<Page<T>>;

    /// The newest entries of these logs.
    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails>;

    /// Bytes of memory that these logs occupy.
    fn size(&self, logs: &[LogName]) -> StoreFuture<u64>;
}

/// Reads the logs of rooms.
pub trait RoomLogs: LogReader<Emit> {}

impl<T: LogReader<Emit>> RoomLogs for T {}
