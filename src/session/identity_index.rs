//! The sockets of a worker whose identity is known, by user and by token.

use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{Identity, SocketId};
use crate::outbox::LaneId;

/// A connected socket with an identity.
#[derive(Debug, Clone)]
pub(super) struct IdentifiedSocket {
    pub(super) identity: Rc<Identity>,
    pub(super) socket: SocketId,
    /// The lane of its session.
    pub(super) lane: LaneId,
}

/// The sockets of a worker that have an identity. Each is held once and indexed twice.
#[derive(Default)]
pub(super) struct IdentityIndex {
    hasher: DefaultHashBuilder,
    by_user: HashTable<Rc<IdentifiedSocket>>,
    by_token: HashTable<Rc<IdentifiedSocket>>,
}

impl IdentityIndex {
    /// Adds a socket.
    pub(super) fn add(&mut self, entry: IdentifiedSocket) {
        let entry = Rc::new(entry);
        let hasher = &self.hasher;
        if let Some(token) = &entry.identity.token {
            let hash = hasher.hash_one(&**token);
            let rehash = |entry: &Rc<IdentifiedSocket>| hasher.hash_one(token_of(entry));
            self.by_token.insert_unique(hash, Rc::clone(&entry), rehash);
        }
        let hash = hasher.hash_one(&*entry.identity.user);
        let rehash = |entry: &Rc<IdentifiedSocket>| hasher.hash_one(&*entry.identity.user);
        self.by_user.insert_unique(hash, entry, rehash);
    }

    /// Removes the entry of a socket.
    pub(super) fn remove(&mut self, identity: &Identity, socket: SocketId) {
        let is_entry = |entry: &Rc<IdentifiedSocket>| entry.socket == socket;
        let by_user = self.hasher.hash_one(&*identity.user);
        if let Ok(entry) = self.by_user.find_entry(by_user, is_entry) {
            entry.remove();
        }
        if let Some(token) = &identity.token {
            let by_token = self.hasher.hash_one(&**token);
            if let Ok(entry) = self.by_token.find_entry(by_token, is_entry) {
                entry.remove();
            }
        }
    }

    /// The entries of a user.
    pub(super) fn of_user(&self, user: &str) -> impl Iterator<Item = &IdentifiedSocket> {
        let entries = self.by_user.iter_hash(self.hasher.hash_one(user));
        let entries = entries.filter(move |entry| entry.identity.user == user);
        entries.map(|entry| &**entry)
    }

    /// The entries of a token.
    pub(super) fn of_token(&self, token: &str) -> impl Iterator<Item = &IdentifiedSocket> {
        let entries = self.by_token.iter_hash(self.hasher.hash_one(token));
        let entries = entries.filter(move |entry| token_of(entry) == token);
        entries.map(|entry| &**entry)
    }

    /// All entries.
    pub(super) fn all(&self) -> impl Iterator<Item = &IdentifiedSocket> {
        self.by_user.iter().map(|entry| &**entry)
    }
}

fn token_of(entry: &IdentifiedSocket) -> &str {
    entry.identity.token.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Directory, Shard, ShardLimits};
    use crate::metrics::Metrics;
    use crate::model::random::OsRandom;
    use crate::model::{NodeId, WorkerIndex};
    use crate::outbox::{Bounds, Share};
    use crate::protocol::WireFormat;

    fn lane() -> LaneId {
        let directory = Directory::new(
            NodeId::random(&OsRandom),
            1,
            None,
            std::sync::Arc::new(Metrics::default()),
        );
        let limits = ShardLimits {
            outbox: Bounds::default(),
            pending_acks: 1,
            rooms: 1,
        };
        let shard = Shard::new(WorkerIndex::default(), directory, limits, Share::default());
        shard.with_lanes(|lanes| lanes.open(WireFormat::default()))
    }

    #[test]
    fn sockets_are_found_by_user_and_by_token_until_they_are_removed() {
        let lane = lane();
        let node = NodeId::random(&OsRandom);
        let identity = |user: &str, token: Option<&str>| {
            Rc::new(Identity {
                user: user.into(),
                token: token.map(Into::into),
                ..Identity::default()
            })
        };
        let mut identity_index = IdentityIndex::default();
        let mut entries = Vec::new();
        for number in 0..100 {
            let user = format!("user {}", number % 10);
            let token = format!("token {}", number % 50);
            let entry = IdentifiedSocket {
                identity: identity(&user, (number < 60).then_some(&token)),
                socket: SocketId::random(node, WorkerIndex::default(), &OsRandom),
                lane,
            };
            identity_index.add(entry.clone());
            entries.push(entry);
        }
        assert_eq!(identity_index.of_user("user 3").count(), 10);
        assert_eq!(identity_index.of_token("token 3").count(), 2);
        assert_eq!(identity_index.of_token("token 13").count(), 1);
        assert_eq!(identity_index.of_token("").count(), 0);
        assert_eq!(identity_index.all().count(), 100);
        for entry in &entries[..53] {
            identity_index.remove(&entry.identity, entry.socket);
        }
        assert_eq!(identity_index.of_user("user 3").count(), 5);
        let left: Vec<_> = identity_index.of_token("token 3").collect();
        assert_eq!(left[0].socket, entries[53].socket);
        assert_eq!(identity_index.all().count(), 47);
    }
}
