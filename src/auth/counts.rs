//! How many connections each user has on this node: enough to admit most clients without asking other nodes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Namespace;

/// Number of locks; a client takes one of them when it connects and again when it leaves.
const STRIPES: usize = 16;

/// The connections of users in each namespace. Users are counted by a hash of 64 bits with a random key: two users
/// share a count with a probability of one in 10^19, and clients cannot provoke that.
#[derive(Debug, Default)]
pub struct UserCounts {
    stripes: [Mutex<HashMap<u64, UserCount>>; STRIPES],
    hasher: RandomState,
}

#[derive(Debug, Default, Clone, Copy)]
struct UserCount {
    all: u32,
    /// Connections that are not registered yet, so that queries do not find them.
    pending: u32,
}

/// One connection of a user, counted until it is dropped.
#[derive(Debug)]
pub struct UserConnection {
    counts: Arc<UserCounts>,
    hash: u64,
    is_pending: bool,
}

impl UserCounts {
    /// Counts one more connection of a user, which is not registered yet.
    pub fn enter(self: &Arc<Self>, namespace: &Namespace, user: &str) -> UserConnection {
        let hash = self.hasher.hash_one((namespace.as_str(), user));
        let mut stripe = self.stripe(hash);
        let count = stripe.entry(hash).or_default();
        count.all += 1;
        count.pending += 1;
        drop(stripe);
        UserConnection {
            counts: Arc::clone(self),
            hash,
            is_pending: true,
        }
    }

    fn stripe(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, UserCount>> {
        let stripe = &self.stripes[hash as usize % STRIPES];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserConnection {
    /// The connections of this user on this node, this one included: all of them, and the unregistered ones among them.
    pub fn on_node(&self) -> (usize, usize) {
        let stripe = self.counts.stripe(self.hash);
        let count = stripe.get(&self.hash).copied().unwrap_or_default();
        (count.all as usize, count.pending as usize)
    }

    /// The connection is registered: queries find it from now on.
    pub fn registered(&mut self) {
        if std::mem::take(&mut self.is_pending)
            && let Some(count) = self.counts.stripe(self.hash).get_mut(&self.hash)
        {
            count.pending -= 1;
        }
    }
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        self.registered();
        let mut stripe = self.counts.stripe(self.hash);
        let Some(count) = stripe.get_mut(&self.hash) else {
            return;
        };
        count.all -= 1;
        if count.all == 0 {
            stripe.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_user_and_namespace_until_they_are_dropped() {
        let counts = Arc::new(UserCounts::default());
        let (main, other) = (Namespace::main(), Namespace::from("/other"));
        let mut first = counts.enter(&main, "ada");
        let second = counts.enter(&main, "ada");
        let elsewhere = counts.enter(&other, "ada");
        let bob = counts.enter(&main, "bob");
        assert_eq!(first.on_node(), (2, 2));
        first.registered();
        first.registered();
        assert_eq!(second.on_node(), (2, 1));
        assert_eq!((elsewhere.on_node(), bob.on_node()), ((1, 1), (1, 1)));
        drop(first);
        assert_eq!(second.on_node(), (1, 1));
        drop((second, elsewhere, bob));
        assert!(
            counts
                .stripes
                .iter()
                .all(|stripe| stripe.lock().unwrap().is_empty())
        );
    }
}
