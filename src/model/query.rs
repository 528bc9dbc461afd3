//! Queries about rooms and sockets. A [`Command`](super::Command) changes something and has no result; a query
//! changes nothing and has one.

use super::{Namespace, NodeId, Room, Selector, SocketId};

/// What can be read from the room index of every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The selected sockets: how many there are, and the ids of some of them.
    Sockets {
        selector: Selector,
        /// Maximum number of ids in an answer; 0 counts the sockets without listing them.
        limit: u32,
    },
    /// The rooms that one socket has joined. Only the node that owns the socket receives this query.
    Rooms {
        namespace: Namespace,
        socket: SocketId,
    },
}

/// The result of a [`Query`], of one worker or combined by [`QueryAnswer::merge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryAnswer {
    Sockets {
        /// Number of selected sockets.
        total: u64,
        /// Their ids in no particular order, at most `limit` of them.
        sockets: Vec<SocketId>,
    },
    /// The rooms without the one named by the socket's id; `None` if there is no such socket.
    Rooms(Option<Vec<Room>>),
}

impl Query {
    /// The only socket that it concerns, so that only the owner of that socket must respond.
    pub fn socket(&self) -> Option<SocketId> {
        match self {
            Self::Sockets { selector, .. } => selector.single_socket(),
            Self::Rooms { socket, .. } => Some(*socket),
        }
    }

    /// The result where no socket matches.
    pub fn no_match(&self) -> QueryAnswer {
        match self {
            Self::Sockets { .. } => QueryAnswer::Sockets {
                total: 0,
                sockets: Vec::new(),
            },
            Self::Rooms { .. } => QueryAnswer::Rooms(None),
        }
    }

    /// Adds the answer of another worker or node to `sum`, which starts as [`Query::no_match`]. An answer to a
    /// different kind of query is ignored.
    pub fn merge(&self, sum: &mut QueryAnswer, more: QueryAnswer) {
        match (self, sum, more) {
            (
                Self::Sockets { limit, .. },
                QueryAnswer::Sockets { total, sockets },
                QueryAnswer::Sockets {
                    total: more_total,
                    sockets: more_sockets,
                },
            ) => {
                *total = total.saturating_add(more_total);
                let free = (*limit as usize).saturating_sub(sockets.len());
                sockets.extend(more_sockets.into_iter().take(free));
            }
            (Self::Rooms { .. }, QueryAnswer::Rooms(rooms), QueryAnswer::Rooms(Some(more))) => {
                *rooms = Some(more);
            }
            _ => {}
        }
    }
}

/// A query on its way from one node to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRequest {
    /// The node that collects the answers.
    pub from: NodeId,
    /// Number of the query at that node.
    pub id: u64,
    pub query: Query,
}

/// The answer of a node to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResponse {
    /// The node that responds.
    pub from: NodeId,
    /// The node that collects the answers: [`QueryRequest::from`].
    pub to: NodeId,
    /// [`QueryRequest::id`].
    pub id: u64,
    pub answer: QueryAnswer,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;

    #[test]
    fn merged_answers_add_up_and_keep_to_the_limit() {
        let node = NodeId::random(&OsRandom);
        let ids: [SocketId; 3] =
            std::array::from_fn(|_| SocketId::random(node, Default::default(), &OsRandom));
        let query = Query::Sockets {
            selector: Selector::everybody(Namespace::main()),
            limit: 2,
        };
        let answer = |sockets: &[SocketId]| QueryAnswer::Sockets {
            total: sockets.len() as u64,
            sockets: sockets.to_vec(),
        };
        let mut sum = query.no_match();
        query.merge(&mut sum, answer(&ids[..1]));
        query.merge(&mut sum, answer(&ids[1..]));
        query.merge(&mut sum, QueryAnswer::Rooms(None));
        let expected = QueryAnswer::Sockets {
            total: 3,
            sockets: ids[..2].to_vec(),
        };
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_socket_found_once_has_its_rooms_in_the_merged_answer() {
        let query = Query::Rooms {
            namespace: Namespace::main(),
            socket: SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom),
        };
        let found = QueryAnswer::Rooms(Some(vec![Room::from("a")]));
        let mut sum = query.no_match();
        for answer in [query.no_match(), found.clone(), query.no_match()] {
            query.merge(&mut sum, answer);
        }
        assert_eq!(sum, found);
    }
}
