//! What the backends replied about each token, kept for a while, with one pending request per token.
//!
//! One cache per node. Concurrent requests about the same token share one response. Of rejected tokens, and of tokens
//! verified some time ago, only hashes are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::recent_tokens::RecentTokens;
use super::user::User;

/// Hashes kept, each of rejected and of verified tokens.
const MAX_HASHES: usize = 100_000;

/// What is known about a token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenStatus {
    Verified(Arc<User>),
    Rejected,
    /// No backend replied.
    Unknown,
}

/// The result of [`TokenCache::lookup`].
#[derive(Debug)]
pub(super) enum Lookup {
    /// A status no older than requested.
    Known(TokenStatus),
    /// A request is pending; the channel receives its result.
    Pending(oneshot::Receiver<TokenStatus>),
    /// Nothing is known. The caller must request it of a backend and call [`TokenCache::complete`].
    Missing,
}

#[derive(Debug, Default)]
struct CachedToken {
    /// Sockets of this node that are logged in by the token.
    sockets: usize,
    known: Option<(TokenStatus, Instant)>,
    /// The callers that wait for the pending request, if there is one.
    pending: Option<Vec<oneshot::Sender<TokenStatus>>>,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct TokenCache(Mutex<CacheTable>);

#[derive(Debug)]
struct CacheTable {
    /// Tokens used by sockets, verified recently, or with a pending request.
    entries: HashMap<Arc<str>, CachedToken>,
    rejected: RecentTokens,
    /// Tokens that were valid once. They are not accepted for that, but requests about them have priority.
    verified: RecentTokens,
}

impl Default for CacheTable {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            rejected: RecentTokens::new(MAX_HASHES),
            verified: RecentTokens::new(MAX_HASHES),
        }
    }
}

impl TokenCache {
    fn table(&self) -> MutexGuard<'_, CacheTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token was verified before.
    pub(super) fn was_verified(&self, token: &Arc<str>) -> bool {
        let table = self.table();
        let entry = table.entries.get(token);
        entry.is_some_and(|entry| entry.sockets > 0) || table.verified.inserted_at(token).is_some()
    }

