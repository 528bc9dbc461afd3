//! Queries of this node, and of Socket.IO servers where these form one cluster with the nodes.

use actix::{Context, Handler};

use super::node::Bridge;
use super::pending_queries::PendingQuery;
use crate::broker::messages::PublishQuery;
use crate::model::Namespace;

impl Handler<PublishQuery> for Bridge {
    type Result = ();

    /// Publishes a query, once the node is subscribed to the channels on which it receives the responses.
    fn handle(&mut self, query: PublishQuery, _ctx: &mut Context<Self>) {
        let PublishQuery {
            request,
            includes_servers,
        } = query;
        let selected = request.query.selector_for_servers();
        let Some(selected) = selected.filter(|_| includes_servers) else {
            return self.publisher.publish_query(&request, Some(Vec::new()));
        };
        let of_servers = match self.publisher.query_of_servers(&request) {
            Some(of_servers) if !of_servers.is_empty() => of_servers,
            of_servers => return self.publisher.publish_query(&request, of_servers),
        };
        let query = PendingQuery {
            request,
            of_servers,
            namespace: selected.namespace,
        };
        if self.subscriber.hold_namespace(&query.namespace) || self.directory.is_cut_off() {
            return self.publish_pending(query);
        }
        self.pending_queries.add(query);
    }
}

impl Bridge {
    /// Publishes the queries whose namespaces the bus delivers now.
    pub(super) fn publish_ready_queries(&mut self) {
        let namespaces = &self.subscriber.namespaces;
        let delivers = |namespace: &Namespace| namespaces.delivers(namespace);
        for query in self.pending_queries.take_ready(delivers) {
            self.publish_pending(query);
        }
    }

    /// Publishes all queries that wait, because the bus is down.
    pub(super) fn publish_pending_queries(&mut self) {
        for query in self.pending_queries.take_all() {
            self.publish_pending(query);
        }
    }

    fn publish_pending(&self, query: PendingQuery) {
        let of_servers = Some(query.of_servers);
        self.publisher.publish_query(&query.request, of_servers);
    }
}
