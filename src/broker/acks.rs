//! Which sockets owe an answer, and to whom. Pure bookkeeping of one worker.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::rooms::SocketKey;
use crate::model::AckToken;

struct Pending {
    token: AckToken,
    /// Sockets that have not answered yet.
    remaining: usize,
}

/// Emits that wait for their clients' acks.
pub struct Acks {
    pending: HashMap<u32, Pending>,
    owed: HashMap<SocketKey, VecDeque<u32>>,
    limit: usize,
}

impl Acks {
    /// `limit`: answers one socket may owe; past it the oldest is given up.
    pub fn new(limit: usize) -> Self {
        Self {
            pending: HashMap::new(),
            owed: HashMap::new(),
            limit: limit.max(1),
        }
    }

    /// The socket was asked. Returns true if an older question to it was given up.
    pub fn expect(&mut self, id: u32, token: &AckToken, socket: SocketKey) -> bool {
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            token: token.clone(),
            remaining: 0,
        });
        pending.remaining += 1;
        let owed = self.owed.entry(socket).or_default();
        owed.push_back(id);
        let given_up = if owed.len() > self.limit {
            owed.pop_front()
        } else {
            None
        };
        if let Some(id) = given_up {
            self.settle(id);
        }
        given_up.is_some()
    }

    /// Whether the socket has not answered everything yet.
    pub fn owes(&self, socket: SocketKey) -> bool {
        self.owed.contains_key(&socket)
    }

    /// The socket answers: to whom? `None` if it was not asked, or answers again.
    pub fn answer(&mut self, id: u32, socket: SocketKey) -> Option<AckToken> {
        let owed = self.owed.get_mut(&socket)?;
        let position = owed.iter().position(|owed| *owed == id)?;
        owed.remove(position);
        if owed.is_empty() {
            self.owed.remove(&socket);
        }
        let token = self.pending.get(&id)?.token.clone();
        self.settle(id);
        Some(token)
    }

    /// The socket is gone and will never answer.
    pub fn forget(&mut self, socket: SocketKey) {
        for id in self.owed.remove(&socket).unwrap_or_default() {
            self.settle(id);
        }
    }

    fn settle(&mut self, id: u32) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.remaining -= 1;
            if pending.remaining == 0 {
                self.pending.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::rooms::Rooms;
    use crate::model::random::OsRandom;
    use crate::model::{Asker, Namespace, NodeId, SocketId, WorkerIndex};
    use crate::outbox::{Bounds, Lanes, Share};

    fn sockets<const N: usize>() -> [SocketKey; N] {
        let mut rooms = Rooms::default();
        let mut lanes = Lanes::new(Bounds::default(), Share::default());
        let worker = WorkerIndex::new(0).unwrap();
        std::array::from_fn(|_| {
            let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
            rooms.register(&Namespace::main(), id, lanes.open())
        })
    }

    fn token(id: u64) -> AckToken {
        AckToken {
            asker: Asker::Node(NodeId::parse("abcd").unwrap()),
            id,
        }
    }

    #[test]
    fn each_socket_answers_once_and_only_if_asked() {
        let [a, b, stranger] = sockets();
        let mut acks = Acks::new(10);
        for socket in [a, b] {
            assert!(!acks.expect(7, &token(1), socket));
        }
        assert_eq!(acks.answer(7, stranger), None);
        assert_eq!(acks.answer(8, a), None);
        assert_eq!(acks.answer(7, a), Some(token(1)));
        assert_eq!(acks.answer(7, a), None);
        acks.forget(b);
        assert!(acks.pending.is_empty() && acks.owed.is_empty());
    }

    #[test]
    fn past_the_limit_the_oldest_question_is_given_up() {
        let [a] = sockets();
        let mut acks = Acks::new(2);
        assert!(!acks.expect(1, &token(1), a));
        assert!(!acks.expect(2, &token(2), a));
        assert!(acks.expect(3, &token(3), a));
        assert_eq!(acks.answer(1, a), None);
        assert_eq!(acks.answer(3, a), Some(token(3)));
        assert_eq!(acks.answer(2, a), Some(token(2)));
        assert!(acks.pending.is_empty());
    }
}
