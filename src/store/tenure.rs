//! Whether a node still holds its name, as far as it can tell without a response of the store.
//!
//! When a lease has expired, another node may announce the end of every session of its holder. So a holder that could
//! not renew its lease for a lifetime, because it was paused or is cut off, announces nothing itself until it knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::now;

/// The name of a node over time. Shared by all threads.
#[derive(Debug)]
pub struct Tenure {
    lifetime: Duration,
    start: Instant,
    /// When the last successful renewal was requested, in milliseconds after `start`.
    confirmed: AtomicU64,
    /// Whether other nodes know the sessions of this one, and can announce their end.
    has_heirs: AtomicBool,
    state: watch::Sender<TenureState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TenureState {
    Held,
    Ended,
}

impl Tenure {
    /// The tenure of a node that begins now. A lease lasts `lifetime`.
    pub fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            start: now(),
            confirmed: AtomicU64::new(0),
            has_heirs: AtomicBool::new(false),
            state: watch::Sender::new(TenureState::Held),
        }
    }

    /// The lease was renewed by a request that was sent at `requested`.
    pub fn confirm(&self, requested: Instant) {
        let since_start = requested.saturating_duration_since(self.start);
        let milliseconds = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        self.confirmed.store(milliseconds, Ordering::Release);
        // Wakes those that wait, also if the state is the same.
        self.state.send_modify(|_| {});
    }

    /// Another node holds the name.
    pub fn end(&self) {
        self.state.send_replace(TenureState::Ended);
    }

    /// From now on, other nodes can announce the end of the sessions of this node once its lease has expired.
    pub fn expose(&self) {
        self.has_heirs.store(true, Ordering::Release);
    }

    /// Whether no other node can have announced the end of a session of this node.
    pub fn is_certain(&self) -> bool {
        if *self.state.borrow() == TenureState::Ended {
            return false;
        }
        if !self.has_heirs.load(Ordering::Acquire) {
            return true;
        }
        let confirmed = Duration::from_millis(self.confirmed.load(Ordering::Acquire));
        now() < self.start + confirmed + self.lifetime
    }

    /// Whether another node holds the name.
    pub fn has_ended(&self) -> bool {
        *self.state.borrow() == TenureState::Ended
    }

    /// Waits until it is certain whether this node still holds its name; returns whether it does.
    pub async fn settled(&self) -> bool {
        let mut state = self.state.subscribe();
        loop {
            if self.has_ended() {
                return false;
            }
            if self.is_certain() {
                return true;
            }
            // The sender lives as long as this value.
            let _ = state.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_node_is_certain_for_a_lifetime_after_each_renewal() {
        let tenure = Tenure::new(LIFETIME);
        tokio::time::advance(LIFETIME * 2).await;
        assert!(tenure.is_certain(), "nobody knows its sessions");
        tenure.expose();
        assert!(!tenure.is_certain());
        let requested = now();
        tokio::time::advance(Duration::from_secs(1)).await;
        tenure.confirm(requested);
        tokio::time::advance(LIFETIME - Duration::from_millis(1001)).await;
        assert!(tenure.is_certain());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!tenure.is_certain());
    }

    #[tokio::test(start_paused = true)]
    async fn an_uncertain_node_waits_for_the_next_renewal_or_the_end() {
        for renewed in [true, false] {
            let tenure = Tenure::new(LIFETIME);
            tenure.expose();
            tokio::time::advance(LIFETIME).await;
            let settled = tenure.settled();
            tokio::pin!(settled);
            let early = tokio::time::timeout(LIFETIME, &mut settled).await;
            assert!(early.is_err());
            match renewed {
                true => tenure.confirm(now()),
                false => tenure.end(),
            }
            assert_eq!(settled.await, renewed);
            assert_eq!(tenure.has_ended(), !renewed);
        }
    }
}
