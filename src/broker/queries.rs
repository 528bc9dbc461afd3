//! Queries whose answers are collected by one worker. Pure bookkeeping.

use hashbrown::HashMap;

use super::gather::GatherSender;
use super::messages::StartQuery;
use super::parties::Parties;
use crate::model::{NodeId, QueryAnswer, QueryResponse};

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
}

impl Queries {
    /// Starts to collect.
    pub fn start(&mut self, start: StartQuery) {
        let StartQuery {
            id,
            answers,
            workers,
            remote,
        } = start;
        let query = OpenQuery {
            answers,
            workers,
            parties: Parties::new(workers, remote),
        };
        let replaced = self.open.insert(id, query);
        debug_assert!(replaced.is_none(), "two queries with the id {id}");
    }

    /// Ends a query whose answers are no longer of interest.
    pub fn cancel(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// Takes the number of nodes that received the query.
    pub fn counted(&mut self, id: u64, nodes: usize) {
        self.update(id, |query| query.parties.counted(nodes));
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

    /// Handles the answer of another node, which remains missing if it left something out.
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
    pub fn responded(&mut self, id: u64) {
        self.update(id, |query| query.parties.responded());
    }

    /// Changes a query and ends it when everybody has responded.
    fn update(&mut self, id: u64, change: impl FnOnce(&mut OpenQuery)) {
        if let Some(query) = self.open.get_mut(&id) {
            change(query);
            if query.parties.is_done() {
                self.open.remove(&id);
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::gather::Gather;
    use crate::clock;

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
        queries.responded(7);
        queries.counted(7, 2);
        assert!(!queries.is_empty(), "a worker has not responded");
        queries.worker_answered(7, answer(), ours);
        assert!(queries.is_empty());
        let gathered = gather.finish().await;
        assert_eq!((gathered.answers.len(), gathered.missing), (3, vec![dead]));
        assert!(clock::now() < deadline);
    }
}
