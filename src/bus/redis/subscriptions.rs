//! Which channels are wanted, which the server has confirmed, which linger. Pure: time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::link::Channel;

/// What the server knows of a channel, on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Untold,
    Asked,
    Confirmed,
}

#[derive(Debug)]
struct Entry {
    wanted: bool,
    server: Server,
}

#[derive(Debug)]
pub(super) struct Subscriptions {
    entries: HashMap<Channel, Entry>,
    /// Wanted and untold.
    to_ask: Vec<Channel>,
    /// Given up at that time; some are wanted again since.
    lingering: VecDeque<(Instant, Channel)>,
    unconfirmed: usize,
    linger: Duration,
}

impl Subscriptions {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            to_ask: Vec::new(),
            lingering: VecDeque::new(),
            unconfirmed: 0,
            linger,
        }
    }

    /// Wants channels; returns those still confirmed.
    pub(super) fn want(&mut self, channels: Vec<Channel>) -> Vec<Channel> {
        let mut standing = Vec::new();
        for channel in channels {
            let entry = self.entries.entry(channel.clone()).or_insert_with(|| {
                self.to_ask.push(channel.clone());
                self.unconfirmed += 1;
                Entry {
                    wanted: true,
                    server: Server::Untold,
                }
            });
            entry.wanted = true;
            if entry.server == Server::Confirmed {
                standing.push(channel);
            }
        }
        standing
    }

    /// Gives channels up; the server hears of it after the linger time.
    pub(super) fn give_up(&mut self, channels: Vec<Channel>, now: Instant) {
        for channel in channels {
            if let Some(entry) = self.entries.get_mut(&channel).filter(|entry| entry.wanted) {
                entry.wanted = false;
                self.lingering.push_back((now, channel));
            }
        }
    }

    /// Channels to subscribe now.
    pub(super) fn take_to_ask(&mut self) -> Vec<Channel> {
        let channels = std::mem::take(&mut self.to_ask);
        for channel in &channels {
            if let Some(entry) = self.entries.get_mut(channel) {
                entry.server = Server::Asked;
            }
        }
        channels
    }

    /// The server confirmed a channel; returns it if it is wanted.
    pub(super) fn confirm(&mut self, name: &str) -> Option<Channel> {
        let (channel, _) = self.entries.get_key_value(name)?;
        let channel = channel.clone();
        let entry = self.entries.get_mut(name)?;
        if entry.server == Server::Asked {
            self.unconfirmed -= 1;
        }
        entry.server = Server::Confirmed;
        entry.wanted.then_some(channel)
    }

    /// The server does not carry these channels, or not any more: they are to be asked for again, here or
    /// elsewhere.
    pub(super) fn put_back(&mut self, channels: Vec<Channel>) {
        for channel in channels {
            let Some(entry) = self.entries.get_mut(&channel) else {
                continue;
            };
            match (entry.server, entry.wanted) {
                (Server::Untold, _) => continue,
                (Server::Confirmed, true) => self.unconfirmed += 1,
                (Server::Asked, false) => self.unconfirmed -= 1,
                (Server::Confirmed, false) | (Server::Asked, true) => {}
            }
            if entry.wanted {
                entry.server = Server::Untold;
                self.to_ask.push(channel);
            } else {
                self.entries.remove(&channel);
            }
        }
    }

    /// Takes the wanted channels that `leaves` says; what the server carries of them is unsubscribed now.
    pub(super) fn hand_over(
        &mut self,
        leaves: impl Fn(&Channel) -> bool,
        now: Instant,
    ) -> Vec<Channel> {
        let leaving = |(channel, entry): &(&Channel, &Entry)| entry.wanted && leaves(channel);
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
            if entry.server == Server::Untold {
                self.entries.remove(channel);
                self.unconfirmed -= 1;
            } else {
                entry.wanted = false;
                self.lingering.push_front((at_once, channel.clone()));
            }
        }
        self.to_ask
            .retain(|channel| self.entries.contains_key(channel));
        channels
    }

    /// The channel of this name, if it is wanted or lingers.
    pub(super) fn known(&self, name: &str) -> Option<Channel> {
        let (channel, _) = self.entries.get_key_value(name)?;
        Some(channel.clone())
    }

    /// Whether the server has confirmed everything.
    pub(super) fn is_settled(&self) -> bool {
        self.unconfirmed == 0
    }

    /// When the next channel has lingered long enough.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.lingering
            .front()
            .map(|(since, _)| *since + self.linger)
    }

    /// Channels to unsubscribe now.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Channel> {
        let mut expired = Vec::new();
        let mut unconfirmed = Vec::new();
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            let Some((_, channel)) = self.lingering.pop_front() else {
                break;
            };
            match self.entries.get(&channel) {
                Some(entry) if entry.wanted => {}
                // A late confirmation must not meet a newer question: wait for it.
                Some(entry) if entry.server != Server::Confirmed => {
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

    /// A new connection: the server knows nothing, and what is not wanted is forgotten.
    pub(super) fn forget_server(&mut self) {
        self.lingering.clear();
        self.entries.retain(|_, entry| {
            entry.server = Server::Untold;
            entry.wanted
        });
        self.to_ask = self.entries.keys().cloned().collect();
        self.unconfirmed = self.to_ask.len();
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
    fn wanted_asked_confirmed() {
        let mut subscriptions = Subscriptions::new(LINGER);
        assert_eq!(subscriptions.want(channels(&["a", "b"])), []);
        assert_eq!(subscriptions.want(channels(&["a"])), []);
        assert_eq!(subscriptions.take_to_ask(), channels(&["a", "b"]));
        assert_eq!(subscriptions.take_to_ask(), []);
        assert_eq!(subscriptions.confirm("a"), Some(Channel::from("a")));
        assert!(!subscriptions.is_settled());
        assert_eq!(subscriptions.confirm("b"), Some(Channel::from("b")));
        assert_eq!(subscriptions.confirm("c"), None);
        assert!(subscriptions.is_settled());
        assert_eq!(subscriptions.want(channels(&["a", "c"])), channels(&["a"]));
    }

    #[test]
    fn what_is_given_up_lingers() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(LINGER);
        subscriptions.want(channels(&["a", "b"]));
        subscriptions.take_to_ask();
        subscriptions.confirm("a");
        subscriptions.give_up(channels(&["a", "b", "x"]), start);
        assert_eq!(subscriptions.known("a"), Some(Channel::from("a")));
        assert_eq!(subscriptions.want(channels(&["a"])), channels(&["a"]));
        let later = start + LINGER;
        assert_eq!(subscriptions.next_expiry(), Some(later));
        assert_eq!(
            subscriptions.take_expired(later),
            [],
            "a is wanted, b not confirmed"
        );
        assert_eq!(subscriptions.confirm("b"), None);
        assert_eq!(subscriptions.take_expired(later + LINGER), channels(&["b"]));
        assert_eq!(subscriptions.next_expiry(), None);
        assert_eq!(subscriptions.known("b"), None);
        assert_eq!(subscriptions.want(channels(&["b"])), []);
        assert_eq!(subscriptions.take_to_ask(), channels(&["b"]));
    }

    #[test]
    fn what_is_refused_is_asked_for_again() {
        let mut subscriptions = Subscriptions::new(LINGER);
        subscriptions.want(channels(&["a", "b", "c"]));
        subscriptions.take_to_ask();
        subscriptions.confirm("a");
        subscriptions.give_up(channels(&["c"]), Instant::now());
        subscriptions.put_back(channels(&["a", "b", "c", "x"]));
        assert_eq!(subscriptions.take_to_ask(), channels(&["a", "b"]));
        assert!(!subscriptions.is_settled());
        subscriptions.confirm("a");
        subscriptions.confirm("b");
        assert!(subscriptions.is_settled());
    }

    #[test]
    fn what_moves_away_is_unsubscribed_at_once() {
        let start = Instant::now() + LINGER;
        let mut subscriptions = Subscriptions::new(LINGER);
        subscriptions.want(channels(&["kept", "asked", "confirmed"]));
        subscriptions.take_to_ask();
        subscriptions.confirm("confirmed");
        subscriptions.confirm("kept");
        subscriptions.want(channels(&["untold"]));
        let mut moved = subscriptions.hand_over(|channel| channel.as_str() != "kept", start);
        moved.sort();
        assert_eq!(moved, channels(&["asked", "confirmed", "untold"]));
        assert_eq!(subscriptions.take_to_ask(), []);
        assert_eq!(subscriptions.take_expired(start), channels(&["confirmed"]));
        assert_eq!(subscriptions.confirm("asked"), None);
        assert!(subscriptions.is_settled());
        let later = start + LINGER;
        assert_eq!(subscriptions.take_expired(later), channels(&["asked"]));
        assert_eq!(subscriptions.known("kept"), Some(Channel::from("kept")));
    }

    #[test]
    fn a_new_connection_is_asked_for_what_is_wanted() {
        let mut subscriptions = Subscriptions::new(LINGER);
        subscriptions.want(channels(&["a", "b"]));
        subscriptions.take_to_ask();
        subscriptions.confirm("a");
        subscriptions.give_up(channels(&["b"]), Instant::now());
        subscriptions.forget_server();
        assert_eq!(subscriptions.take_to_ask(), channels(&["a"]));
        assert!(!subscriptions.is_settled());
        subscriptions.confirm("a");
        assert!(subscriptions.is_settled());
    }
}
