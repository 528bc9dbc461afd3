//! The logs from which sessions read missed events.

use std::sync::Arc;

use crate::history::{LogName, LogPage, RoomLogs, Tails};
use crate::store::{StoreError, StoreFuture};

/// What a session reads of a log at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    pub page: LogPage,
    /// The number up to which the events of the page are all: the end of the requested range, or less if the limit of a
    /// read was reached.
    pub until: u64,
    /// Number of entries that were read for it, with those of other namespaces in a stream. What another session has
    /// read is not read again.
    pub entries: usize,
}

impl EventPage {
    /// A page of at most `limit` entries of a range that ends with the number `until`, all of which are events.
    pub(super) fn new(page: LogPage, until: u64, limit: usize) -> Self {
        let last = page.events.last().filter(|_| page.events.len() >= limit);
        Self {
            until: last.map_or(until, |last| last.n),
            entries: page.events.len(),
            page,
        }
    }
}

/// Logs from which sessions read missed events.
///
/// Every operation fails with a [`StoreError`](crate::store::StoreError) if the server that keeps the logs is
/// unreachable.
pub trait EventLogs: Send + Sync {
    /// The first events of a log with numbers above `after` and up to `until`, at most `limit` of them, in order. More
    /// may follow after [`EventPage::until`].
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<EventPage>;

    /// The number of the newest entry of each log.
    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails>;
}

/// The logs of rooms.
#[derive(Clone)]
pub(super) struct LogsOfRooms(pub Arc<dyn RoomLogs>);

impl EventLogs for LogsOfRooms {
    fn read(&self, log: &LogName, after: u64, until: u64, limit: usize) -> StoreFuture<EventPage> {
        let page = self.0.read(log, after, Some(until), limit);
        Box::pin(async move { Ok::<_, StoreError>(EventPage::new(page.await?, until, limit)) })
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        self.0.tails(logs)
    }
}
