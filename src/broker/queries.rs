//! Queries whose answers are collected by one worker. Pure bookkeeping.

use std::sync::Arc;

use hashbrown::HashMap;

use super::gather::GatherSender;
use super::messages::{MessageDialect, StartQuery};
use super::parties::Parties;
use crate::model::{NodeId, Query, QueryAnswer, QueryResponse, ServerSocket};

/// The queries for which one worker collects the answers.
#[derive(Default)]
pub struct Queries {
    open: HashMap<u64, OpenQuery>,
}

struct OpenQuery {
    answers: GatherSender<QueryAnswer>,
    /// Workers of this node that have not responded.
    workers: usize,
    parties: Parties,
    /// The query as servers received it; `None` if they did not.
    of_servers: Option<Arc<Query>>,
    servers: Parties,
}

impl Queries {
    /// Starts to collect.
    pub fn start(&mut self, start: StartQuery) {
        let StartQuery {
            id,
            answers,
            workers,
            remote,
            servers,
        } = start;
        let query = OpenQuery {
            answers,
            workers,
            parties: Parties::new(workers, remote),
            servers: Parties::new(0, remote && servers.is_some()),
            of_servers: servers,
        };
        let replaced = self.open.insert(id, query);
        debug_assert!(replaced.is_none(), "two queries with the id {id}");
    }

    /// Ends a query whose answers are no longer of interest.
    pub fn cancel(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// Records how many nodes and servers received the query; `servers` is `None` if their number is unknown.
    pub fn counted(&mut self, id: u64, nodes: usize, servers: Option<usize>) {
        self.update(id, |query| {
            query.parties.counted(nodes);
            query.servers.counted(servers.unwrap_or(0));
            if query.of_servers.is_some() && (servers.is_none() || !query.servers.is_done()) {
                query.answers.servers_awaited();
            }
        });
    }

    /// Handles the answer of a server. Other nodes respond to the same request without sockets, because theirs arrive
    /// with [`Self::node_answered`].
    pub fn server_answered(&mut self, id: u64, sockets: Vec<ServerSocket>) {
        self.update(id, |query| {
            if let Some(of_servers) = &query.of_servers {
                let number = sockets.len() as u64;
                let answer = of_servers.answer_of_server(sockets);
                query.answers.server_answer(answer, number);
            }
            query.server_responded();
        });
    }

    /// Handles the answer of a worker of this node, `ours`.
    pub fn worker_answered(&mut self, id: u64, answer: QueryAnswer, ours: NodeId) {
        self.update(id, |query| {
            query.answers.answer(answer);
            query.parties.responded();
            query.workers = query.workers.saturating_sub(1);
            if query.workers == 0 {
                query.answers.responded(ours);
            }
        });
    }

    /// Handles the answer of another node. If it was shortened, the node still counts as missing.
    pub fn node_answered(&mut self, response: QueryResponse) {
        self.update(response.id, |query| {
            query.answers.answer(response.answer);
            if !response.is_shortened {
                query.answers.responded(response.from);
            }
            query.parties.responded();
        });
    }

    /// This node received its own query from the bus.
    pub fn echoed(&mut self, id: u64, dialect: MessageDialect) {
        self.update(id, |query| match dialect {
            MessageDialect::Native => query.parties.responded(),
            MessageDialect::Foreign => query.server_responded(),
        });
    }

    /// Changes a query and ends it when everybody has responded.
    fn update(&mut self, id: u64, change: impl FnOnce(&mut OpenQuery)) {
        if let Some(query) = self.open.get_mut(&id) {
            change(query);
            if query.parties.is_done() && query.servers.is_done() {
                self.open.remove(&id);
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl OpenQuery {
    fn server_responded(&mut self) {
        self.servers.responded();
        if self.servers.is_done() {
            self.answers.servers_responded();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::gather::Gather;
    use crate::clock;
    use crate::model::{Namespace, Room, Selector};

    #[tokio::test(start_paused = true)]
    async fn a_query_ends_when_all_receivers_have_responded_and_names_the_missing_nodes() {
        let [ours, peer, dead] = ["aaaa", "bbbb", "cccc"].map(|name| NodeId::parse(name).unwrap());
        let deadline = clock::now() + Duration::from_secs(1);
        let (gather, answers) = Gather::new(deadline, vec![ours, peer, dead]);
        let mut queries = Queries::default();
        queries.start(StartQuery {
            id: 7,
            answers,
            workers: 2,
            remote: true,
            servers: None,
        });
        let answer = || QueryAnswer::Rooms(None);
        queries.worker_answered(7, answer(), ours);
        queries.node_answered(QueryResponse {
            from: peer,
            to: ours,
            id: 7,
            answer: answer(),
            is_shortened: false,
        });
        queries.echoed(7, MessageDialect::Native);
        queries.counted(7, 2, Some(0));
        assert!(!queries.is_empty(), "a worker has not responded");
        queries.worker_answered(7, answer(), ours);
        assert!(queries.is_empty());
        let gathered = gather.finish().await;
        assert_eq!((gathered.answers.len(), gathered.missing), (3, vec![dead]));
        assert!(clock::now() < deadline);
    }

    fn open_to_servers() -> (Queries, Gather<QueryAnswer>, NodeId) {
        let ours = NodeId::parse("aaaa").unwrap();
        let deadline = clock::now() + Duration::from_secs(1);
        let (gather, answers) = Gather::new(deadline, vec![ours]);
        let mut queries = Queries::default();
        queries.start(StartQuery {
            id: 7,
            answers,
            workers: 1,
            remote: true,
            servers: Some(Arc::new(count())),
        });
        queries.worker_answered(7, count().no_match(), ours);
        queries.echoed(7, MessageDialect::Native);
        (queries, gather, ours)
    }

    fn count() -> Query {
        Query::Count {
            selector: Selector::everybody(Namespace::main()),
        }
    }

    fn reported(number: usize) -> Vec<ServerSocket> {
        let ids = (0..number).map(|id| Room::from(format!("s{id}")));
        let socket = |id| ServerSocket {
            id,
            connected_at: None,
            rooms: Vec::new(),
        };
        ids.map(socket).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_for_all_servers_that_received_it_and_adds_up_their_sockets() {
        let start = clock::now();
        let (mut queries, gather, _) = open_to_servers();
        queries.server_answered(7, reported(2));
        queries.counted(7, 1, Some(3));
        queries.echoed(7, MessageDialect::Foreign);
        assert!(!queries.is_empty(), "a server has not responded");
        queries.server_answered(7, reported(1));
        assert!(queries.is_empty());
        let gathered = gather.finish().await;
        assert!(gathered.missing.is_empty() && !gathered.misses_servers);
        let expected = QueryAnswer::Count {
            sockets: 3,
            nodes: Vec::new(),
        };
        assert_eq!(gathered.of_servers, 3);
        assert_eq!(count().combine(gathered.answers), expected);
        assert_eq!(clock::now(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_reports_that_servers_are_missing_if_one_is_silent_or_none_could_be_counted() {
        for (servers, is_over) in [(Some(2), false), (None, true)] {
            let (mut queries, gather, _) = open_to_servers();
            queries.counted(7, 1, servers);
            queries.server_answered(7, reported(1));
            assert_eq!(queries.is_empty(), is_over, "{servers:?}");
            let gathered = gather.finish().await;
            assert!(gathered.missing.is_empty() && gathered.misses_servers);
        }
        let (mut queries, gather, _) = open_to_servers();
        queries.counted(7, 1, Some(0));
        assert!(queries.is_empty());
        assert!(!gather.finish().await.misses_servers);
    }
}
