//! The number of acks after which a call ends.

use super::parties::Parties;

/// A number of acks. If all sockets must ack, it depends on servers that are not Roomwire nodes: they report how many
/// of their sockets have received the emit.
#[derive(Debug, Clone, Copy)]
pub struct AckTarget {
    /// Number of acks of sockets of nodes; of all acks if `servers` is `None`.
    nodes: usize,
    servers: Option<ServerReports>,
}

#[derive(Debug, Clone, Copy)]
struct ServerReports {
    /// Number of sockets that a query before the emit found at servers. Used until the bus has counted the servers.
    found: usize,
    /// Number of sockets that have received the emit.
    reached: usize,
    /// The servers that have not reported yet.
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

    /// One ack of each socket: `nodes` of nodes, and those that servers will report, of which a query has `found` some.
    /// `remote`: whether the emit is published to servers.
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

    /// Records the number of servers that received the emit.
    pub fn counted(&mut self, servers: usize) {
        if let Some(reports) = &mut self.servers {
            reports.pending.counted(servers);
        }
    }

    /// Records the report of a server: how many of its sockets have received the emit.
    pub fn reached(&mut self, sockets: usize) {
        if let Some(reports) = &mut self.servers {
            reports.reached = reports.reached.saturating_add(sockets);
            reports.pending.responded();
        }
    }

    /// Whether this number of acks ends the call. At least one ack is required.
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
