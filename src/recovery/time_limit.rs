//! The time limit of operations that a client waits for.

use std::time::Duration;

use tokio::time::timeout;

use crate::store::{StoreError, StoreFuture};

/// Time limit of an operation of the store or the logs.
const STORE_TIME: Duration = Duration::from_secs(2);

/// Waits for the store, but not for long.
pub(super) async fn within_time<T>(operation: StoreFuture<T>) -> Result<T, StoreError> {
    let result = timeout(STORE_TIME, operation).await;
    result.unwrap_or_else(|_elapsed| Err(StoreError("no response in time".to_owned())))
}
