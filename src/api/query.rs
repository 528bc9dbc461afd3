//! Queries of all nodes, as the verbs use them.

use std::time::Duration;

use super::state::Api;
use crate::broker::Gathered;
use crate::model::{NodeId, Query, QueryAnswer};

/// Time limit of a query.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(2);

/// Stands, among the names of nodes that did not respond, for Socket.IO servers that are not Roomwire nodes.
const SERVERS: &str = "servers";

/// Runs a query on every node and server; returns the answer and the names of the nodes that did not respond.
pub(super) async fn run(api: &Api, query: &Query) -> (QueryAnswer, Vec<String>) {
    let gather = api.ingress.query_with_servers(query.clone(), QUERY_TIME);
    combined(query, gather.finish().await)
}

/// The answers of all workers and nodes, and the names of the nodes that did not respond.
pub(super) fn combined(
    query: &Query,
    gathered: Gathered<QueryAnswer>,
) -> (QueryAnswer, Vec<String>) {
    let missing = names(&gathered.missing, gathered.lacks_servers);
    (query.combine(gathered.answers), missing)
}

/// The names of what did not respond.
pub(super) fn names(missing: &[NodeId], lacks_servers: bool) -> Vec<String> {
    let nodes = missing.iter().map(ToString::to_string);
    let servers = lacks_servers.then(|| SERVERS.to_owned());
    nodes.chain(servers).collect()
}
