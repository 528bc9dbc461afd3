//! Pending joins. A join that the server does not ack is retried, and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::{JOIN_ACK, ROOM};
use crate::fleet::Turn;

/// A join without an ack is retried after this time.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The name of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Room {
    /// The room that all share.
    #[default]
    Shared,
    /// The room of this connection alone.
    Own(usize),
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str(ROOM),
            Self::Own(id) => write!(f, "{ROOM}-{id}"),
        }
    }
}

#[derive(Default)]
pub(crate) struct Joins {
    /// Whether each connection joins a room of its own.
    pub(crate) to_own: bool,
    /// By connection: when its join was sent.
    open: BTreeMap<usize, Instant>,
    /// Joins that were retried.
    pub(crate) retried: u64,
}

impl Joins {
    pub(crate) fn send(&mut self, id: usize, turn: &mut Turn<'_>) {
        let room = match self.to_own {
            true => Room::Own(id),
            false => Room::Shared,
        };
        turn.send(
            id,
            format_args!(r#"42{JOIN_ACK}["roomwire:join","{room}"]"#),
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
