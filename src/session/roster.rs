//! The sockets of a worker whose identity is known, by user and by token.

use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{Identity, SocketId};
use crate::outbox::LaneId;

/// A connected socket with an identity.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) identity: Rc<Identity>,
    pub(super) socket: SocketId,
    /// The lane of its session.
    pub(super) lane: LaneId,
}

/// The sockets of a worker that have an identity. Each is held once and indexed twice.
#[derive(Default)]
pub(super) struct Roster {
    hasher: DefaultHashBuilder,
    by_user: HashTable<Rc<Seat>>,
    by_token: HashTable<Rc<Seat>>,
}

impl Roster {
    /// Adds a seat.
    pub(super) fn add(&mut self, seat: Seat) {
        let seat = Rc::new(seat);
        let hasher = &self.hasher;
        if let Some(token) = &seat.identity.token {
            let hash = hasher.hash_one(&**token);
            let rehash = |seat: &Rc<Seat>| hasher.hash_one(token_of(seat));
            self.by_token.insert_unique(hash, Rc::clone(&seat), rehash);
        }
        let hash = hasher.hash_one(&*seat.identity.user);
        let rehash = |seat: &Rc<Seat>| hasher.hash_one(&*seat.identity.user);
        self.by_user.insert_unique(hash, seat, rehash);
    }

    /// Removes the seat of a socket.
    pub(super) fn remove(&mut self, identity: &Identity, socket: SocketId) {
        let is_seat = |seat: &Rc<Seat>| seat.socket == socket;
        let by_user = self.hasher.hash_one(&*identity.user);
        if let Ok(entry) = self.by_user.find_entry(by_user, is_seat) {
            entry.remove();
        }
        if let Some(token) = &identity.token {
            let by_token = self.hasher.hash_one(&**token);
            if let Ok(entry) = self.by_token.find_entry(by_token, is_seat) {
                entry.remove();
            }
        }
    }

    /// The seats of a user.
    pub(super) fn of_user(&self, user: &str) -> impl Iterator<Item = &Seat> {
        let seats = self.by_user.iter_hash(self.hasher.hash_one(user));
        let seats = seats.filter(move |seat| seat.identity.user == user);
        seats.map(|seat| &**seat)
    }

    /// The seats of a token.
    pub(super) fn of_token(&self, token: &str) -> impl Iterator<Item = &Seat> {
        let seats = self.by_token.iter_hash(self.hasher.hash_one(token));
        let seats = seats.filter(move |seat| token_of(seat) == token);
        seats.map(|seat| &**seat)
    }

    /// All seats.
    pub(super) fn all(&self) -> impl Iterator<Item = &Seat> {
        self.by_user.iter().map(|seat| &**seat)
    }
}

fn token_of(seat: &Seat) -> &str {
    seat.identity.token.as_deref().unwrap_or_default()
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
    fn seats_are_found_by_user_and_by_token_until_they_are_removed() {
        let lane = lane();
        let node = NodeId::random(&OsRandom);
        let identity = |user: &str, token: Option<&str>| {
            Rc::new(Identity {
                user: user.into(),
                token: token.map(Into::into),
                ..Identity::default()
            })
        };
        let mut roster = Roster::default();
        let mut seats = Vec::new();
        for number in 0..100 {
            let user = format!("user {}", number % 10);
            let token = format!("token {}", number % 50);
            let seat = Seat {
                identity: identity(&user, (number < 60).then_some(&token)),
                socket: SocketId::random(node, WorkerIndex::default(), &OsRandom),
                lane,
            };
            roster.add(seat.clone());
            seats.push(seat);
        }
        assert_eq!(roster.of_user("user 3").count(), 10);
        assert_eq!(roster.of_token("token 3").count(), 2);
        assert_eq!(roster.of_token("token 13").count(), 1);
        assert_eq!(roster.of_token("").count(), 0);
        assert_eq!(roster.all().count(), 100);
        for seat in &seats[..53] {
            roster.remove(&seat.identity, seat.socket);
        }
        assert_eq!(roster.of_user("user 3").count(), 5);
        let left: Vec<_> = roster.of_token("token 3").collect();
        assert_eq!(left[0].socket, seats[53].socket);
        assert_eq!(roster.all().count(), 47);
    }
}
