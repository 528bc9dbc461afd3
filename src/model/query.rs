//! Queries about rooms and sockets. A [`Command`](super::Command) changes something and has no result; a query
//! changes nothing and has one.

use super::{
    Namespace, NodeId, NodeSummary, Room, Selector, ServerSocket, SocketDetails, SocketId,
};

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
    /// How many sockets are selected, and which nodes have some of them.
    Count { selector: Selector },
    /// The selected sockets with their rooms and the time of their connect.
    Details {
        selector: Selector,
        /// Maximum number of sockets in an answer.
        limit: u32,
    },
    /// The rooms whose names begin with `prefix` and follow `after`, by name, and their members.
    RoomList {
        namespace: Namespace,
        prefix: String,
        /// Empty = from the first.
        after: String,
        /// Maximum number of rooms in an answer.
        limit: u32,
    },
    /// The members of these rooms, in the same answer as a list of rooms.
    RoomCounts {
        namespace: Namespace,
        rooms: Vec<Room>,
    },
    /// What each node has.
    Nodes,
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
    Count {
        sockets: u64,
        /// The nodes with at least one of them.
        nodes: Vec<NodeId>,
    },
    Details {
        /// Number of selected sockets.
        total: u64,
        /// In no particular order; at most `limit`, counted together with `of_servers`.
        sockets: Vec<SocketDetails>,
        /// Sockets of Socket.IO servers that are not Roomwire nodes. Not part of messages between nodes.
        of_servers: Vec<ServerSocket>,
    },
    /// Rooms by name, each with the number of its members, at most `limit` of them, without rooms that have none.
    RoomList(Vec<(Room, u64)>),
    /// One entry for each node.
    Nodes(Vec<NodeSummary>),
}

impl Query {
    /// The only socket that it concerns, so that only the owner of that socket must respond.
    pub fn socket(&self) -> Option<SocketId> {
        match self {
            Self::Sockets { selector, .. }
            | Self::Count { selector }
            | Self::Details { selector, .. } => selector.single_socket(),
            Self::Rooms { socket, .. } => Some(*socket),
            Self::RoomList { .. } | Self::RoomCounts { .. } | Self::Nodes => None,
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
            Self::Count { .. } => QueryAnswer::Count {
                sockets: 0,
                nodes: Vec::new(),
            },
            Self::Details { .. } => QueryAnswer::Details {
                total: 0,
                sockets: Vec::new(),
                of_servers: Vec::new(),
            },
            Self::RoomList { .. } | Self::RoomCounts { .. } => QueryAnswer::RoomList(Vec::new()),
            Self::Nodes => QueryAnswer::Nodes(Vec::new()),
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
                append(sockets, more_sockets, *limit as usize);
            }
            (Self::Rooms { .. }, QueryAnswer::Rooms(rooms), QueryAnswer::Rooms(Some(more))) => {
                *rooms = Some(more);
            }
            (
                Self::Count { .. },
                QueryAnswer::Count { sockets, nodes },
                QueryAnswer::Count {
                    sockets: more_sockets,
                    nodes: more_nodes,
                },
            ) => {
                *sockets = sockets.saturating_add(more_sockets);
                nodes.extend(more_nodes);
                nodes.sort_unstable();
                nodes.dedup();
            }
            (Self::Details { limit, .. }, sum, more) => merge_details(sum, more, *limit as usize),
            (
                Self::RoomList { limit, .. },
                QueryAnswer::RoomList(rooms),
                QueryAnswer::RoomList(more),
            ) => merge_rooms(rooms, more, *limit as usize),
            (
                Self::RoomCounts { .. },
                QueryAnswer::RoomList(rooms),
                QueryAnswer::RoomList(more),
            ) => merge_rooms(rooms, more, usize::MAX),
            (Self::Nodes, QueryAnswer::Nodes(nodes), QueryAnswer::Nodes(more)) => {
                more.into_iter()
                    .for_each(|summary| merge_node(nodes, summary));
            }
            _ => {}
        }
    }

    /// The combination of several answers.
    pub fn combine(&self, answers: impl IntoIterator<Item = QueryAnswer>) -> QueryAnswer {
        let mut sum = self.no_match();
        for answer in answers {
            self.merge(&mut sum, answer);
        }
        sum
    }
}

impl QueryAnswer {
    /// The answer with the first `numerator / denominator` of its list, at least one item shorter. Totals are
    /// unchanged. `None` if the list is empty or the answer has none.
    pub fn shortened(&self, numerator: usize, denominator: usize) -> Option<Self> {
        fn first<T: Clone>(list: &[T], numerator: usize, denominator: usize) -> Option<Vec<T>> {
            let longest = list.len().checked_sub(1)?;
            let part = list.len().saturating_mul(numerator) / denominator.max(1);
            Some(list[..part.min(longest)].to_vec())
        }
        Some(match self {
            Self::Sockets { total, sockets } => Self::Sockets {
                total: *total,
                sockets: first(sockets, numerator, denominator)?,
            },
            Self::Details {
                total,
                sockets,
                of_servers,
            } => Self::Details {
                total: *total,
                sockets: first(sockets, numerator, denominator)?,
                of_servers: of_servers.clone(),
            },
            Self::RoomList(rooms) => Self::RoomList(first(rooms, numerator, denominator)?),
            Self::Rooms(rooms) => {
                Self::Rooms(Some(first(rooms.as_deref()?, numerator, denominator)?))
            }
            Self::Count { .. } | Self::Nodes(_) => return None,
        })
    }
}

