//! What the owner of a sequencer must do.

use crate::history::LogName;
use crate::model::{Emit, Position};

/// Number of events that are read at once.
pub(in crate::cluster) const PAGE: usize = 100;

/// What the owner of a [`Sequencer`](super::Sequencer) must do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cluster) enum LogStep {
    /// Deliver an event to the sockets of this node.
    Deliver {
        emit: Emit,
        position: Position,
        is_own: bool,
    },
    /// Notify the members of a room, or all sockets of a namespace, that the events after `after` and before `before` are
    /// lost.
    ReportGap {
        log: LogName,
        after: Position,
        before: Position,
    },
    /// Read at most [`PAGE`] entries, and call [`Sequencer::page_read`](super::Sequencer::page_read).
    Read {
        log: LogName,
        after: u64,
        request: u64,
    },
    /// Read where these logs end, and call [`Sequencer::tails_read`](super::Sequencer::tails_read).
    ReadTails { logs: Vec<LogName>, request: u64 },
    /// Read where these logs end, and call [`Sequencer::tails_checked`](super::Sequencer::tails_checked).
    CheckTails(Vec<LogName>),
    /// Publish a message to this node itself, and call [`Sequencer::fenced`](super::Sequencer::fenced) when it arrives or
    /// does not arrive in time.
    Fence(u64),
    /// Count events that were delivered before.
    CountDuplicate,
}
