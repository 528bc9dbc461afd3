//! Queries: run on the sockets of this worker, and their answers collected for threads without a shard.

use std::sync::Arc;

use super::Shard;
use crate::broker::messages::{RunQuery, ServerAnswer, StartQuery, WorkerAnswer};
use crate::broker::rooms::{Rooms, SocketKey};
use crate::model::{Handshake, NodeSummary, Query, QueryAnswer, QueryResponse, SocketDetails};

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
        let state = &mut *self.state.borrow_mut();
        let (rooms, handshakes) = (&mut state.rooms, &state.handshakes);
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
            Query::Count { selector } => {
                let mut sockets = 0;
                rooms.select(selector, |_| sockets += 1);
                let nodes = (sockets > 0).then(|| self.directory.node());
                QueryAnswer::Count {
                    sockets,
                    nodes: nodes.into_iter().collect(),
                }
            }
            Query::Details { selector, limit } => {
                let selected = rooms.selected(selector);
                let listed = selected.iter().take(*limit as usize);
                QueryAnswer::Details {
                    total: selected.len() as u64,
                    sockets: listed
                        .filter_map(|member| {
                            Some(SocketDetails {
                                handshake: handshakes.get(&member.socket).cloned(),
                                ..rooms.details(member.socket)?
                            })
                        })
                        .collect(),
                    of_servers: Vec::new(),
                }
            }
            Query::RoomList {
                namespace,
                prefix,
                after,
                limit,
            } => QueryAnswer::RoomList(rooms.listed(namespace, prefix, after, *limit as usize)),
            Query::RoomCounts {
                namespace,
                rooms: names,
            } => QueryAnswer::RoomList(rooms.counted(namespace, names)),
            Query::Nodes => QueryAnswer::Nodes(vec![self.summary(rooms)]),
        }
    }

    /// What this worker has, and the sessions of its node.
    fn summary(&self, rooms: &Rooms) -> NodeSummary {
        let sessions = self.directory.metrics().sessions.get();
        NodeSummary {
            node: self.directory.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: u64::try_from(sessions).unwrap_or_default(),
            sockets: rooms.socket_count() as u64,
            rooms: rooms.named_room_count() as u64,
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

    /// Handles the answer of a server that is not a Roomwire node.
    pub(in crate::broker) fn server_answered(&self, answer: ServerAnswer) {
        let queries = &mut self.state.borrow_mut().queries;
        queries.server_answered(answer.id, answer.sockets);
    }

    /// Keeps the handshake of a socket for servers that fetch the socket.
    pub fn show_handshake(&self, key: SocketKey, handshake: Arc<Handshake>) {
        let handshakes = &mut self.state.borrow_mut().handshakes;
        handshakes.insert(key, handshake);
    }
}
