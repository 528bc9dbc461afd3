//! Limits on the upstream connections of a node, of each user and of each client address. Shared by the workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use thiserror::Error;

use crate::model::Network;

/// The limit that a new upstream connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OverLimit {
    #[error("upstream connection limit reached")]
    Node,
    #[error("upstream connection limit of this user reached")]
    User,
    #[error("upstream connection limit of this address reached")]
    Address,
}

impl OverLimit {
    /// A stable code for clients.
    pub fn code(self) -> &'static str {
        match self {
            Self::Node => "too_many_upstream_connections",
            Self::User => "too_many_upstream_connections_of_user",
            Self::Address => "too_many_upstream_connections_of_address",
        }
    }

    /// The configuration key of the limit.
    pub fn key(self) -> &'static str {
        match self {
            Self::Node => "app.upstream.max_connections",
            Self::User => "app.upstream.max_connections_per_user",
            Self::Address => "app.upstream.max_connections_per_ip",
        }
    }
}

/// The limits and the current counts.
pub(super) struct ConnectionLimits {
    per_node: usize,
    per_user: usize,
    per_network: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    node: usize,
    users: HashMap<Box<str>, usize>,
    networks: HashMap<Network, usize>,
}

/// A counted upstream connection, released when dropped.
pub(super) struct Permit {
    limits: Arc<ConnectionLimits>,
    user: Option<Box<str>>,
    network: Option<Network>,
}

impl ConnectionLimits {
    pub(super) fn new(per_node: usize, per_user: usize, per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            per_node,
            per_user,
            per_network,
            counts: Mutex::default(),
        })
    }

    /// Counts an upstream connection against the limit of the node and, where known, of its user and its network.
    pub(super) fn acquire(
        self: &Arc<Self>,
        user: Option<&str>,
        network: Option<Network>,
    ) -> Result<Permit, OverLimit> {
        let mut counts = self.counts();
        if counts.node >= self.per_node {
            return Err(OverLimit::Node);
        }
        let value = |count: Option<&usize>| count.copied().unwrap_or_default();
        // Checked before the user, since a client chooses its auth payload but not its address.
        if network.is_some_and(|network| value(counts.networks.get(&network)) >= self.per_network) {
            return Err(OverLimit::Address);
        }
        if user.is_some_and(|user| value(counts.users.get(user)) >= self.per_user) {
            return Err(OverLimit::User);
        }
        if let Some(user) = user {
            *counts.users.entry(user.into()).or_insert(0) += 1;
        }
        if let Some(network) = network {
            *counts.networks.entry(network).or_insert(0) += 1;
        }
        counts.node += 1;
        Ok(Permit {
            limits: Arc::clone(self),
            user: user.map(Into::into),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        counts.node -= 1;
        if let Some(user) = &self.user {
            release(&mut counts.users, user);
        }
        if let Some(network) = &self.network {
            release(&mut counts.networks, network);
        }
    }
}

/// Decrements a count and removes the entry if it becomes zero.
fn release<Q, K>(counts: &mut HashMap<K, usize>, key: &Q)
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
    fn connections_of_node_and_user_are_limited_and_released() {
        let limits = ConnectionLimits::new(3, 2, usize::MAX);
        let first = limits.acquire(Some("a"), None).unwrap();
        let _second = limits.acquire(Some("a"), None).unwrap();
        assert_eq!(limits.acquire(Some("a"), None).err(), Some(OverLimit::User));
        let _without_user = limits.acquire(None, None).unwrap();
        assert_eq!(limits.acquire(None, None).err(), Some(OverLimit::Node));
        assert_eq!(limits.acquire(Some("b"), None).err(), Some(OverLimit::Node));
        drop(first);
        let third = limits.acquire(Some("b"), None).unwrap();
        drop(third);
        assert!(!limits.counts().users.contains_key("b"));
    }

    #[test]
    fn a_different_auth_payload_does_not_evade_the_limit_of_an_address() {
        let limits = ConnectionLimits::new(100, 100, 2);
        let network = |text: &str| Some(Network::of(text.parse().unwrap()));
        let (here, there) = (network("192.0.2.1"), network("192.0.2.2"));
        let first = limits.acquire(Some("a"), here).unwrap();
        let _second = limits.acquire(None, here).unwrap();
        for user in [Some("b"), Some("a"), None] {
            assert_eq!(limits.acquire(user, here).err(), Some(OverLimit::Address));
        }
        assert!(
            !limits.counts().users.contains_key("b"),
            "a rejected connection is not counted"
        );
        drop(limits.acquire(Some("b"), there).unwrap());
        assert!(!limits.counts().networks.contains_key(&there.unwrap()));
        drop(first);
        assert!(limits.acquire(Some("b"), here).is_ok());
    }
}
