//! How Roomwire nodes recognize each other among the servers of a Node cluster.

use crate::model::NodeId;

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
        let prefix = format!("roomwire:{cluster}:");
        let uid = format!("{prefix}{node}");
        Self { node, prefix, uid }
    }

    /// The node of the cluster with this id.
    pub(super) fn node_of(&self, uid: &str) -> Option<NodeId> {
        NodeId::parse(uid.strip_prefix(&self.prefix)?)
    }
}

/// The id of a request of this node: the number of a call.
pub(super) fn request_id(call: u64) -> String {
    format!("{call:016x}")
}

/// The number of a call in the id of a request.
pub(super) fn call_of(request: &str) -> Option<u64> {
    u64::from_str_radix(request, 16).ok()
}
