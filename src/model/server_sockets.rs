//! Answers queries for the sockets of Socket.IO servers that are not Roomwire nodes.

use std::collections::{BTreeMap, HashSet};

use super::{Query, QueryAnswer, Room, Selector, ServerSocket};

impl Query {
    /// Selects the sockets that servers must report; `None` if servers cannot have sockets that match the query.
    pub fn selector_for_servers(&self) -> Option<Selector> {
        match self {
            Self::Sockets { selector, .. }
            | Self::Count { selector }
            | Self::Details { selector, .. } => {
                let is_of_node = selector.single_socket().is_some();
                (!is_of_node).then(|| selector.clone())
            }
            Self::RoomList { namespace, .. } => Some(Selector::everybody(namespace.clone())),
            Self::RoomCounts { namespace, rooms } => (!rooms.is_empty()).then(|| Selector {
                rooms: rooms.iter().cloned().collect(),
                ..Selector::everybody(namespace.clone())
            }),
            Self::Rooms { .. } | Self::Nodes => None,
        }
    }

    /// Whether the query needs only the number of these sockets, not their rooms.
    pub fn needs_only_number(&self) -> bool {
        matches!(self, Self::Sockets { .. } | Self::Count { .. })
    }

    /// The answer for the sockets that a server has reported. [`QueryAnswer::Sockets`] counts them, but does not list
    /// their ids.
    pub fn answer_of_server(&self, reported: Vec<ServerSocket>) -> QueryAnswer {
        let total = reported.len() as u64;
        match self {
            Self::Sockets { .. } => QueryAnswer::Sockets {
                total,
                sockets: Vec::new(),
            },
            Self::Count { .. } => QueryAnswer::Count {
                sockets: total,
                nodes: Vec::new(),
            },
            Self::Details { limit, .. } => QueryAnswer::Details {
                total,
                sockets: Vec::new(),
                of_servers: reported.into_iter().take(*limit as usize).collect(),
            },
            Self::RoomList {
                prefix,
                after,
                limit,
                ..
            } => {
                let is_listed = |room: &Room| room.starts_with(prefix.as_str()) && **room > **after;
                let mut rooms = members(&reported, is_listed);
                rooms.truncate(*limit as usize);
                QueryAnswer::RoomList(rooms)
            }
            Self::RoomCounts { rooms, .. } => {
                // A server can have very many sockets.
                let rooms: HashSet<&Room> = rooms.iter().collect();
                QueryAnswer::RoomList(members(&reported, |room| rooms.contains(room)))
            }
            Self::Rooms { .. } | Self::Nodes => self.no_match(),
        }
    }
}

/// The rooms of sockets in the order of their names, each with its number of members.
fn members(sockets: &[ServerSocket], is_listed: impl Fn(&Room) -> bool) -> Vec<(Room, u64)> {
    let mut members = BTreeMap::new();
    let rooms = sockets.iter().flat_map(|socket| &socket.rooms);
    for room in rooms.filter(|room| is_listed(room)) {
        *members.entry(room.clone()).or_insert(0) += 1;
    }
    members.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, SocketId};

    fn socket(id: &str, rooms: &[&str]) -> ServerSocket {
        ServerSocket {
            id: Room::from(id),
            connected_at: None,
            rooms: rooms.iter().map(|room| Room::from(*room)).collect(),
        }
    }

    fn reported() -> Vec<ServerSocket> {
        vec![
            socket("s1", &["a", "b", "bb"]),
            socket("s2", &["b", "c"]),
            socket("s3", &[]),
        ]
    }

    fn room_list(prefix: &str, after: &str, limit: u32) -> Query {
        Query::RoomList {
            namespace: Namespace::main(),
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
        }
    }

    fn rooms(list: &[(&str, u64)]) -> QueryAnswer {
        let rooms = list.iter().map(|(name, count)| (Room::from(*name), *count));
        QueryAnswer::RoomList(rooms.collect())
    }

    #[test]
    fn the_rooms_of_reported_sockets_are_counted_within_prefix_and_limit() {
        let all = [("a", 1), ("b", 2), ("bb", 1), ("c", 1)];
        for (query, expected) in [
            (room_list("", "", 9), &all[..]),
            (room_list("", "", 2), &all[..2]),
            (room_list("b", "", 9), &all[1..3]),
            (room_list("", "b", 9), &all[2..]),
        ] {
            assert_eq!(
                query.answer_of_server(reported()),
                rooms(expected),
                "{query:?}"
            );
        }
        let named = Query::RoomCounts {
            namespace: Namespace::main(),
            rooms: ["b", "x"].map(Room::from).to_vec(),
        };
        assert_eq!(named.answer_of_server(reported()), rooms(&[("b", 2)]));
    }

    #[test]
    fn reported_sockets_are_counted_and_listed_up_to_the_limit() {
        let selector = Selector::everybody(Namespace::main());
        let details = Query::Details {
            selector: selector.clone(),
            limit: 2,
        };
        let answer = details.answer_of_server(reported());
        let expected = QueryAnswer::Details {
            total: 3,
            sockets: Vec::new(),
            of_servers: reported()[..2].to_vec(),
        };
        assert_eq!(answer, expected);
        let QueryAnswer::Details {
            total, of_servers, ..
        } = details.combine([answer.clone(), answer])
        else {
            panic!()
        };
        assert_eq!((total, of_servers.len()), (6, 2));
        let count = Query::Count { selector };
        let expected = QueryAnswer::Count {
            sockets: 3,
            nodes: Vec::new(),
        };
        assert_eq!(count.answer_of_server(reported()), expected);
    }

    #[test]
    fn servers_are_not_queried_for_sockets_that_only_a_node_can_have() {
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        let namespace = Namespace::main;
        let count = |selector| Query::Count { selector };
        assert_eq!(
            count(Selector::socket(namespace(), socket)).selector_for_servers(),
            None
        );
        let of_server = Selector::room(namespace(), Room::from("0123456789abcdefghij"));
        assert_eq!(
            count(of_server.clone()).selector_for_servers(),
            Some(of_server)
        );
        assert_eq!(Query::Nodes.selector_for_servers(), None);
        let none = Query::RoomCounts {
            namespace: namespace(),
            rooms: Vec::new(),
        };
        assert_eq!(none.selector_for_servers(), None);
        let everybody = Selector::everybody(namespace());
        assert_eq!(
            room_list("a", "", 1).selector_for_servers(),
            Some(everybody)
        );
    }
}
