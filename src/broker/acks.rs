//! Which sockets owe acks, and where those acks are sent. Pure bookkeeping of one worker.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::rooms::SocketKey;
use crate::model::AckToken;

struct PendingEmit {
    token: AckToken,
    /// Sockets that owe the ack.
    remaining: usize,
}

/// Emits that requested acks, and the sockets that owe them.
pub struct Acks {
    requests: HashMap<u32, PendingEmit>,
    /// Ids of the acks that a socket owes, oldest first.
    owed: HashMap<SocketKey, VecDeque<u32>>,
    limit: usize,
}

impl Acks {
    /// `limit`, at least 1: acks that one socket may owe. Beyond it the oldest is dropped.
    pub fn new(limit: usize) -> Self {
        Self {
            requests: HashMap::new(),
            owed: HashMap::new(),
            limit: limit.max(1),
        }
    }

    /// Expects an ack from a socket. Returns whether an older one of that socket was dropped.
    pub fn expect(&mut self, id: u32, token: &AckToken, socket: SocketKey) -> bool {
        let request = self.requests.entry(id).or_insert_with(|| PendingEmit {
            token: token.clone(),
            remaining: 0,
        });
        request.remaining += 1;
        let owed = self.owed.entry(socket).or_default();
        owed.push_back(id);
        let dropped = if owed.len() > self.limit {
            owed.pop_front()
        } else {
            None
        };
        if let Some(id) = dropped {
            self.release(id);
        }
        dropped.is_some()
    }

    /// Whether the socket owes an ack.
    pub fn owes(&self, socket: SocketKey) -> bool {
        self.owed.contains_key(&socket)
    }

    /// Takes the ack of a socket and returns where it is sent; `None` if the socket does not owe it.
    pub fn take(&mut self, id: u32, socket: SocketKey) -> Option<AckToken> {
        let owed = self.owed.get_mut(&socket)?;
        let position = owed.iter().position(|owed| *owed == id)?;
        owed.remove(position);
        if owed.is_empty() {
            self.owed.remove(&socket);
        }
        let token = self.requests.get(&id)?.token.clone();
        self.release(id);
        Some(token)
    }

    /// Drops everything that a disconnected socket owes.
    pub fn forget(&mut self, socket: SocketKey) {
        for id in self.owed.remove(&socket).unwrap_or_default() {
            self.release(id);
        }
    }

    /// Forgets the acks that sockets owe for an emit.
    pub fn forget_request(&mut self, id: u32) {
        if self.requests.remove(&id).is_none() {
            return;
        }
        self.owed.retain(|_, owed| {
            owed.retain(|owed| *owed != id);
            !owed.is_empty()
        });
    }

    /// One socket fewer owes this ack.
    fn release(&mut self, id: u32) {
        let request = self.requests.get_mut(&id);
        debug_assert!(request.is_some(), "every owed ack has its request");
        if let Some(request) = request {
            request.remaining -= 1;
            if request.remaining == 0 {
                self.requests.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::rooms::Rooms;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, ReplyTo, SocketId, WorkerIndex};
    use crate::outbox::{Bounds, Lanes, Share};
    use crate::protocol::WireFormat;

    fn sockets<const N: usize>() -> [SocketKey; N] {
        let mut rooms = Rooms::default();
        let mut lanes = Lanes::new(Bounds::default(), Share::default());
        let worker = WorkerIndex::new(0).unwrap();
        std::array::from_fn(|_| {
            let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
            rooms.register(&Namespace::main(), id, lanes.open(WireFormat::default()))
        })
    }

    fn token(id: u64) -> AckToken {
        AckToken {
            reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
            id,
        }
    }

    #[test]
    fn each_socket_owes_an_ack_once_and_only_if_it_received_the_event() {
        let [a, b, other] = sockets();
        let mut acks = Acks::new(10);
        for socket in [a, b] {
            assert!(!acks.expect(7, &token(1), socket));
        }
        assert_eq!(acks.take(7, other), None);
        assert_eq!(acks.take(8, a), None);
        assert_eq!(acks.take(7, a), Some(token(1)));
        assert_eq!(acks.take(7, a), None);
        acks.forget(b);
        assert!(acks.requests.is_empty() && acks.owed.is_empty());
    }

    #[test]
    fn a_request_that_is_forgotten_is_owed_by_no_socket() {
        let [a, b] = sockets();
        let mut acks = Acks::new(10);
        for socket in [a, b] {
            acks.expect(1, &token(1), socket);
        }
        acks.expect(2, &token(2), a);
        acks.forget_request(1);
        acks.forget_request(1);
        assert_eq!(acks.take(1, a), None);
        assert!(!acks.owes(b));
        assert_eq!(acks.take(2, a), Some(token(2)));
        assert!(acks.requests.is_empty() && acks.owed.is_empty());
    }

    #[test]
    fn beyond_the_limit_the_oldest_ack_of_a_socket_is_dropped() {
        let [a] = sockets();
        let mut acks = Acks::new(2);
        assert!(!acks.expect(1, &token(1), a));
        assert!(!acks.expect(2, &token(2), a));
        assert!(acks.expect(3, &token(3), a));
        assert_eq!(acks.take(1, a), None);
        assert_eq!(acks.take(3, a), Some(token(3)));
        assert_eq!(acks.take(2, a), Some(token(2)));
        assert!(acks.requests.is_empty());
    }
}
