//! The number of acks after which a call ends.

use super::parties::Parties;

/// A number of acks. If all sockets must ack, it follows from what servers that are not Roomwire nodes report: how many of
/// their sockets have received the emit.
#[derive(Debug, Clone, Copy)]
pub struct AckTarget {
    /// The acks of sockets of nodes, or all.
    nodes: usize,
    servers: Option<ServerReports>,
}

#[derive(Debug, Clone, Copy)]
struct ServerReports {
    /// The sockets that servers had before the emit. They count as long as the bus has not counted the servers.
    found: usize,
    /// The sockets that have received the emit.
    reached: usize,
    /// Servers that have not reported.
    pending: Parties,
}

impl AckTarget {
    /// A fixed number of acks.
    pub fn fixed(acks: usize) -> Self {
        let servers = None;
        Self {
            nodes: acks,
            servers,
        }
    }

    /// One ack of each of `nodes` sockets of nodes, and of each socket of servers, of which there were `found`. Whether
    /// the servers receive the emit at all is `remote`.
    pub fn all(nodes: usize, found: usize, remote: bool) -> Self {
        Self {
            nodes,
            servers: Some(ServerReports {
                found,
                reached: 0,
                pending: Parties::new(0, remote),
            }),
        }
    }

    /// Takes the number of servers that received the emit.
    pub fn counted(&mut self, servers: usize) {
        if let Some(reports) = &mut self.servers {
            reports.pending.counted(servers);
        }
    }

    /// A server reports how many of its sockets have received the emit.
    pub fn reached(&mut self, sockets: usize) {
        if let Some(reports) = &mut self.servers {
            reports.reached = reports.reached.saturating_add(sockets);
            reports.pending.responded();
        }
    }

    /// Whether so many acks are all. If no socket was found, one ack is.
    pub fn is_met(&self, acks: usize) -> bool {
        let of_servers = match &self.servers {
            None => 0,
            Some(reports) if !reports.pending.is_counted() => reports.found,
            Some(reports) if reports.pending.is_done() => reports.reached,
            Some(_) => return false,
        };
        acks >= self.nodes.saturating_add(of_servers).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_acks_are_those_of_the_sockets_that_servers_report_instead_of_those_found() {
        let mut target = AckTarget::all(1, 5, true);
        assert!(!target.is_met(5) && target.is_met(6), "not counted");
        target.reached(2);
        target.counted(2);
        assert!(!target.is_met(9), "a server has not reported");
        target.reached(0);
        assert!(!target.is_met(2) && target.is_met(3));
    }

    #[test]
    fn without_sockets_or_servers_the_first_ack_is_all() {
        assert!(!AckTarget::all(0, 0, false).is_met(0));
        assert!(AckTarget::all(0, 0, false).is_met(1));
        let mut fixed = AckTarget::fixed(2);
        fixed.counted(3);
        fixed.reached(7);
        assert!(!fixed.is_met(1) && fixed.is_met(2));
    }
}
