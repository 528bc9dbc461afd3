//! The time limit of operations that a client waits for.

use std::time::Duration;

use tokio::time::timeout;

use crate::store::{StoreError, StoreFuture};

/// Time limit of an operation of the store or the logs.
const STORE_TIME: Duration = Duration::from_secs(2);

/// Time limit of an operation without which a session is lost. In a storm a busy machine takes seconds, and clients wait
/// for their CONNECT response without a time limit.
const RECOVERY_TIME: Duration = Duration::from_secs(10);

/// Waits for the store, but not for long.
pub(super) async fn within_time<T>(operation: StoreFuture<T>) -> Result<T, StoreError> {
    limited(operation, STORE_TIME).await
}

/// Waits for what a session needs to continue.
pub(super) async fn within_recovery_time<T>(operation: StoreFuture<T>) -> Result<T, StoreError> {
    limited(operation, RECOVERY_TIME).await
}

async fn limited<T>(operation: StoreFuture<T>, limit: Duration) -> Result<T, StoreError> {
    let result = timeout(limit, operation).await;
    result.unwrap_or_else(|_elapsed| Err(StoreError("no response in time".to_owned())))
}
