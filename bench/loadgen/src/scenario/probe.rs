//! Before anything is counted: does the room reach everybody? On a cluster whose nodes
//! subscribe late, the first broadcasts would be lost; a probe is repeated until
//! each member has heard one.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{ROOM, TICK};
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::patience::Patience;

/// How long nothing may arrive before the probe is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

struct Probe {
    /// By connection: whether a probe is due.
    silent: Vec<bool>,
    heard: usize,
    last_heard: Instant,
}

/// Sends probes until all of `members` have heard one; returns how many it took.
pub(crate) fn probe(fleet: &mut Fleet, publisher: usize, members: &[usize]) -> Result<u64> {
    let last = members.iter().copied().max().unwrap_or(0).max(publisher);
    let mut probe = Probe {
        silent: vec![false; last + 1],
        heard: 0,
        last_heard: Instant::now(),
    };
    for id in members {
        probe.silent[*id] = true;
    }
    let mut sent = 0;
    let mut patience = Patience::new("a probe reaches the room");
    while probe.heard < members.len() {
        if sent == 0 || probe.last_heard.elapsed() > REPEAT_AFTER {
            sent += 1;
            probe.last_heard = Instant::now();
            fleet.prompt(&mut probe, |_, turn| {
                turn.send(
                    publisher,
                    format_args!(r#"42["roomwire:emit","{ROOM}","probe",0]"#),
                );
            });
        }
        fleet.turn(TICK, &mut probe)?;
        patience.check(probe.heard as u64, fleet)?;
    }
    Ok(sent)
}

/// Whether an event is a probe: one that was repeated may arrive late.
pub(crate) fn is_probe(event: &str) -> bool {
    event.starts_with(r#"["probe""#)
}

impl Observer for Probe {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>) {
        let due = matches!(notice, Notice::Event(event) if is_probe(event)) && self.silent[id];
        if due {
            self.silent[id] = false;
            self.heard += 1;
            self.last_heard = turn.now;
        }
    }
}
