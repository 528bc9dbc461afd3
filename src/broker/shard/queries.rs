//! Queries: run on the sockets of this worker, and their answers collected for threads without a shard.

use super::Shard;
use crate::broker::messages::{RunQuery, StartQuery, WorkerAnswer};
use crate::model::{Query, QueryAnswer, QueryResponse};

impl Shard {
    /// Starts to collect the answers to a query.
    pub(in crate::broker) fn start_query(&self, start: StartQuery) {
        self.state.borrow_mut().queries.start(start);
    }

    /// Runs a query, and sends the answer to the worker that collects the answers.
    pub(in crate::broker) fn run_query(&self, run: &RunQuery) {
        let answer = self.answer(&run.query);
        let answer = WorkerAnswer { id: run.id, answer };
        if run.home == self.worker {
            self.worker_answered(answer);
        } else if let Some(home) = self.directory.shards().get(run.home.get()) {
            home.do_send(answer);
        }
    }

    /// The answer to a query for the sockets of this worker.
    fn answer(&self, query: &Query) -> QueryAnswer {
        let rooms = &mut self.state.borrow_mut().rooms;
        match query {
            Query::Sockets { selector, limit } => {
                let selected = rooms.selected(selector);
                let listed = selected.iter().take(*limit as usize);
                QueryAnswer::Sockets {
                    total: selected.len() as u64,
                    sockets: listed
                        .filter_map(|member| rooms.identity(member.socket))
                        .map(|(id, _)| id)
                        .collect(),
                }
            }
            Query::Rooms { namespace, socket } => {
                let key = rooms.find(namespace, *socket);
                QueryAnswer::Rooms(key.map(|key| rooms.joined(key)))
            }
        }
    }

    /// Handles the answer of a worker of this node.
    pub(in crate::broker) fn worker_answered(&self, answer: WorkerAnswer) {
        let ours = self.directory.node();
        let queries = &mut self.state.borrow_mut().queries;
        queries.worker_answered(answer.id, answer.answer, ours);
    }

    /// Handles the answer of another node.
    pub(in crate::broker) fn node_answered(&self, response: QueryResponse) {
        self.state.borrow_mut().queries.node_answered(response);
    }
}
