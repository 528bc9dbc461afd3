//! Queries of this node that wait until the channels on which servers respond are subscribed. Pure bookkeeping.

use crate::bus::link::Outgoing;
use crate::model::{Namespace, QueryRequest};

/// Queries that wait until the bus delivers the messages of their namespaces.
#[derive(Default)]
pub(super) struct PendingQueries(Vec<PendingQuery>);

/// A query of this node.
pub(super) struct PendingQuery {
    pub(super) request: QueryRequest,
    /// The messages for servers.
    pub(super) of_servers: Vec<Outgoing>,
    pub(super) namespace: Namespace,
}

impl PendingQueries {
    /// Adds a query that must wait.
    pub(super) fn add(&mut self, query: PendingQuery) {
        self.0.push(query);
    }

    /// Removes and returns the queries whose namespaces the bus delivers.
    pub(super) fn take_ready(
        &mut self,
        delivers: impl Fn(&Namespace) -> bool,
    ) -> Vec<PendingQuery> {
        let is_ready = |query: &mut PendingQuery| delivers(&query.namespace);
        self.0.extract_if(.., is_ready).collect()
    }

    /// Removes and returns all queries.
    pub(super) fn take_all(&mut self) -> Vec<PendingQuery> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{NodeId, Query};

    #[test]
    fn a_query_waits_until_its_namespace_is_delivered_or_the_bus_is_down() {
        let query = |id, namespace: &str| PendingQuery {
            request: QueryRequest {
                from: NodeId::random(&OsRandom),
                id,
                query: Query::Nodes,
            },
            of_servers: Vec::new(),
            namespace: Namespace::from(namespace),
        };
        let ids = |queries: Vec<PendingQuery>| -> Vec<u64> {
            queries.iter().map(|query| query.request.id).collect()
        };
        let mut pending = PendingQueries::default();
        pending.add(query(1, "/a"));
        pending.add(query(2, "/b"));
        pending.add(query(3, "/a"));
        assert!(pending.take_ready(|_| false).is_empty());
        assert_eq!(
            ids(pending.take_ready(|namespace| **namespace == *"/a")),
            [1, 3]
        );
        assert_eq!(ids(pending.take_all()), [2]);
        assert!(pending.take_all().is_empty());
    }
}
