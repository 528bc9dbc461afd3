//! The other live nodes of the cluster, by their heartbeats on the bus. Pure bookkeeping.
//!
//! Time is counted in own heartbeats that return over the bus: while this node is disconnected, deaf or paused, none
//! returns, and no other node counts as dead. Leases ensure that no two nodes have the same name (`store::lease`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::dialect::MemberState;
use crate::model::NodeId;

/// Time between two heartbeats.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Number of consecutive missed heartbeats after which the node's channel is checked for subscribers.
const PROBE_AFTER: u32 = 2;
/// Number of consecutive missed heartbeats after which a node counts as dead, even if it still subscribes.
const DEAD_AFTER: u32 = 5;

/// The other live nodes.
pub(super) struct Membership {
    node: NodeId,
    /// Number of consecutive missed heartbeats, by node.
    missed: BTreeMap<NodeId, u32>,
}

/// What follows from a heartbeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    /// The set of live nodes has changed.
    pub(super) changed: bool,
    /// The sender has just joined and waits for a heartbeat of this node.
    pub(super) respond: bool,
    /// Nodes whose channel must be checked for subscribers.
    pub(super) probe: Vec<NodeId>,
}

impl Membership {
    /// The membership of `node`, without other nodes.
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            missed: BTreeMap::new(),
        }
    }

    /// Handles a heartbeat, also one of this node.
    pub(super) fn received(&mut self, from: NodeId, state: MemberState) -> Consequences {
        if from == self.node {
            return self.count_missed();
        }
        let changed = match state {
            MemberState::Leaving => self.missed.remove(&from).is_some(),
            MemberState::Alive | MemberState::Joined => self.missed.insert(from, 0).is_none(),
        };
        Consequences {
            changed,
            respond: state == MemberState::Joined,
            probe: Vec::new(),
        }
    }

    fn count_missed(&mut self) -> Consequences {
        let before = self.missed.len();
        self.missed.retain(|_, missed| {
            *missed += 1;
            *missed <= DEAD_AFTER
        });
        let overdue = self
            .missed
            .iter()
            .filter(|(_, missed)| **missed > PROBE_AFTER);
        Consequences {
            changed: self.missed.len() != before,
            respond: false,
            probe: overdue.map(|(node, _)| *node).collect(),
        }
    }

    /// A node does not subscribe to its channel any more. Returns whether it counted as live.
    pub(super) fn remove(&mut self, node: NodeId) -> bool {
        self.missed.remove(&node).is_some()
    }

    /// The other live nodes, sorted.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.missed.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[test]
    fn a_node_joins_with_its_first_heartbeat_and_leaves_with_its_last() {
        let mut members = Membership::new(node("self"));
        let joined = members.received(node("nod1"), MemberState::Joined);
        assert!(joined.changed && joined.respond);
        let alive = members.received(node("nod1"), MemberState::Alive);
        assert_eq!(alive, Consequences::default());
        assert_eq!(members.peers(), [node("nod1")]);
        assert!(members.received(node("nod1"), MemberState::Leaving).changed);
        assert!(members.peers().is_empty());
    }

    #[test]
    fn a_node_without_heartbeats_is_probed_and_then_counts_as_dead() {
        let (own, silent, live) = (node("self"), node("nod1"), node("nod2"));
        let mut members = Membership::new(own);
        members.received(silent, MemberState::Alive);
        for tick in 1..=DEAD_AFTER {
            members.received(live, MemberState::Alive);
            let consequences = members.received(own, MemberState::Alive);
            let probed = tick > PROBE_AFTER;
            assert_eq!(consequences.probe.contains(&silent), probed, "{tick}");
            assert!(!consequences.changed && !consequences.probe.contains(&live));
        }
        members.received(live, MemberState::Alive);
        assert!(members.received(own, MemberState::Alive).changed);
        assert_eq!(members.peers(), [live]);
        assert!(members.remove(live) && !members.remove(live));
    }

    #[test]
    fn no_heartbeat_counts_as_missed_while_own_heartbeats_do_not_return() {
        let mut members = Membership::new(node("self"));
        members.received(node("nod1"), MemberState::Alive);
        for _ in 0..100 {
            members.received(node("nod2"), MemberState::Alive);
        }
        assert_eq!(members.peers(), [node("nod1"), node("nod2")]);
    }
}
