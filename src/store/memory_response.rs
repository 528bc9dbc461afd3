//! The responses of a [`MemoryStore`], which tests can lose.

use super::{MemoryStore, StoreFuture, ready_ok};

impl MemoryStore {
    /// The response to a command that was executed.
    pub(super) fn respond<T: Send + 'static>(&self, result: T) -> StoreFuture<T> {
        #[cfg(test)]
        if self.loses_response() {
            return Box::pin(std::future::ready(Err(super::StoreError(
                "the response was lost".to_owned(),
            ))));
        }
        ready_ok(result)
    }

    /// Executes this number of the next commands that concern claims and presence, and loses their responses.
    #[cfg(test)]
    pub(crate) fn lose_responses(&self, number: usize) {
        let lost = &self.lost_responses;
        lost.store(number, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(test)]
    fn loses_response(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let lost = &self.lost_responses;
        let left = lost.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.is_ok()
    }
}
