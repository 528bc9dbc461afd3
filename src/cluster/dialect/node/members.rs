//! How Roomwire nodes recognize each other among the servers of a Node cluster.

use serde_json::Value;

use crate::cluster::dialect::NODE_ID_PREFIX;
use crate::model::NodeId;

/// Length of the name of a node.
const NODE_LENGTH: usize = 4;

/// The ids of this node and the other nodes of its cluster as senders of messages. Servers in Node have random ids of other
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterMembers {
    pub(super) node: NodeId,
    /// `roomwire:<cluster>:`, which precedes the name of a node in the ids of the cluster.
    prefix: String,
    /// The id of this node.
    pub(super) uid: String,
}

impl ClusterMembers {
    /// The members of `cluster` as `node` identifies them.
    pub(super) fn new(cluster: &str, node: NodeId) -> Self {
        let prefix = format!("{NODE_ID_PREFIX}{cluster}:");
        let uid = format!("{prefix}{node}");
        Self { node, prefix, uid }
    }

    /// Whether a node of the cluster sent a JSON message of a namespace; reads its end alone, because servers and nodes
    /// write the sender and the namespace last.
    pub(super) fn sent(&self, message: &[u8], namespace: &str) -> bool {
        let end = format!(r#"","nsp":{}}}"#, Value::from(namespace));
        let Some(rest) = message.strip_suffix(end.as_bytes()) else {
            return false;
        };
        let start = format!(r#","uid":"{}"#, self.prefix);
        let Some((rest, node)) = rest.split_last_chunk::<NODE_LENGTH>() else {
            return false;
        };
        let is_node = std::str::from_utf8(node).is_ok_and(|name| NodeId::parse(name).is_some());
        is_node && rest.ends_with(start.as_bytes())
    }

    /// The node of the cluster with this id.
    pub(super) fn node_of(&self, uid: &str) -> Option<NodeId> {
        NodeId::parse(uid.strip_prefix(&self.prefix)?)
    }
}

/// Whether this is the id of a node of any Roomwire cluster.
pub(super) fn is_of_roomwire(uid: &str) -> bool {
    uid.starts_with(NODE_ID_PREFIX)
}

/// The id of a request of this node: the number of a call.
pub(super) fn request_id(call: u64) -> String {
    format!("{call:016x}")
}

/// The number of a call in the id of a request.
pub(super) fn call_of(request: &str) -> Option<u64> {
    u64::from_str_radix(request, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_nodes_are_recognized_by_their_end() {
        let members = ClusterMembers::new("one:0", NodeId::parse("abcd").unwrap());
        let sent = |message: &str| members.sent(message.as_bytes(), "/a");
        let own = r#"{"type":3,"data":{},"uid":"roomwire:one:0:efgh","nsp":"/a"}"#;
        assert!(sent(own));
        for message in [
            own.replace("one", "two"),
            own.replace("efgh", "ef!h"),
            own.replace("/a", "/b"),
            own.replace("roomwire:one:0:efgh", "0123456789abcdef"),
            own[1..20].to_owned(),
            // What a client can choose is inside of the data.
            format!(r#"{{"uid":"u","nsp":"/a","data":{own}}}"#),
            String::new(),
        ] {
            assert!(!sent(&message), "{message}");
        }
    }
}
