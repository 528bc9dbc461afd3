//! The channels and patterns to be subscribed at a server, shared between the link's handle and the subscriber.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::subscriptions::ChannelStates;
use crate::bus::link::Channel;

#[derive(Debug)]
pub(super) struct DesiredChannels {
    subscriptions: Mutex<ChannelStates>,
    patterns: Mutex<ChannelStates>,
    pub(super) changed: Notify,
}

impl DesiredChannels {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            subscriptions: Mutex::new(ChannelStates::new(linger)),
            patterns: Mutex::new(ChannelStates::new(linger)),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ChannelStates> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn patterns(&self) -> MutexGuard<'_, ChannelStates> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server has confirmed all channels and patterns.
    pub(super) fn is_confirmed(&self) -> bool {
        self.lock().is_confirmed() && self.patterns().is_confirmed()
    }

    /// When the next lingering channel or pattern expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let expiries = [self.lock().next_expiry(), self.patterns().next_expiry()];
        expiries.into_iter().flatten().min()
    }

    /// Resets the state for a new connection.
    pub(super) fn reset(&self) {
        self.lock().reset();
        self.patterns().reset();
    }

    /// Requests patterns; returns those that are already confirmed.
    pub(super) fn subscribe_patterns(&self, patterns: Vec<Channel>) -> Vec<Channel> {
        let confirmed = self.patterns().subscribe(patterns);
        self.changed.notify_one();
        confirmed
    }

    pub(super) fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        self.patterns().unsubscribe(patterns, Instant::now());
        self.changed.notify_one();
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
