//! The time limit of operations that a client waits for.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::store::{StoreError, StoreFuture};

/// Time limit of an operation of the store or the logs.
const STORE_TIME: Duration = Duration::from_secs(2);

/// Time limit of an operation without which a session is lost. In a storm a busy machine takes seconds, and clients wait
/// for their CONNECT response without a time limit.
pub(super) const RECOVERY_TIME: Duration = Duration::from_secs(10);

/// Pause between two attempts of such an operation.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Waits for the store, but not for long.
pub(super) async fn within_time<T>(operation: StoreFuture<T>) -> Result<T, StoreError> {
    limited(operation, STORE_TIME).await
}

/// Waits for what a session needs to continue, which is repeated while it fails: Redis may be restarting or failing over.
pub(super) async fn within_recovery_time<T>(
    operation: impl Fn() -> StoreFuture<T>,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + RECOVERY_TIME;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match limited(operation(), left).await {
            Err(_unavailable) if Instant::now() + RETRY_PAUSE < deadline => {
                sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn limited<T>(operation: StoreFuture<T>, limit: Duration) -> Result<T, StoreError> {
    let result = timeout(limit, operation).await;
    result.unwrap_or_else(|_elapsed| Err(StoreError("no response in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_session_needs_is_repeated_until_it_succeeds_or_its_time_is_over() {
        let attempts = Cell::new(0);
        let failing = |failures: u32| {
            attempts.set(0);
            let attempts = &attempts;
            move || -> StoreFuture<u32> {
                attempts.set(attempts.get() + 1);
                let fails = attempts.get() <= failures;
                let result = match fails {
                    true => Err(StoreError("away".to_owned())),
                    false => Ok(attempts.get()),
                };
                Box::pin(async { result })
            }
        };
        assert_eq!(within_recovery_time(failing(3)).await, Ok(4));
        let begun = Instant::now();
        let away = Err(StoreError("away".to_owned()));
        assert_eq!(within_recovery_time(failing(u32::MAX)).await, away);
        assert!(begun.elapsed() <= RECOVERY_TIME && attempts.get() == 40);
        // A response that does not come is not awaited longer.
        let begun = Instant::now();
        let silent = || -> StoreFuture<u32> { Box::pin(std::future::pending()) };
        assert!(within_recovery_time(silent).await.is_err());
        assert_eq!(begun.elapsed(), RECOVERY_TIME);
    }
}
