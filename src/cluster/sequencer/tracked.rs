//! A log with members on this node.

use super::held::Gap;
use crate::history::LogName;
use crate::model::{Epoch, Position};

/// How far the events of a log are delivered and read.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Distinguishes logs that are read up to the same number.
    pub(super) id: u64,
    /// The number after which events are delivered.
    pub(super) start: u64,
    /// The number of the last delivered event.
    pub(super) last: u64,
    /// The last delivered event of an epoch that is over, until the gap after it is reported.
    pub(super) former: Option<Position>,
    /// Every event up to this number that is not delivered is held. It is not raised while the log is followed.
    pub(super) known: u64,
    /// The event for which the log was read last because the one before it was missing.
    pub(super) attempted: u64,
    /// Where the log ended at the last check of its end, if that was after `last`.
    pub(super) suspected: Option<u64>,
    pub(super) phase: LogPhase,
    /// The read whose response is awaited. Responses to others are out of date.
    pub(super) request: Option<u64>,
    /// While the log is [`LogPhase::Starting`]: the entry before an event that was not held.
    pub(super) floor: Option<u64>,
    /// The newest number known when the first member joined.
    pub(super) since: u64,
    /// Whether the subscription was interrupted while the log was [`LogPhase::Starting`].
    pub(super) was_interrupted: bool,
    /// It has no order of its own: it is read because its events could not be held.
    pub(super) is_temporary: bool,
}

/// What is known about the events of a log that have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogPhase {
    /// It is not known where the log ended when the first member joined.
    Starting,
    /// Events may have been missed: the end of the log is being read.
    Checking,
    /// Events were missed and are being read.
    Reading,
    /// Nothing before the newest event is missing.
    Following,
}

impl Tracked {
    /// A log whose first member has joined.
    pub(super) fn starting(id: u64, since: u64) -> Self {
        Self {
            id,
            start: 0,
            last: 0,
            former: None,
            known: 0,
            attempted: 0,
            suspected: None,
            phase: LogPhase::Starting,
            request: None,
            floor: None,
            since,
            was_interrupted: false,
            is_temporary: false,
        }
    }

    /// Events of the log were delivered up to `last`, and none is being read.
    pub(super) fn start_at(&mut self, last: u64) {
        (self.start, self.last) = (last, last);
        self.phase = LogPhase::Following;
    }

    /// The number up to which every event is delivered or held.
    pub(super) fn reached(&self) -> u64 {
        self.last.max(self.known)
    }

    /// What cannot be read before an event of the log `name`; the last of it has the number `last`.
    pub(super) fn gap_before(&mut self, name: &LogName, before: Position, last: u64) -> Gap {
        let known = Position {
            n: self.known,
            ..before
        };
        Gap {
            log: name.clone(),
            after: self.former.take().unwrap_or(known),
            before,
            last,
        }
    }

    /// The logs were lost: the numbers of the epoch that begins are unrelated to those of `former`,
    /// of which everything up to `arrived` has arrived.
    pub(super) fn begin_epoch(&mut self, former: Epoch, arrived: u64) {
        let (last, phase, was_interrupted) = match self.phase {
            LogPhase::Starting => (self.since, LogPhase::Starting, true),
            // Events from the time between the subscription and the read of the end were still on their way.
            _ if self.start > arrived => (self.since, LogPhase::Checking, false),
            _ => (self.last, LogPhase::Checking, false),
        };
        let last = Position {
            epoch: former,
            n: last,
        };
        *self = Self {
            former: self.former.or(Some(last)),
            phase,
            was_interrupted,
            ..Self::starting(self.id, 0)
        };
    }
}
