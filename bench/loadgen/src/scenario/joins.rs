//! Pending joins. A join that the server does not ack is retried, and counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{JOIN_ACK, ROOM};
use crate::fleet::Turn;

/// A join without an ack is retried after this time.
const RETRY_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Joins {
    /// By connection: when its join was sent.
    open: BTreeMap<usize, Instant>,
    /// Joins that were retried.
    pub(crate) retried: u64,
}

impl Joins {
    pub(crate) fn send(&mut self, id: usize, turn: &mut Turn<'_>) {
        turn.send(
            id,
            format_args!(r#"42{JOIN_ACK}["roomwire:join","{ROOM}"]"#),
        );
        self.open.insert(id, turn.now);
    }

    /// Removes a join that was acked or whose connection ended; false if none was pending.
    pub(crate) fn complete(&mut self, id: usize) -> bool {
        self.open.remove(&id).is_some()
    }

    pub(crate) fn retry_overdue(&mut self, turn: &mut Turn<'_>) {
        let is_overdue = |sent: &Instant| turn.now.duration_since(*sent) > RETRY_AFTER;
        let overdue: Vec<usize> = self
            .open
            .iter()
            .filter(|(_, sent)| is_overdue(sent))
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.retried += 1;
            self.send(id, turn);
        }
    }
}
