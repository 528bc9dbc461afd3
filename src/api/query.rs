//! Queries of all nodes, as the verbs use them.

use std::time::Duration;

use super::state::Api;
use crate::broker::Gathered;
use crate::model::{Query, QueryAnswer};

/// Time limit of a query.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(2);

/// Runs a query on every node; returns the answer and the names of the nodes that did not respond.
pub(super) async fn run(api: &Api, query: &Query) -> (QueryAnswer, Vec<String>) {
    let gather = api.ingress.query(query.clone(), QUERY_TIME);
    combined(query, gather.finish().await)
}

/// The answers of all workers and nodes, and the names of the nodes that did not respond.
pub(super) fn combined(
    query: &Query,
    gathered: Gathered<QueryAnswer>,
) -> (QueryAnswer, Vec<String>) {
    let missing = gathered.missing.iter().map(ToString::to_string).collect();
    (query.combine(gathered.answers), missing)
}
