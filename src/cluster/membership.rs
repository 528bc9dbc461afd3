//! The other live nodes of the cluster, by their heartbeats on the bus. Pure bookkeeping.
//!
//! Time is counted in own heartbeats that come back through the bus: while this node is cut off, deaf or paused, nothing
//! comes back, and no other node is taken for dead. That no two nodes share a name is ensured by leases (`store::lease`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::dialect::MemberState;
use crate::model::NodeId;

/// Time between two heartbeats.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Missed heartbeats in a row after which the bus is asked whether the node still subscribes to its channel.
const PROBE_AFTER: u32 = 2;
/// Missed heartbeats in a row after which a node counts as dead, though it still subscribes.
const DEAD_AFTER: u32 = 5;

/// The other live nodes.
pub(super) struct Membership {
    node: NodeId,
    /// Heartbeats missed in a row, by node.
    missed: BTreeMap<NodeId, u32>,
}

/// What follows from a heartbeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    /// The live nodes are others than before.
    pub(super) changed: bool,
    /// The sender has just joined and does not know this node yet.
    pub(super) respond: bool,
    /// Nodes whose channel must be checked for subscribers.
    pub(super) probe: Vec<NodeId>,
}

impl Membership {
    /// The membership of `node`, which knows no other node yet.
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            missed: BTreeMap::new(),
        }
    }

    /// Takes a heartbeat, of this node as well.
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
        let silent = self
            .missed
            .iter()
            .filter(|(_, missed)| **missed > PROBE_AFTER);
        Consequences {
            changed: self.missed.len() != before,
            respond: false,
            probe: silent.map(|(node, _)| *node).collect(),
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
    fn a_silent_node_is_probed_and_then_dead() {
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
    fn nothing_is_missed_while_own_heartbeats_do_not_come_back() {
        let mut members = Membership::new(node("self"));
        members.received(node("nod1"), MemberState::Alive);
        for _ in 0..100 {
            members.received(node("nod2"), MemberState::Alive);
        }
        assert_eq!(members.peers(), [node("nod1"), node("nod2")]);
    }
}
