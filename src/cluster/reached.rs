//! How many sockets of the node an emit of a foreign member reached: the sum over the workers. Pure bookkeeping.

use hashbrown::HashMap;

use crate::model::AckToken;

/// Emits whose workers have not all reported.
#[derive(Default)]
pub(super) struct ReachCounts {
    /// By the id of the acks that this node requests from clients.
    open: HashMap<u32, OpenCount>,
}

struct OpenCount {
    token: AckToken,
    /// Workers that have not reported.
    workers: usize,
    sockets: u64,
}

impl ReachCounts {
    /// An emit is on its way to `workers`, at least one.
    pub(super) fn start(&mut self, ack_id: u32, token: AckToken, workers: usize) {
        let count = OpenCount {
            token,
            workers,
            sockets: 0,
        };
        self.open.insert(ack_id, count);
    }

    /// Adds the report of a worker. Returns the total with the last one.
    pub(super) fn add(&mut self, ack_id: u32, sockets: u64) -> Option<(AckToken, u64)> {
        let count = self.open.get_mut(&ack_id)?;
        count.sockets += sockets;
        count.workers -= 1;
        if count.workers > 0 {
            return None;
        }
        let OpenCount { token, sockets, .. } = self.open.remove(&ack_id)?;
        Some((token, sockets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, ReplyTo};

    #[test]
    fn the_last_worker_completes_the_count_of_its_emit_once() {
        let token = |id| AckToken {
            reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
            id,
        };
        let mut counts = ReachCounts::default();
        counts.start(7, token(1), 2);
        counts.start(8, token(2), 1);
        assert_eq!(counts.add(7, 3), None);
        assert_eq!(counts.add(8, 0), Some((token(2), 0)));
        assert_eq!(counts.add(7, 4), Some((token(1), 7)));
        assert_eq!(counts.add(7, 1), None);
        assert!(counts.open.is_empty());
    }
}
