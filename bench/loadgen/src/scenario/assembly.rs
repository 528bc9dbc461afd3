//! Brings clients up to where a scenario begins: connected to the main namespace
//! and, if wanted, in a room. Any failure here fails the run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{JOIN_ACK, TICK, accepted};
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::patience::Patience;

/// How many connections are on the way at once.
pub(crate) const WINDOW: usize = 64;
/// A join without an answer for this long is sent again.
const REJOIN_AFTER: Duration = Duration::from_secs(2);

/// Clients that are up.
pub(crate) struct Assembled {
    pub(crate) ids: Vec<usize>,
    /// Joins that had to be sent again: the server lost the first.
    pub(crate) rejoins: u64,
}

struct Assembly<'a> {
    room: Option<&'a str>,
    /// Joins without an answer, and when they were sent.
    joining: BTreeMap<usize, Instant>,
    rejoins: u64,
    complete: usize,
    lost: usize,
    refused: Option<String>,
}

/// Connects `count` clients to `target` and lets them join `room`.
pub(crate) fn assemble(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    room: Option<&str>,
) -> Result<Assembled> {
    let mut assembly = Assembly {
        room,
        joining: BTreeMap::new(),
        rejoins: 0,
        complete: 0,
        lost: 0,
        refused: None,
    };
    let mut ids = Vec::with_capacity(count);
    let mut patience = Patience::new("clients connect and join");
    while assembly.complete < count {
        while ids.len() < count && ids.len() - assembly.complete < WINDOW {
            ids.push(fleet.open(target)?);
        }
        fleet.turn(TICK, &mut assembly)?;
        fleet.prompt(&mut assembly, Assembly::join_again);
        assembly.check(fleet)?;
        patience.check(assembly.complete as u64, fleet)?;
    }
    Ok(Assembled {
        ids,
        rejoins: assembly.rejoins,
    })
}

impl Assembly<'_> {
    fn join(&mut self, id: usize, room: &str, turn: &mut Turn<'_>) {
        turn.send(
            id,
            format_args!(r#"42{JOIN_ACK}["roomwire:join","{room}"]"#),
        );
        self.joining.insert(id, turn.now);
    }

    fn join_again(&mut self, turn: &mut Turn<'_>) {
        let Some(room) = self.room else {
            return;
        };
        let late = |sent: &Instant| turn.now.duration_since(*sent) > REJOIN_AFTER;
        let silent: Vec<usize> = self
            .joining
            .iter()
            .filter(|(_, sent)| late(sent))
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.rejoins += 1;
            self.join(id, room, turn);
        }
    }

    fn check(&self, fleet: &Fleet) -> Result<()> {
        if let Some(answer) = &self.refused {
            bail!("a join was refused: {answer}");
        }
        if self.lost > 0 {
            bail!(
                "{} connections ended early; faults: {:?}",
                self.lost,
                fleet.faults()
            );
        }
        Ok(())
    }
}

impl Observer for Assembly<'_> {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>) {
        match notice {
            Notice::Ready => match self.room {
                Some(room) => self.join(id, room, turn),
                None => self.complete += 1,
            },
            Notice::Ack(_, answer) if !accepted(answer) => self.refused = Some(answer.to_owned()),
            // A second answer, to a join that was sent again, counts no more.
            Notice::Ack(..) => self.complete += usize::from(self.joining.remove(&id).is_some()),
            Notice::Closed => self.lost += 1,
            Notice::Event(_) => {}
        }
    }
}
