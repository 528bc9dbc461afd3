//! Counts that this node holds back until it is known whether a server in Python has the socket of an emit. Pure
//! bookkeeping.
//!
//! A server in Node waits for one count of each member, and for as many acks as the counts add up to. Servers in Python
//! report no counts. So for an emit to a single socket, the translating node reports their count: 1 when the ack of the
//! socket arrives, 0 when a server in Node reports that it has the socket, otherwise 0 shortly before the timeout of
//! the emit.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::model::{AckToken, ReplyTo, Room};

/// Maximum number of counts that are held back. Further emits are translated without acks.
const LIMIT: usize = 16_384;
/// Maximum number of remembered sockets of servers in Node. At this number, all are forgotten.
const REMEMBERED: usize = 16_384;

/// The counts that are held back.
#[derive(Debug, Default)]
pub(super) struct HeldCounts {
    /// By the emit.
    held: HashMap<ReplyTo, HeldCount>,
    /// Sockets of servers in Node. Ids are not used again.
    of_servers: HashSet<Room>,
    resolved: Vec<ResolvedCount>,
}

#[derive(Debug)]
struct HeldCount {
    socket: Room,
    /// Identifies the count at the bridge, from when the emit is dispatched.
    ack_id: Option<u32>,
}

/// A count that is no longer held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) struct ResolvedCount {
    pub(in crate::cluster) ack_id: u32,
    /// Number of sockets of servers in Python.
    pub(in crate::cluster) sockets: u64,
}

/// Maximum time for which a count is held back.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a count is held back for an emit with this timeout: the count must arrive before the timeout.
pub(in crate::cluster) fn hold_time(timeout: Duration) -> Duration {
    (timeout / 10 * 9).min(LONGEST)
}

impl HeldCounts {
    /// Whether the count of an emit to this socket would be held back.
    pub(super) fn accepts(&self, socket: &Room) -> bool {
        self.held.len() < LIMIT && !self.of_servers.contains(socket)
    }

    /// Holds back the count of an emit.
    pub(super) fn hold(&mut self, emit: &AckToken, socket: Room) {
        let ack_id = None;
        let count = HeldCount { socket, ack_id };
        self.held.insert(emit.reply_to.clone(), count);
    }

    /// Whether the count of an emit is held back.
    pub(super) fn is_held(&self, emit: &AckToken) -> bool {
        self.held.contains_key(&emit.reply_to)
    }

    /// Records that the emit was dispatched to the workers of this node. Returns whether its count is held back.
    pub(super) fn dispatched(&mut self, emit: &AckToken, ack_id: u32) -> bool {
        let count = self.held.get_mut(&emit.reply_to);
        count.map(|count| count.ack_id = Some(ack_id)).is_some()
    }

    /// Forgets an emit that cannot be sent to clients.
    pub(super) fn forget(&mut self, emit: &AckToken) {
        self.held.remove(&emit.reply_to);
    }

    /// Records the number of sockets in Python that received the emit. Returns `false` if its count is no longer held
    /// back.
    pub(super) fn resolve(&mut self, emit: &AckToken, sockets: u64) -> bool {
        let Some(count) = self.held.remove(&emit.reply_to) else {
            return false;
        };
        let resolved = count.ack_id.map(|ack_id| ResolvedCount { ack_id, sockets });
        self.resolved.extend(resolved);
        true
    }

    /// Records that a server in Node has the socket of the emit.
    pub(super) fn found(&mut self, emit: &AckToken) {
        let Some(count) = self.held.get(&emit.reply_to) else {
            return;
        };
        if self.of_servers.len() >= REMEMBERED {
            self.of_servers.clear();
        }
        self.of_servers.insert(count.socket.clone());
        self.resolve(emit, 0);
    }

    /// Removes and returns the counts that are complete.
    pub(super) fn take_resolved(&mut self) -> Vec<ResolvedCount> {
        std::mem::take(&mut self.resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DialectId;

    fn emit(request: &'static str) -> AckToken {
        AckToken {
            reply_to: ReplyTo::Foreign {
                dialect: DialectId(*b"test"),
                address: request.into(),
            },
            id: 0,
        }
    }

    #[test]
    fn each_count_is_resolved_once() {
        let mut counts = HeldCounts::default();
        for (request, ack_id) in [("acked", 1), ("found", 2), ("silent", 3)] {
            let socket = Room::from(request);
            assert!(counts.accepts(&socket) && !counts.is_held(&emit(request)));
            counts.hold(&emit(request), socket);
            assert!(counts.is_held(&emit(request)));
            assert!(counts.dispatched(&emit(request), ack_id));
        }
        assert!(counts.resolve(&emit("acked"), 1));
        counts.found(&emit("acked"));
        counts.found(&emit("found"));
        assert!(!counts.resolve(&emit("acked"), 1) && !counts.resolve(&emit("found"), 1));
        assert!(counts.resolve(&emit("silent"), 0));
        let resolved = counts.take_resolved();
        let resolved: Vec<_> = resolved.iter().map(|it| (it.ack_id, it.sockets)).collect();
        assert_eq!(resolved, [(1, 1), (2, 0), (3, 0)]);
        assert!(counts.take_resolved().is_empty() && counts.held.is_empty());
        assert!(!counts.accepts(&Room::from("found")), "a socket of Node");
        assert!(counts.accepts(&Room::from("acked")));
    }

    #[test]
    fn emits_that_are_not_dispatched_leave_nothing_and_those_beyond_the_limit_do_not_wait() {
        let mut counts = HeldCounts::default();
        counts.hold(&emit("unfit"), Room::from("s"));
        counts.forget(&emit("unfit"));
        assert!(!counts.dispatched(&emit("unfit"), 1) && !counts.resolve(&emit("unfit"), 0));
        for number in 0..LIMIT {
            let address = number.to_string().into();
            let dialect = DialectId(*b"test");
            let reply_to = ReplyTo::Foreign { dialect, address };
            counts.hold(&AckToken { reply_to, id: 0 }, Room::from("s"));
        }
        assert!(!counts.accepts(&Room::from("s")));
    }
}
