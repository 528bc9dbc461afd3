//! The logs of a node without Redis.

use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{LogName, LogReader, LogTable, LogTarget, Page, Stamp, Tails};
use crate::model::{Emit, Epoch, Random};
use crate::store::StoreFuture;

/// Logs in the memory of one node. A restart loses them, which the new epoch shows.
pub struct MemoryRoomLogs {
    table: Mutex<LogTable<Emit>>,
}

impl MemoryRoomLogs {
    /// Logs that occupy at most `limit` bytes.
    pub fn new(limit: usize, random: &dyn Random) -> Self {
        let table = LogTable::new(Epoch::random(random), limit);
        Self {
            table: Mutex::new(table),
        }
    }

    /// Appends an event, and calls `deliver` with its position before another event can be appended: what is delivered
    /// by `deliver` has the order of the positions.
    pub fn append(&self, targets: &[LogTarget], emit: &Emit, deliver: impl FnOnce(Stamp)) {
        let size = emit.payload.size();
        let mut table = self.table();
        let stamp = table.append(unix_micros(), targets, size, emit);
        deliver(stamp);
    }

    /// Bytes that all logs occupy.
    pub fn total_size(&self) -> usize {
        self.table().total_size()
    }

    fn table(&self) -> MutexGuard<'_, LogTable<Emit>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader<Emit> for MemoryRoomLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Emit>> {
        Box::pin(ready(Ok(self.table().read(log, after, until, limit))))
    }

    fn read_back(
        &self,
        log: &LogName,
        before: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Emit>> {
        Box::pin(ready(Ok(self.table().read_back(log, before, limit))))
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        Box::pin(ready(Ok(self.table().tails(logs))))
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        Box::pin(ready(Ok(self.table().size(logs))))
    }
}

/// The Unix time in microseconds.
fn unix_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}
