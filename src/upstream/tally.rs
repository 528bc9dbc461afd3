//! How many upstream connections a node, each user and each client address have. Shared by the workers of a node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use thiserror::Error;

use crate::model::Network;

/// Why no further upstream connection may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OverLimit {
    #[error("this node has as many connections to the server behind it as it may")]
    Node,
    #[error("you have as many connections to the server behind this one as you may")]
    User,
    #[error("too many connections to the server behind this one from your address")]
    Address,
}

impl OverLimit {
    /// Its name for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Node => "too_many_upstream_connections",
            Self::User => "too_many_upstream_connections_of_user",
            Self::Address => "too_many_upstream_connections_of_address",
        }
    }

    /// The key of the configuration that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Node => "app.upstream.max_connections",
            Self::User => "app.upstream.max_connections_per_user",
            Self::Address => "app.upstream.max_connections_per_ip",
        }
    }
}

/// The counts.
pub(super) struct Tally {
    per_node: usize,
    per_user: usize,
    per_network: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    users: HashMap<Box<str>, usize>,
    networks: HashMap<Network, usize>,
}

/// An upstream connection's place in the counts, given back when dropped.
pub(super) struct Place {
    tally: Arc<Tally>,
    user: Option<Box<str>>,
    network: Option<Network>,
}

impl Tally {
    pub(super) fn new(per_node: usize, per_user: usize, per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            per_node,
            per_user,
            per_network,
            counts: Mutex::default(),
        })
    }

    /// Counts an upstream connection against the limit of the node and, where known, of its user and its network.
    pub(super) fn take(
        self: &Arc<Self>,
        user: Option<&str>,
        network: Option<Network>,
    ) -> Result<Place, OverLimit> {
        let mut counts = self.counts();
        if counts.all >= self.per_node {
            return Err(OverLimit::Node);
        }
        let of = |known: Option<&usize>| known.copied().unwrap_or_default();
        // A client can choose everything but its address.
        if network.is_some_and(|network| of(counts.networks.get(&network)) >= self.per_network) {
            return Err(OverLimit::Address);
        }
        if user.is_some_and(|user| of(counts.users.get(user)) >= self.per_user) {
            return Err(OverLimit::User);
        }
        if let Some(user) = user {
            *counts.users.entry(user.into()).or_insert(0) += 1;
        }
        if let Some(network) = network {
            *counts.networks.entry(network).or_insert(0) += 1;
        }
        counts.all += 1;
        Ok(Place {
            tally: Arc::clone(self),
            user: user.map(Into::into),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.tally.counts();
        counts.all -= 1;
        if let Some(user) = &self.user {
            give_back(&mut counts.users, user);
        }
        if let Some(network) = &self.network {
            give_back(&mut counts.networks, network);
        }
    }
}

/// Counts one out; an entry without upstream connections is removed.
fn give_back<Q, K>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let tally = Tally::new(3, 2, usize::MAX);
        let first = tally.take(Some("a"), None).unwrap();
        let _second = tally.take(Some("a"), None).unwrap();
        assert_eq!(tally.take(Some("a"), None).err(), Some(OverLimit::User));
        let _nobodys = tally.take(None, None).unwrap();
        assert_eq!(tally.take(None, None).err(), Some(OverLimit::Node));
        assert_eq!(tally.take(Some("b"), None).err(), Some(OverLimit::Node));
        drop(first);
        let third = tally.take(Some("b"), None).unwrap();
        drop(third);
        assert!(!tally.counts().users.contains_key("b"));
    }

    #[test]
    fn a_different_auth_payload_does_not_evade_the_limit_of_an_address() {
        let tally = Tally::new(100, 100, 2);
        let network = |text: &str| Some(Network::of(text.parse().unwrap()));
        let (here, there) = (network("192.0.2.1"), network("192.0.2.2"));
        let first = tally.take(Some("a"), here).unwrap();
        let _second = tally.take(None, here).unwrap();
        for user in [Some("b"), Some("a"), None] {
            assert_eq!(tally.take(user, here).err(), Some(OverLimit::Address));
        }
        assert!(
            !tally.counts().users.contains_key("b"),
            "a refused upstream is not counted"
        );
        drop(tally.take(Some("b"), there).unwrap());
        assert!(!tally.counts().networks.contains_key(&there.unwrap()));
        drop(first);
        assert!(tally.take(Some("b"), here).is_ok());
    }
}
