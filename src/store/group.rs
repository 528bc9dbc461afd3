//! A stream that a group of consumers reads: each entry is delivered to one of them, and later to another one unless it
//! is acknowledged.

use std::time::Duration;

use bytes::Bytes;

use super::StoreFuture;

/// An entry of a stream, as it was delivered to this consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its position in the stream.
    pub id: String,
    /// Names and values in order; both are any bytes.
    pub fields: Vec<(Bytes, Bytes)>,
    /// How often it had been delivered to a consumer before.
    pub earlier: u64,
}

/// How much of a stream waits for its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupState {
    /// Entries that were delivered and not acknowledged.
    pub pending: u64,
    /// Entries that were not delivered yet; `None` if the server does not count them.
    pub lag: Option<u64>,
}

/// One consumer of the group.
///
/// Every operation fails with a [`StoreError`](super::StoreError) if the server is unreachable or rejects it, for example
/// because the group has been removed ([`Self::create`]).
pub trait StreamGroup: Send + Sync {
    /// Creates the group, and the stream, unless they exist. A new group begins with the first entry of the stream.
    fn create(&self) -> StoreFuture<()>;

    /// At most `count` entries that were never delivered. Waits up to `wait` for the first.
    fn read_new(&self, count: usize, wait: Duration) -> StoreFuture<Vec<StreamEntry>>;

    /// At most `count` entries that were delivered to this consumer and not acknowledged: those after `after`, `0` for
    /// the first ones.
    fn read_own(&self, after: &str, count: usize) -> StoreFuture<Vec<StreamEntry>>;

    /// Takes over at most `count` entries that were delivered to any consumer at least `idle` ago and not acknowledged.
    fn claim(&self, idle: Duration, count: usize) -> StoreFuture<Vec<StreamEntry>>;

    /// Acknowledges entries, which are not delivered again.
    fn acknowledge(&self, ids: Vec<String>) -> StoreFuture<()>;

    /// How much waits for the group.
    fn state(&self) -> StoreFuture<GroupState>;

    /// Removes consumers that have been gone for at least `idle` and owe nothing.
    fn remove_idle_consumers(&self, idle: Duration) -> StoreFuture<()>;
}
