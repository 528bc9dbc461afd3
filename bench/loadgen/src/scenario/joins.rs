//! Joins that are on the way. A server that loses one is asked again, and that is counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{JOIN_ACK, ROOM};
use crate::fleet::Turn;

/// A join without an answer for this long is sent again.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Joins {
    /// By connection: when its join was sent.
    open: BTreeMap<usize, Instant>,
    /// Joins that had to be sent again.
    pub(crate) repeated: u64,
}

impl Joins {
    pub(crate) fn send(&mut self, id: usize, turn: &mut Turn<'_>) {
        turn.send(
            id,
            format_args!(r#"42{JOIN_ACK}["roomwire:join","{ROOM}"]"#),
        );
        self.open.insert(id, turn.now);
    }

    /// Takes an answer, or the connection's end; false if no join was open.
    pub(crate) fn settle(&mut self, id: usize) -> bool {
        self.open.remove(&id).is_some()
    }

    pub(crate) fn repeat_late(&mut self, turn: &mut Turn<'_>) {
        let late = |sent: &Instant| turn.now.duration_since(*sent) > REPEAT_AFTER;
        let silent: Vec<usize> = self
            .open
            .iter()
            .filter(|(_, sent)| late(sent))
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.repeated += 1;
            self.send(id, turn);
        }
    }
}
