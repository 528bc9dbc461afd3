//! The number of workers and nodes that have not responded to a call or a query yet.

/// Stands for the nodes until the bus has counted them.
const UNCOUNTED: usize = u32::MAX as usize;

/// Workers of this node and other nodes that have not responded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties(usize);

impl Parties {
    /// `workers` of this node and, with `remote`, other nodes whose number is not known yet.
    pub fn new(workers: usize, remote: bool) -> Self {
        Self(workers + if remote { UNCOUNTED } else { 0 })
    }

    /// The bus has counted the nodes. Some of them may have responded before.
    pub fn counted(&mut self, nodes: usize) {
        self.0 = (self.0 + nodes).saturating_sub(UNCOUNTED);
    }

    /// Whether the bus has reported a number of nodes.
    pub fn is_counted(self) -> bool {
        self.0 < UNCOUNTED / 2
    }

    /// A worker or node has responded.
    pub fn responded(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// Whether all have responded.
    pub fn is_done(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_before_the_bus_has_counted_the_nodes_count_as_well() {
        let mut parties = Parties::new(1, true);
        parties.responded();
        parties.responded();
        assert!(!parties.is_done() && !parties.is_counted());
        parties.counted(2);
        assert!(parties.is_counted());
        assert!(!parties.is_done());
        parties.responded();
        assert!(parties.is_done());
        let mut local = Parties::new(1, false);
        local.responded();
        assert!(local.is_done());
    }
}
