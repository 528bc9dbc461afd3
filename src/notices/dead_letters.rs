//! Requests that their receiver did not accept, kept in the store until `roomwire webhook replay` sends them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{LogEntry, Store, StoreError};

/// Time limit of an operation.
const TIME: Duration = Duration::from_secs(2);

/// The dead letters of a cluster, in the order in which they were given up.
#[derive(Clone)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
    key: String,
    limit: usize,
}

impl DeadLetters {
    /// Those of the cluster with this `bus.channel_prefix`; at most `limit`.
    pub fn new(store: Arc<dyn Store>, prefix: &str, limit: usize) -> Self {
        Self {
            store,
            key: format!("{prefix}:notices:dead"),
            limit,
        }
    }

    /// Keeps the body of a request.
    pub(super) async fn keep(&self, body: Bytes) -> Result<(), StoreError> {
        let kept = self.store.log_append(&self.key, body, self.limit);
        tokio::time::timeout(TIME, kept)
            .await
            .unwrap_or_else(|_| Err(StoreError(format!("no response in {TIME:?}"))))
    }

    /// The letter after another one, or the oldest.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn next(&self, after: Option<&str>) -> Result<Option<LogEntry>, StoreError> {
        let read = self.store.log_read(&self.key, after, 1).await?;
        Ok(read.into_iter().next())
    }

    /// Removes a letter.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn remove(&self, id: &str) -> Result<bool, StoreError> {
        self.store.log_remove(&self.key, id).await
    }

    /// Number of letters.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.store.log_length(&self.key).await
    }

    /// Acquires or extends the right to replay, of which there is one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn claim_replay(&self, holder: &str, time: Duration) -> Result<bool, StoreError> {
        let key = format!("{}:replay", self.key);
        self.store.acquire_lease(&key, holder, time).await
    }

    /// Releases that right.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn release_replay(&self, holder: &str) -> Result<(), StoreError> {
        let key = format!("{}:replay", self.key);
        self.store.release(&key, holder).await
    }
}
