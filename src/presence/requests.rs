//! The requests of a node to the store whose outcome is not known yet: they are repeated as they were. Pure.

use std::rc::Rc;
use std::time::Duration;

use super::members::DueChange;
use crate::store::{NumberedRequest, PresenceSweepRequest};

/// Time in which a node emits the events about the departures that it took, and confirms it with its next sweep. If it
/// does not, because it is lost, another node emits them.
const TIME_TO_EMIT: Duration = Duration::from_secs(10);

/// Changes under way.
#[derive(Clone)]
pub(super) struct Unapplied {
    pub(super) id: NumberedRequest,
    pub(super) changes: Rc<[DueChange]>,
}

/// What was requested and what has to be confirmed.
pub(super) struct UnansweredRequests {
    last: NumberedRequest,
    unapplied: Option<Unapplied>,
    /// The sweep under way, or one that has failed and may have taken departures.
    sweep: Option<NumberedRequest>,
    /// The last sweep that took departures; members have received them.
    emitted: Option<NumberedRequest>,
}

impl UnansweredRequests {
    /// Those of a process; `process` is random.
    pub(super) fn new(node: &str, process: u64) -> Self {
        Self {
            last: NumberedRequest {
                node: node.to_owned(),
                process,
                number: 0,
            },
            unapplied: None,
            sweep: None,
            emitted: None,
        }
    }

    fn next(&mut self) -> NumberedRequest {
        self.last.number += 1;
        self.last.clone()
    }

    /// The changes to request: those of the last request until the store has them, then those that `take` returns. `None`
    /// if there are none.
    pub(super) fn changes(&mut self, take: impl FnOnce() -> Vec<DueChange>) -> Option<Unapplied> {
        if self.unapplied.is_none() {
            let changes = take();
            if changes.is_empty() {
                return None;
            }
            let (id, changes) = (self.next(), changes.into());
            self.unapplied = Some(Unapplied { id, changes });
        }
        self.unapplied.clone()
    }

    /// Number of changes under way.
    pub(super) fn unapplied(&self) -> usize {
        let unapplied = self.unapplied.as_ref();
        unapplied.map_or(0, |unapplied| unapplied.changes.len())
    }

    /// The outcome of the changes is known.
    pub(super) fn applied(&mut self) {
        self.unapplied = None;
    }

    /// The sweep to request.
    pub(super) fn sweep(&mut self, limit: usize) -> PresenceSweepRequest {
        let id = match self.sweep.clone() {
            Some(id) => id,
            None => self.next(),
        };
        self.sweep = Some(id.clone());
        PresenceSweepRequest {
            id,
            emitted: self.emitted.clone(),
            limit,
            time_to_emit: TIME_TO_EMIT,
        }
    }

    /// The outcome of the sweep is known; if it took departures, the events about them are emitted.
    pub(super) fn swept(&mut self, took_any: bool) {
        let sweep = self.sweep.take();
        self.emitted = sweep.filter(|_| took_any);
    }

    /// Whether the store may keep departures for this node.
    pub(super) fn has_unconfirmed(&self) -> bool {
        self.sweep.is_some() || self.emitted.is_some()
    }
}
