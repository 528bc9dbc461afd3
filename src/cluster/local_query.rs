//! Queries of other members about this node.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Directory, Ingress};
use crate::model::{Query, QueryAnswer};

/// Time limit for the workers of this node to run a query of another member.
const QUERY_TIME: Duration = Duration::from_secs(5);

/// Runs a query on all workers of this node.
pub(super) async fn query_node(directory: Arc<Directory>, query: Query) -> QueryAnswer {
    let ingress = Ingress::new(directory);
    let gathered = ingress.query_node(query.clone(), QUERY_TIME).finish().await;
    query.combine(gathered.answers)
}