/// Adds details, if both are answers with details.
fn merge_details(sum: &mut QueryAnswer, more: QueryAnswer, limit: usize) {
    if let (
        QueryAnswer::Details {
            total,
            sockets,
            of_servers,
        },
        QueryAnswer::Details {
            total: more_total,
            sockets: more_sockets,
            of_servers: more_of_servers,
        },
    ) = (sum, more)
    {
        *total = total.saturating_add(more_total);
        append(
            sockets,
            more_sockets,
            limit.saturating_sub(of_servers.len()),
        );
        append(
            of_servers,
            more_of_servers,
            limit.saturating_sub(sockets.len()),
        );
    }
}

/// Adds items to a list of at most `limit` items.
fn append<T>(list: &mut Vec<T>, more: Vec<T>, limit: usize) {
    let free = limit.saturating_sub(list.len());
    list.extend(more.into_iter().take(free));
}

/// Adds rooms to a list by name. A room among the first `limit` of all is among the first of each list that has it, so
/// the numbers of the first `limit` are exact.
fn merge_rooms(rooms: &mut Vec<(Room, u64)>, more: Vec<(Room, u64)>, limit: usize) {
    rooms.extend(more);
    rooms.sort_by(|left, right| left.0.cmp(&right.0));
    rooms.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = earlier.1.saturating_add(later.1);
        }
        same
    });
    rooms.truncate(limit);
}

/// Adds what another worker of a node has, or another node.
fn merge_node(nodes: &mut Vec<NodeSummary>, more: NodeSummary) {
    match nodes.iter_mut().find(|known| known.node == more.node) {
        Some(known) => {
            known.sockets = known.sockets.saturating_add(more.sockets);
            known.rooms = known.rooms.saturating_add(more.rooms);
            // Each worker reports the sessions of the whole node.
            known.sessions = known.sessions.max(more.sessions);
        }
        None => nodes.push(more),
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
    /// Items were left out to keep the response within `bus.message_limit`.
    pub is_shortened: bool,
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
    fn a_shortened_answer_keeps_its_total_and_loses_at_least_one_item() {
        let node = NodeId::random(&OsRandom);
        let ids: [SocketId; 10] =
            std::array::from_fn(|_| SocketId::random(node, Default::default(), &OsRandom));
        let answer = |count: usize| QueryAnswer::Sockets {
            total: 10,
            sockets: ids[..count].to_vec(),
        };
        assert_eq!(answer(10).shortened(1, 2), Some(answer(5)));
        assert_eq!(answer(10).shortened(99, 100), Some(answer(9)));
        assert_eq!(answer(10).shortened(3, 2), Some(answer(9)));
        assert_eq!(answer(1).shortened(9, 10), Some(answer(0)));
        assert_eq!(answer(0).shortened(9, 10), None);
        let rooms = |names: &[&str]| {
            let names = names.iter().map(|name| Room::from(*name));
            QueryAnswer::Rooms(Some(names.collect()))
        };
        assert_eq!(rooms(&["a", "b"]).shortened(1, 2), Some(rooms(&["a"])));
        assert_eq!(QueryAnswer::Rooms(None).shortened(1, 2), None);
    }

    #[test]
    fn merged_rooms_are_sorted_and_their_members_added_up() {
        let query = Query::RoomList {
            namespace: Namespace::main(),
            prefix: String::new(),
            after: String::new(),
            limit: 2,
        };
        let rooms = |list: &[(&str, u64)]| {
            let rooms = list.iter().map(|(name, count)| (Room::from(*name), *count));
            QueryAnswer::RoomList(rooms.collect())
        };
        let sum = query.combine([
            rooms(&[("b", 1), ("c", 1)]),
            rooms(&[("a", 2), ("b", 4)]),
            rooms(&[("b", 8), ("d", 1)]),
        ]);
        assert_eq!(sum, rooms(&[("a", 2), ("b", 13)]));
    }

    #[test]
    fn merged_counts_name_each_node_once() {
        let [a, b] = ["aaaa", "bbbb"].map(|name| NodeId::parse(name).unwrap());
        let query = Query::Count {
            selector: Selector::everybody(Namespace::main()),
        };
        let count = |sockets, nodes: &[NodeId]| QueryAnswer::Count {
            sockets,
            nodes: nodes.to_vec(),
        };
        let sum = query.combine([
            count(2, &[b]),
            count(1, &[a]),
            count(0, &[]),
            count(3, &[b]),
        ]);
        assert_eq!(sum, count(6, &[a, b]));
        let summary = |node, sessions, sockets| NodeSummary {
            node,
            version: "1".into(),
            sessions,
            sockets,
            rooms: 1,
        };
        let nodes = Query::Nodes.combine([
            QueryAnswer::Nodes(vec![summary(a, 3, 1)]),
            QueryAnswer::Nodes(vec![summary(b, 1, 1), summary(a, 3, 2)]),
        ]);
        let QueryAnswer::Nodes(nodes) = nodes else {
            panic!("{nodes:?}")
        };
        let found: Vec<_> = nodes
            .iter()
            .map(|it| (it.node, it.sessions, it.sockets, it.rooms))
            .collect();
        assert_eq!(found, [(a, 3, 3, 2), (b, 1, 1, 1)]);
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
