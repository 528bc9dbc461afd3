//! Queries of all nodes, as the verbs use them.

use std::time::Duration;

use super::state::Api;
use crate::broker::Gathered;
use crate::model::{NodeId, Query, QueryAnswer};

/// Time limit of a query.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(2);

/// Listed with the nodes that did not respond if a Socket.IO server that is not a Roomwire node did not respond.
const SERVERS: &str = "servers";

/// Runs a query on every node and Socket.IO server. Returns the combined answer and the names for `missing`.
pub(super) async fn run(api: &Api, query: &Query) -> (QueryAnswer, Vec<String>) {
    let gather = api.ingress.query_with_servers(query.clone(), QUERY_TIME);
    combined(query, gather.finish().await)
}

/// The combined answer of all workers, nodes and servers, and the names for `missing`.
pub(super) fn combined(
    query: &Query,
    gathered: Gathered<QueryAnswer>,
) -> (QueryAnswer, Vec<String>) {
    let missing = names(&gathered.missing, gathered.misses_servers);
    (query.combine(gathered.answers), missing)
}

/// The names of the nodes that did not respond, and `servers` if a server did not.
pub(super) fn names(missing: &[NodeId], misses_servers: bool) -> Vec<String> {
    let nodes = missing.iter().map(ToString::to_string);
    let servers = misses_servers.then(|| SERVERS.to_owned());
    nodes.chain(servers).collect()
}
