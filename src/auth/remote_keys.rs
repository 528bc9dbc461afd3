//! The fetched key set of a node: the keys at hand, when the set is fetched again, and the checks that wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, watch};

use super::key_set_settings::KeySetSettings;
use crate::clock;
use crate::token::VerifyingKey;

/// Time between two fetches for tokens whose key is missing: otherwise anyone could make this node flood the server of
/// the key set.
const PAUSE_OF_MISSES: Duration = Duration::from_secs(30);

/// The keys that were fetched, shared by all threads.
pub(super) struct RemoteKeys {
    settings: Mutex<KeySetSettings>,
    /// The last good set.
    keys: ArcSwap<Vec<VerifyingKey>>,
    progress: watch::Sender<Progress>,
    /// When a missing key last caused a fetch.
    last_miss: Mutex<Option<Instant>>,
    /// Wakes the fetcher.
    pub(super) wake: Notify,
}

/// The attempts to fetch the set.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Number of attempts that have ended.
    count: u64,
    /// The result of the last attempt.
    last: FetchState,
    /// Whether an attempt is running, or the fetcher has been woken for one.
    running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FetchState {
    /// No attempt has ended since the URL was set.
    None,
    Succeeded,
    Failed,
}

impl RemoteKeys {
    pub(super) fn new(settings: KeySetSettings) -> Arc<Self> {
        Arc::new(Self {
            settings: Mutex::new(settings),
            keys: ArcSwap::default(),
            progress: watch::Sender::new(Progress {
                count: 0,
                last: FetchState::None,
                running: false,
            }),
            last_miss: Mutex::new(None),
            wake: Notify::new(),
        })
    }

    /// The keys at hand.
    pub(super) fn keys(&self) -> Guard<Arc<Vec<VerifyingKey>>> {
        self.keys.load()
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> KeySetSettings {
        locked(&self.settings).clone()
    }

    /// Replaces the settings, and fetches the set. Keys of another URL are forgotten.
    pub(super) fn replace(&self, settings: KeySetSettings) {
        let mut current = locked(&self.settings);
        if current.url != settings.url {
            self.keys.store(Arc::default());
            self.progress
                .send_modify(|progress| progress.last = FetchState::None);
        }
        *current = settings;
        drop(current);
        self.wake.notify_one();
    }

    /// The number of attempts so far: if it differs from a former one, the keys may differ too.
    pub(super) fn count(&self) -> u64 {
        self.progress.borrow().count
    }

    /// An attempt to fetch begins.
    pub(super) fn attempt_begins(&self) {
        self.progress
            .send_modify(|progress| progress.running = true);
    }

    /// An attempt to fetch the set of `settings` has ended, with the keys if it succeeded.
    pub(super) fn attempt_ended(&self, of: &KeySetSettings, keys: Option<Vec<VerifyingKey>>) {
        // Held to the end, so that no set of a former URL is stored after a reload.
        let current = locked(&self.settings);
        let is_current = current.url == of.url;
        let last = match keys {
            Some(keys) if is_current => {
                self.keys.store(Arc::new(keys));
                FetchState::Succeeded
            }
            Some(_) => FetchState::None,
            None => FetchState::Failed,
        };
        self.progress.send_modify(|progress| {
            progress.count += 1;
            progress.running = false;
            if is_current {
                progress.last = last;
            }
        });
    }

    /// Whether the set was fetched by the last attempt.
    pub(super) fn is_available(&self) -> bool {
        self.progress.borrow().last == FetchState::Succeeded
    }

    /// Whether a set newer than that of attempt number `count` exists, or may arrive soon.
    pub(super) fn may_be_newer(&self, count: u64) -> bool {
        let progress = *self.progress.borrow();
        match progress.last {
            _ if progress.count != count => true,
            FetchState::None => true,
            // The fetcher tries again by itself; clients do not wait for a server that did not respond.
            FetchState::Failed => false,
            FetchState::Succeeded => progress.running || is_due(*locked(&self.last_miss)),
        }
    }

    /// Waits for a newer set than after attempt number `count`, because a key is missing. `false`: none in time.
    pub(super) async fn newer(&self, count: u64) -> bool {
        if !self.may_be_newer(count) {
            return false;
        }
        let mut progress = self.progress.subscribe();
        if self.is_available() && !self.request_for_miss(count) {
            return false;
        }
        let limit = locked(&self.settings).timeout;
        let ended = progress.wait_for(|progress| progress.count != count);
        let ended = tokio::time::timeout(limit, ended).await;
        matches!(ended, Ok(Ok(progress)) if progress.last == FetchState::Succeeded)
    }

    /// Requests a fetch for a missing key, unless one is running. `false`: there was one within the last 30 s.
    fn request_for_miss(&self, count: u64) -> bool {
        let mut last = locked(&self.last_miss);
        let progress = *self.progress.borrow();
        if progress.running || progress.count != count {
            return true;
        }
        if !is_due(*last) {
            return false;
        }
        *last = Some(clock::now());
        self.progress
            .send_modify(|progress| progress.running = true);
        self.wake.notify_one();
        true
    }
}

/// Whether a missing key may cause a fetch again after `last`.
fn is_due(last: Option<Instant>) -> bool {
    last.is_none_or(|last| clock::now().saturating_duration_since(last) >= PAUSE_OF_MISSES)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
