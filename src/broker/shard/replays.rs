//! Replays of logged events to single sockets, during which newer events of the same rooms wait.
//!
//! A replay begins with the join, so that no event falls between what is read from the log and what is delivered live.
//! Newer events are withheld: the last ones are kept here, the others will be read from the log like those before.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::broker::rooms::SocketKey;
use crate::model::{Command, Emit, Position, Room};

/// Number of withheld events that a replay keeps.
const KEPT: usize = 256;

/// The replays of a shard.
#[derive(Debug, Default)]
pub struct Replays {
    next: u64,
    running: HashMap<SocketKey, Vec<SocketReplay>>,
}

/// A replay to one socket.
#[derive(Debug)]
pub(super) struct SocketReplay {
    number: u64,
    /// The room whose log is replayed; `None`: all logs of the socket.
    room: Option<Room>,
    phase: ReplayPhase,
}

/// How far a replay is.
#[derive(Debug)]
pub(super) enum ReplayPhase {
    Withholding {
        events: VecDeque<(Position, Arc<Command>)>,
        /// The newest withheld event that is not kept.
        dropped: Option<Position>,
    },
    /// The log was read up to this event. It may have been ahead of the events that are delivered live.
    Finished(Position),
}

impl Replays {
    /// Whether there are none, in which case [`Self::withholds`] need not be called.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether the missed events of a session are being replayed to a socket.
    pub fn continues_session(&self, socket: SocketKey) -> bool {
        let running = self.running.get(&socket);
        running.is_some_and(|replays| replays.iter().any(|replay| replay.room.is_none()))
    }

    /// Whether a socket must not receive a logged event now, because it is or was replayed.
    pub fn withholds(
        &mut self,
        socket: SocketKey,
        emit: &Emit,
        position: Position,
        command: &Arc<Command>,
    ) -> bool {
        let Some(replays) = self.running.get_mut(&socket) else {
            return false;
        };
        let mut withholds = false;
        replays.retain_mut(|replay| {
            let concerns = |room: &Room| emit.to.rooms.contains(room);
            if !replay.room.as_ref().is_none_or(concerns) {
                return true;
            }
            match &mut replay.phase {
                ReplayPhase::Finished(last) => {
                    let was_replayed = last.epoch == position.epoch && position.n <= last.n;
                    withholds |= was_replayed;
                    was_replayed
                }
                ReplayPhase::Withholding { events, dropped } => {
                    withholds = true;
                    events.push_back((position, Arc::clone(command)));
                    if events.len() > KEPT {
                        *dropped = events.pop_front().map(|(position, _)| position);
                    }
                    true
                }
            }
        });
        if replays.is_empty() {
            self.running.remove(&socket);
        }
        withholds
    }

    /// Forgets the finished replays of these sockets, whose stream was lost and begins with lower positions.
    pub fn begin_stream_anew(&mut self, concerns: impl Fn(SocketKey) -> bool) {
        self.running.retain(|socket, replays| {
            if concerns(*socket) {
                let is_over = |replay: &SocketReplay| match &replay.phase {
                    ReplayPhase::Finished(last) => last.is_of_stream(),
                    ReplayPhase::Withholding { .. } => false,
                };
                replays.retain(|replay| !is_over(replay));
            }
            !replays.is_empty()
        });
    }

    /// Whether events are being withheld from a socket.
    pub fn concerns(&self, socket: SocketKey) -> bool {
        let is_running =
            |replay: &SocketReplay| matches!(replay.phase, ReplayPhase::Withholding { .. });
        let replays = self.running.get(&socket);
        replays.is_some_and(|replays| replays.iter().any(is_running))
    }

    /// Ends the replays of a socket that is gone.
    pub fn forget(&mut self, socket: SocketKey) {
        self.running.remove(&socket);
    }

    /// Begins a replay of the log of a room, or of all logs, to a socket; returns its number.
    pub(super) fn begin(&mut self, socket: SocketKey, room: Option<Room>) -> u64 {
        self.next += 1;
        let number = self.next;
        let replay = SocketReplay {
            number,
            room,
            phase: ReplayPhase::Withholding {
                events: VecDeque::new(),
                dropped: None,
            },
        };
        self.running.entry(socket).or_default().push(replay);
        number
    }

    /// Takes the replays of a socket out, so that it receives an event of one of them.
    pub(super) fn pause(&mut self, socket: SocketKey) -> Option<Vec<SocketReplay>> {
        self.running.remove(&socket)
    }

    /// The counterpart of [`Self::pause`].
    pub(super) fn resume(&mut self, socket: SocketKey, paused: Option<Vec<SocketReplay>>) {
        if let Some(paused) = paused {
            self.running.insert(socket, paused);
        }
    }

    /// Ends a replay.
    pub(super) fn end(&mut self, socket: SocketKey, number: u64) {
        if let Some(replays) = self.running.get_mut(&socket) {
            replays.retain(|replay| replay.number != number);
            if replays.is_empty() {
                self.running.remove(&socket);
            }
        }
    }

    /// The phase of a replay.
    pub(super) fn phase(&mut self, socket: SocketKey, number: u64) -> Option<&mut ReplayPhase> {
        let mut replays = self.running.get_mut(&socket)?.iter_mut();
        let found = replays.find(|replay| replay.number == number);
        found.map(|replay| &mut replay.phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Namespace, Payload, Selector};

    #[test]
    fn events_of_a_stream_that_begins_anew_are_not_withheld_from_sockets_of_its_namespace() {
        let sockets = [0, 1].map(SocketKey::numbered);
        let [later, earlier] = ["1764412345678-3", "1764412345000-0"].map(|it| it.parse().unwrap());
        let mut replays = Replays::default();
        for socket in sockets {
            let number = replays.begin(socket, None);
            *replays.phase(socket, number).unwrap() = ReplayPhase::Finished(later);
        }
        let emit = Emit {
            to: Selector::everybody(Namespace::main()),
            payload: Payload::text("[1]"),
            volatile: false,
            ack: None,
            conflate: None,
        };
        let command = Arc::new(Command::Emit(emit.clone()));
        let withheld = |replays: &mut Replays| {
            sockets.map(|socket| replays.withholds(socket, &emit, earlier, &command))
        };
        assert_eq!(withheld(&mut replays), [true, true]);
        replays.begin_stream_anew(|socket| socket == sockets[0]);
        assert_eq!(withheld(&mut replays), [false, true]);
    }
}
