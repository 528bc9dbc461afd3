//! The desired, confirmed and lingering channels of a server. Pure: the current time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::link::Channel;

/// The state of a channel's subscription on the current connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubscriptionState {
    Unsent,
    Pending,
    Confirmed,
}

#[derive(Debug)]
struct Entry {
    desired: bool,
    state: SubscriptionState,
}

#[derive(Debug)]
pub(super) struct ChannelStates {
    entries: HashMap<Channel, Entry>,
    /// Desired channels whose SUBSCRIBE was not sent.
    unsent: Vec<Channel>,
    /// Unsubscribed at that time; some have been requested again since.
    lingering: VecDeque<(Instant, Channel)>,
    unconfirmed: usize,
    linger: Duration,
}

impl ChannelStates {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            unsent: Vec::new(),
            lingering: VecDeque::new(),
            unconfirmed: 0,
            linger,
        }
    }

    /// Requests channels; returns those already confirmed.
    pub(super) fn subscribe(&mut self, channels: Vec<Channel>) -> Vec<Channel> {
        let mut confirmed = Vec::new();
        for channel in channels {
            let entry = self.entries.entry(channel.clone()).or_insert_with(|| {
                self.unsent.push(channel.clone());
                self.unconfirmed += 1;
                Entry {
                    desired: true,
                    state: SubscriptionState::Unsent,
                }
            });
            entry.desired = true;
            if entry.state == SubscriptionState::Confirmed {
                confirmed.push(channel);
            }
        }
        confirmed
    }

    /// Unsubscribes from channels; the command is sent after the linger time.
    pub(super) fn unsubscribe(&mut self, channels: Vec<Channel>, now: Instant) {
        for channel in channels {
            if let Some(entry) = self.entries.get_mut(&channel).filter(|entry| entry.desired) {
                entry.desired = false;
                self.lingering.push_back((now, channel));
            }
        }
    }

    /// Takes the channels to subscribe now.
    pub(super) fn take_unsent(&mut self) -> Vec<Channel> {
        let channels = std::mem::take(&mut self.unsent);
        for channel in &channels {
            if let Some(entry) = self.entries.get_mut(channel) {
                entry.state = SubscriptionState::Pending;
            }
        }
        channels
    }

    /// Records the confirmation of a channel; returns the channel if it is desired.
    pub(super) fn confirm(&mut self, name: &str) -> Option<Channel> {
        let (channel, _) = self.entries.get_key_value(name)?;
        let channel = channel.clone();
        let entry = self.entries.get_mut(name)?;
        if entry.state == SubscriptionState::Pending {
            self.unconfirmed -= 1;
        }
        entry.state = SubscriptionState::Confirmed;
        entry.desired.then_some(channel)
    }

    /// Marks channels as not subscribed, because the server rejected or ended the subscription: they are subscribed
    /// again, here or at another server.
    pub(super) fn resubscribe(&mut self, channels: Vec<Channel>) {
        for channel in channels {
            let Some(entry) = self.entries.get_mut(&channel) else {
                continue;
            };
            match (entry.state, entry.desired) {
                (SubscriptionState::Unsent, _) => continue,
                (SubscriptionState::Confirmed, true) => self.unconfirmed += 1,
                (SubscriptionState::Pending, false) => self.unconfirmed -= 1,
                (SubscriptionState::Confirmed, false) | (SubscriptionState::Pending, true) => {}
            }
            if entry.desired {
                entry.state = SubscriptionState::Unsent;
                self.unsent.push(channel);
            } else {
                self.entries.remove(&channel);
            }
        }
    }

    /// Removes the desired channels for which `leaves` returns true; their subscriptions end without lingering.
    pub(super) fn extract(
        &mut self,
        leaves: impl Fn(&Channel) -> bool,
        now: Instant,
    ) -> Vec<Channel> {
        let leaving = |(channel, entry): &(&Channel, &Entry)| entry.desired && leaves(channel);
        let channels: Vec<Channel> = self
            .entries
            .iter()
            .filter(leaving)
            .map(|(channel, _)| channel.clone())
            .collect();
        if channels.is_empty() {
            return channels;
        }
        let at_once = now.checked_sub(self.linger).unwrap_or(now);
        for channel in &channels {
            let Some(entry) = self.entries.get_mut(channel) else {
                continue;
            };
            if entry.state == SubscriptionState::Unsent {
                self.entries.remove(channel);
                self.unconfirmed -= 1;
            } else {
                entry.desired = false;
                self.lingering.push_front((at_once, channel.clone()));
            }
        }
        self.unsent
            .retain(|channel| self.entries.contains_key(channel));
        channels
    }

    /// The channel of this name, if it is desired or lingering.
    pub(super) fn get(&self, name: &str) -> Option<Channel> {
        let (channel, _) = self.entries.get_key_value(name)?;
        Some(channel.clone())
    }

    /// Whether the server has confirmed all channels.
    pub(super) fn is_confirmed(&self) -> bool {
        self.unconfirmed == 0
    }

    /// When the next lingering channel expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.lingering
            .front()
            .map(|(since, _)| *since + self.linger)
    }

    /// Takes the channels to unsubscribe now.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Channel> {
        let mut expired = Vec::new();
        let mut unconfirmed = Vec::new();
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            let Some((_, channel)) = self.lingering.pop_front() else {
                break;
            };
            match self.entries.get(&channel) {
                Some(entry) if entry.desired => {}
                // Wait for the confirmation, so that it cannot be mistaken for that of a later SUBSCRIBE.
                Some(entry) if entry.state != SubscriptionState::Confirmed => {
                    unconfirmed.push((now, channel));
                }
                Some(_) => {
                    self.entries.remove(&channel);
                    expired.push(channel);
                }
                None => {}
            }
        }
        self.lingering.extend(unconfirmed);
        expired
    }

    /// Resets the state for a new connection: desired channels are subscribed again, the others are forgotten.
    pub(super) fn reset(&mut self) {
        self.lingering.clear();
        self.entries.retain(|_, entry| {
            entry.state = SubscriptionState::Unsent;
            entry.desired
        });
        self.unsent = self.entries.keys().cloned().collect();
        self.unconfirmed = self.unsent.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel::from(*name)).collect()
    }

    #[test]
    fn channels_are_sent_once_and_confirmed() {
        let mut subscriptions = ChannelStates::new(LINGER);
        assert_eq!(subscriptions.subscribe(channels(&["a", "b"])), []);
        assert_eq!(subscriptions.subscribe(channels(&["a"])), []);
        assert_eq!(subscriptions.take_unsent(), channels(&["a", "b"]));
        assert_eq!(subscriptions.take_unsent(), []);
        assert_eq!(subscriptions.confirm("a"), Some(Channel::from("a")));
        assert!(!subscriptions.is_confirmed());
        assert_eq!(subscriptions.confirm("b"), Some(Channel::from("b")));
        assert_eq!(subscriptions.confirm("c"), None);
        assert!(subscriptions.is_confirmed());
        assert_eq!(
            subscriptions.subscribe(channels(&["a", "c"])),
            channels(&["a"])
        );
    }

    #[test]
    fn unsubscribed_channels_linger() {
        let start = Instant::now();
        let mut subscriptions = ChannelStates::new(LINGER);
        subscriptions.subscribe(channels(&["a", "b"]));
        subscriptions.take_unsent();
        subscriptions.confirm("a");
        subscriptions.unsubscribe(channels(&["a", "b", "x"]), start);
        assert_eq!(subscriptions.get("a"), Some(Channel::from("a")));
        assert_eq!(subscriptions.subscribe(channels(&["a"])), channels(&["a"]));
        let later = start + LINGER;
        assert_eq!(subscriptions.next_expiry(), Some(later));
        assert_eq!(
            subscriptions.take_expired(later),
            [],
            "a is desired, b is not confirmed"
        );
        assert_eq!(subscriptions.confirm("b"), None);
        assert_eq!(subscriptions.take_expired(later + LINGER), channels(&["b"]));
        assert_eq!(subscriptions.next_expiry(), None);
        assert_eq!(subscriptions.get("b"), None);
        assert_eq!(subscriptions.subscribe(channels(&["b"])), []);
        assert_eq!(subscriptions.take_unsent(), channels(&["b"]));
    }

    #[test]
    fn rejected_channels_are_subscribed_again() {
        let mut subscriptions = ChannelStates::new(LINGER);
        subscriptions.subscribe(channels(&["a", "b", "c"]));
        subscriptions.take_unsent();
        subscriptions.confirm("a");
        subscriptions.unsubscribe(channels(&["c"]), Instant::now());
        subscriptions.resubscribe(channels(&["a", "b", "c", "x"]));
        assert_eq!(subscriptions.take_unsent(), channels(&["a", "b"]));
        assert!(!subscriptions.is_confirmed());
        subscriptions.confirm("a");
        subscriptions.confirm("b");
        assert!(subscriptions.is_confirmed());
    }

    #[test]
    fn extracted_channels_are_unsubscribed_without_lingering() {
        let start = Instant::now() + LINGER;
        let mut subscriptions = ChannelStates::new(LINGER);
        subscriptions.subscribe(channels(&["kept", "pending", "confirmed"]));
        subscriptions.take_unsent();
        subscriptions.confirm("confirmed");
        subscriptions.confirm("kept");
        subscriptions.subscribe(channels(&["unsent"]));
        let mut moved = subscriptions.extract(|channel| channel.as_str() != "kept", start);
        moved.sort();
        assert_eq!(moved, channels(&["confirmed", "pending", "unsent"]));
        assert_eq!(subscriptions.take_unsent(), []);
        assert_eq!(subscriptions.take_expired(start), channels(&["confirmed"]));
        assert_eq!(subscriptions.confirm("pending"), None);
        assert!(subscriptions.is_confirmed());
        let later = start + LINGER;
        assert_eq!(subscriptions.take_expired(later), channels(&["pending"]));
        assert_eq!(subscriptions.get("kept"), Some(Channel::from("kept")));
    }

    #[test]
    fn reset_subscribes_the_desired_channels_again() {
        let mut subscriptions = ChannelStates::new(LINGER);
        subscriptions.subscribe(channels(&["a", "b"]));
        subscriptions.take_unsent();
        subscriptions.confirm("a");
        subscriptions.unsubscribe(channels(&["b"]), Instant::now());
        subscriptions.reset();
        assert_eq!(subscriptions.take_unsent(), channels(&["a"]));
        assert!(!subscriptions.is_confirmed());
        subscriptions.confirm("a");
        assert!(subscriptions.is_confirmed());
    }
}
