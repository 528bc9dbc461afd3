//! The verb `call`: emits an event and collects the acks of the clients.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use base64::Engine as _;
use serde_json::value::RawValue;

use super::answers::{CallAck, CallAnswer};
use super::query::{QUERY_TIME, combined, names};
use super::state::Api;
use crate::broker::{AckPolicy, Gathered};
use crate::model::base64::BASE64;
use crate::model::{AckReply, NodeId, Query, QueryAnswer, SocketId};
use crate::verbs::{AcksWanted, CheckedCall, MAX_LISTED};

/// Time in which a node must respond to be distinguished from one whose clients have sent no ack.
const PROBE_TIME: Duration = Duration::from_millis(300);

/// Executes a call.
pub(super) async fn call(api: &Api, call: CheckedCall) -> CallAnswer {
    let CheckedCall { emit, acks, time } = call;
    let query = Query::Sockets {
        selector: emit.to.clone(),
        limit: MAX_LISTED,
    };
    let selected = api
        .ingress
        .query_with_servers(query.clone(), QUERY_TIME.min(time));
    let selected = selected.finish().await;
    let mut missing: Vec<NodeId> = selected.missing.clone();
    let misses_servers = selected.misses_servers;
    let of_servers = usize::try_from(selected.of_servers).unwrap_or(usize::MAX);
    let (answer, _) = combined(&query, selected);
    let QueryAnswer::Sockets { total, sockets } = answer else {
        unreachable!("answers to other queries are not merged")
    };
    let limit = match acks {
        AcksWanted::First => 1,
        AcksWanted::Count(count) => count,
        AcksWanted::All => usize::try_from(total).unwrap_or(usize::MAX),
    };
    let policy = AckPolicy { limit, time };
    let gather = match acks {
        AcksWanted::All => api.ingress.call_all(emit, policy, of_servers),
        AcksWanted::First | AcksWanted::Count(_) => api.ingress.call(emit, policy),
    };
    let Gathered { answers, .. } = gather.finish().await;
    let answered: HashSet<SocketId> = answers.iter().filter_map(|ack| ack.socket).collect();
    let unanswered: Vec<SocketId> = sockets
        .into_iter()
        .filter(|socket| !answered.contains(socket))
        .collect();
    // Also if the call has ended early: the bus counts no receiver of the emit on a node that died after the query.
    let remote = |node: &NodeId| *node != api.ingress.node();
    let suspects: BTreeSet<NodeId> = unanswered
        .iter()
        .map(SocketId::node)
        .filter(remote)
        .collect();
    if !suspects.is_empty() && answers.len() < limit {
        missing.extend(unresponsive(api, &suspects).await);
    }
    missing.sort_unstable();
    missing.dedup();
    CallAnswer {
        acks: answers.iter().map(ack).collect(),
        unanswered: unanswered.iter().map(ToString::to_string).collect(),
        sockets: total,
        missing: names(&missing, misses_servers),
    }
}

/// The nodes that do not respond at all. The others do; merely their clients have sent no ack.
async fn unresponsive(api: &Api, nodes: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let gathered = api.ingress.query(Query::Nodes, PROBE_TIME).finish().await;
    let (answer, _) = combined(&Query::Nodes, gathered);
    let QueryAnswer::Nodes(responded) = answer else {
        return Vec::new();
    };
    let responds = |node: &NodeId| responded.iter().any(|summary| summary.node == *node);
    nodes
        .iter()
        .copied()
        .filter(|node| !responds(node))
        .collect()
}

fn ack(reply: &AckReply) -> CallAck {
    let args = RawValue::from_string(reply.payload.json().to_owned());
    CallAck {
        socket: reply.socket.map(|socket| socket.to_string()),
        // An ack is valid JSON: the parser of the session has read it.
        args: args.unwrap_or_default(),
        attachments: reply
            .payload
            .attachments()
            .iter()
            .map(|attachment| BASE64.encode(attachment))
            .collect(),
    }
}