    /// Looks up the status of a token that is less than `max_age` old.
    pub(super) fn lookup(&self, token: &Arc<str>, max_age: Duration, now: Instant) -> Lookup {
        let mut table = self.table();
        let is_fresh = |at: Instant| now.duration_since(at) < max_age;
        let entry = table.entries.get(token);
        if let Some((status, at)) = entry.and_then(|entry| entry.known.as_ref())
            && is_fresh(*at)
        {
            return Lookup::Known(status.clone());
        }
        if table.rejected.inserted_at(token).is_some_and(is_fresh) {
            return Lookup::Known(TokenStatus::Rejected);
        }
        let entry = table.entries.entry(Arc::clone(token)).or_default();
        match &mut entry.pending {
            Some(waiting) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Lookup::Pending(receiver)
            }
            None => {
                entry.pending = Some(Vec::new());
                Lookup::Missing
            }
        }
    }

    /// Stores the result of the pending request and passes it to all callers that wait for it.
    /// [`TokenStatus::Unknown`] is passed on but not stored.
    pub(super) fn complete(&self, token: &Arc<str>, status: &TokenStatus, now: Instant) {
        let mut table = self.table();
        let CacheTable {
            entries,
            rejected,
            verified,
        } = &mut *table;
        let Some(entry) = entries.get_mut(token) else {
            return;
        };
        let waiting = entry.pending.take();
        let is_used = entry.sockets > 0;
        let remove = match status {
            TokenStatus::Unknown => entry.known.is_none() && !is_used,
            TokenStatus::Rejected => {
                rejected.insert(token, now);
                verified.remove(token);
                !is_used
            }
            TokenStatus::Verified(_) => {
                rejected.remove(token);
                verified.insert(token, now);
                false
            }
        };
        if remove {
            entries.remove(token);
        } else if *status != TokenStatus::Unknown {
            entry.known = Some((status.clone(), now));
        }
        for sender in waiting.into_iter().flatten() {
            // Fails if the caller was dropped meanwhile.
            let _ = sender.send(status.clone());
        }
    }

    /// Counts a socket that is logged in by the token.
    pub(super) fn hold(&self, token: &Arc<str>) {
        let mut table = self.table();
        let entry = table.entries.entry(Arc::clone(token)).or_default();
        entry.sockets += 1;
    }

    /// Reverts one [`Self::hold`]. With the last one the status is dropped: backends disconnect all sockets of a token
    /// that they revoke, which this node does not notice without such a socket.
    pub(super) fn release(&self, token: &Arc<str>) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(token) else {
            return;
        };
        entry.sockets = entry.sockets.saturating_sub(1);
        if entry.sockets == 0 {
            entry.known = None;
            if entry.pending.is_none() {
                table.entries.remove(token);
            }
            table.rejected.remove(token);
        }
    }

    /// Drops the status of the token.
    pub(super) fn invalidate(&self, token: &Arc<str>) {
        let mut table = self.table();
        if let Some(entry) = table.entries.get_mut(token) {
            entry.known = None;
        }
        table.rejected.remove(token);
    }

    /// Drops statuses of unused tokens that are at least `max_age` old.
    pub(super) fn purge(&self, max_age: Duration, now: Instant) {
        self.table().entries.retain(|_, entry| {
            let is_fresh = |(_, at): &(TokenStatus, Instant)| now.duration_since(*at) < max_age;
            entry.pending.is_some()
                || entry.sockets > 0
                || entry.known.as_ref().is_some_and(is_fresh)
        });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::user::tests::user;
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(10);

    #[test]
    fn a_token_is_requested_once_and_cached_for_a_while() {
        let cache = TokenCache::default();
        let token: Arc<str> = "t".into();
        let now = Instant::now();
        assert!(matches!(
            cache.lookup(&token, MAX_AGE, now),
            Lookup::Missing
        ));
        let Lookup::Pending(mut waiting) = cache.lookup(&token, MAX_AGE, now) else {
            panic!("a second request would be sent");
        };
        assert!(waiting.try_recv().is_err());
        cache.complete(&token, &TokenStatus::Rejected, now);
        assert_eq!(waiting.try_recv(), Ok(TokenStatus::Rejected));
        let known = cache.lookup(&token, MAX_AGE, now + MAX_AGE / 2);
        assert!(matches!(known, Lookup::Known(TokenStatus::Rejected)));
        let old = cache.lookup(&token, MAX_AGE, now + MAX_AGE);
        assert!(matches!(old, Lookup::Missing));
        cache.complete(&token, &TokenStatus::Unknown, now + MAX_AGE);
        let older = cache.lookup(&token, MAX_AGE * 3, now + MAX_AGE);
        assert!(
            matches!(older, Lookup::Known(TokenStatus::Rejected)),
            "still known"
        );
        cache.invalidate(&token);
        assert!(matches!(
            cache.lookup(&token, MAX_AGE, now),
            Lookup::Missing
        ));
        cache.complete(&token, &TokenStatus::Unknown, now);
        assert_eq!(cache.len(), 0, "an unknown status is not stored");
    }

    #[test]
    fn the_status_of_a_token_is_dropped_with_its_last_socket() {
        let cache = TokenCache::default();
        let token: Arc<str> = "t".into();
        let now = Instant::now();
        assert!(matches!(
            cache.lookup(&token, MAX_AGE, now),
            Lookup::Missing
        ));
        cache.complete(&token, &TokenStatus::Rejected, now);
        cache.hold(&token);
        cache.hold(&token);
        cache.purge(MAX_AGE, now + MAX_AGE * 2);
        cache.release(&token);
        let known = cache.lookup(&token, MAX_AGE, now);
        assert!(matches!(known, Lookup::Known(TokenStatus::Rejected)));
        cache.release(&token);
        assert_eq!(cache.len(), 0);
        cache.release(&token);
        assert!(matches!(
            cache.lookup(&token, MAX_AGE, now),
            Lookup::Missing
        ));
    }

    #[test]
    fn only_hashes_of_rejected_and_of_formerly_verified_tokens_are_kept() {
        let cache = TokenCache::default();
        let now = Instant::now();
        for number in 0..100 {
            let forged: Arc<str> = format!("forged {number}").into();
            assert!(matches!(
                cache.lookup(&forged, MAX_AGE, now),
                Lookup::Missing
            ));
            cache.complete(&forged, &TokenStatus::Rejected, now);
            let again = cache.lookup(&forged, MAX_AGE, now);
            assert!(matches!(again, Lookup::Known(TokenStatus::Rejected)));
            assert!(!cache.was_verified(&forged));
        }
        assert_eq!(cache.len(), 0);
        let good: Arc<str> = "good".into();
        assert!(!cache.was_verified(&good));
        assert!(matches!(cache.lookup(&good, MAX_AGE, now), Lookup::Missing));
        let admin = user(r#"{"id":"u","name":"N","role":"admin"}"#).unwrap();
        cache.complete(&good, &TokenStatus::Verified(Arc::new(admin)), now);
        cache.hold(&good);
        cache.release(&good);
        assert_eq!(cache.len(), 0);
        assert!(cache.was_verified(&good), "its page may reconnect");
        assert!(matches!(cache.lookup(&good, MAX_AGE, now), Lookup::Missing));
        cache.complete(&good, &TokenStatus::Rejected, now);
        assert!(!cache.was_verified(&good));
    }

    #[test]
    fn purge_drops_old_statuses_but_no_pending_request() {
        let cache = TokenCache::default();
        let now = Instant::now();
        for name in ["a", "b"] {
            let token: Arc<str> = name.into();
            assert!(matches!(
                cache.lookup(&token, MAX_AGE, now),
                Lookup::Missing
            ));
            if name == "a" {
                cache.complete(&token, &TokenStatus::Rejected, now);
            }
        }
        cache.purge(MAX_AGE, now + MAX_AGE * 2);
        assert_eq!(cache.len(), 1);
    }
}
