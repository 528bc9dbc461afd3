//! How many sessions of a node are recovered at the same time.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::time_limit::RECOVERY_TIME;
use crate::metrics::labels::RecoveryResult;

/// Number of sessions that are recovered at the same time.
const CONCURRENT_RECOVERIES: usize = 64;

/// Paces sessions that are recovered, so that a storm of them does not delay everything else.
pub(super) struct RecoveryTurns {
    permits: Semaphore,
    /// Whether the session that was recovered last had no access to the store.
    is_unavailable: AtomicBool,
}

impl RecoveryTurns {
    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(CONCURRENT_RECOVERIES),
            is_unavailable: AtomicBool::new(false),
        }
    }

    /// Waits until a session may be recovered; `None` if others fail meanwhile because the store is unavailable, as all that
    /// wait would one after the other.
    pub(super) async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let mut turn = pin!(self.permits.acquire());
        loop {
            if let Ok(permit) = timeout(RECOVERY_TIME, &mut turn).await {
                return permit.ok();
            }
            if self.is_unavailable.load(Ordering::Relaxed) {
                return None;
            }
        }
    }

    /// A session that had its turn was recovered, or not.
    pub(super) fn note(&self, result: RecoveryResult) {
        let is_unavailable = result == RecoveryResult::Unavailable;
        self.is_unavailable.store(is_unavailable, Ordering::Relaxed);
    }

    /// Number of permits that nobody has.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.permits.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sessions_wait_for_others_unless_these_have_no_access_to_the_store() {
        let turns = RecoveryTurns::new();
        let begun = Instant::now();
        let mut first = Vec::new();
        for _ in 0..CONCURRENT_RECOVERIES {
            first.push(turns.wait().await.unwrap());
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let slow = async {
            sleep(4 * RECOVERY_TIME).await;
            turns.note(RecoveryResult::Recovered);
            drop(first.pop());
        };
        let (waited, ()) = tokio::join!(turns.wait(), slow);
        assert!(waited.is_some());
        assert_eq!(begun.elapsed(), 4 * RECOVERY_TIME);
        let begun = Instant::now();
        turns.note(RecoveryResult::Unavailable);
        let waited = futures_util::future::join_all((0..1000).map(|_| turns.wait())).await;
        assert!(waited.iter().all(Option::is_none));
        assert_eq!(begun.elapsed(), RECOVERY_TIME);
        drop(first);
        assert_eq!(turns.available(), CONCURRENT_RECOVERIES - 1);
    }
}
