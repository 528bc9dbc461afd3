//! The channels to be subscribed at a server, shared between the link's handle and the subscriber.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::subscriptions::ChannelStates;
use crate::bus::link::Channel;

#[derive(Debug)]
pub(super) struct DesiredChannels {
    subscriptions: Mutex<ChannelStates>,
    pub(super) changed: Notify,
}

impl DesiredChannels {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            subscriptions: Mutex::new(ChannelStates::new(linger)),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ChannelStates> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests subscriptions; returns the channels that are already confirmed.
    pub(super) fn subscribe(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let confirmed = self.lock().subscribe(channels);
        self.changed.notify_one();
        confirmed
    }

    pub(super) fn unsubscribe(&self, channels: Vec<Channel>) {
        self.lock().unsubscribe(channels, Instant::now());
        self.changed.notify_one();
    }
}
