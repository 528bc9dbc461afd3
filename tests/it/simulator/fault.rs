//! What goes wrong on purpose, and whose promises it suspends.

use std::time::Duration;

/// How long after a fault its nodes may still lack what happened during it.
const SETTLING: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Off the bus; what it publishes is spooled.
    Partition,
    /// Receives nothing from the bus, which its link notices.
    Deaf,
    /// Everything to and from it is late.
    Stall,
    /// Its process has died.
    Death,
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    pub node: usize,
    pub begin: Duration,
    pub end: Option<Duration>,
}

impl Fault {
    /// Whether it may have affected what `node` did or should have received at `at`.
    pub fn covers(&self, node: usize, at: Duration) -> bool {
        let over = self.end.is_some_and(|end| end + SETTLING < at);
        self.node == node && self.begin <= at + SETTLING && !over
    }
}
