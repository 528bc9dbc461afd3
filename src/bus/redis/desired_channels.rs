//! The wanted channels of a server, shared between the link's handle and its subscriber.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::subscriptions::Subscriptions;
use crate::bus::link::Channel;

#[derive(Debug)]
pub(super) struct Wanted {
    subscriptions: Mutex<Subscriptions>,
    pub(super) changed: Notify,
}

impl Wanted {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            subscriptions: Mutex::new(Subscriptions::new(linger)),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants channels; returns those that still stand.
    pub(super) fn want(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let standing = self.lock().want(channels);
        self.changed.notify_one();
        standing
    }

    pub(super) fn give_up(&self, channels: Vec<Channel>) {
        self.lock().give_up(channels, Instant::now());
        self.changed.notify_one();
    }
}
