//! Injected faults, and the guarantees that they suspend.

use std::time::Duration;

/// Time after a fault during which its nodes may still lack events.
pub const SETTLING: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The node is disconnected from the bus and queues what it publishes.
    Partition,
    /// The node receives nothing from the bus, which its link notices.
    Deaf,
    /// All messages of the node are delayed.
    Stall,
    /// The process is paused.
    Pause,
    /// The process was killed.
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

    /// Whether it lasted at any time from `from` to `to`.
    pub fn overlaps(&self, from: Duration, to: Duration) -> bool {
        self.begin <= to && self.end.is_none_or(|end| end >= from)
    }

    /// Whether its node receives no heartbeats, its own included: what it knows of the other nodes does not change.
    pub fn stops_time(&self) -> bool {
        matches!(self.kind, Kind::Partition | Kind::Deaf | Kind::Pause)
    }
}
