//! Brings clients up to where a scenario begins: connected to the main namespace
//! and, if wanted, in a room. Any failure here fails the run.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::joins::Joins;
use super::{TICK, accepted};
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::patience::Patience;

/// How many connections are on the way at once.
pub(crate) const WINDOW: usize = 64;

/// Clients that are up.
pub(crate) struct Assembled {
    pub(crate) ids: Vec<usize>,
    /// Joins that had to be sent again: the server lost the first.
    pub(crate) rejoins: u64,
}

#[derive(Default)]
struct Assembly {
    /// Whether clients join the room.
    to_join: bool,
    joins: Joins,
    complete: usize,
    lost: usize,
    rejected: Option<String>,
}

/// Connects `count` clients to `target` and lets them join the room if wanted.
pub(crate) fn assemble(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    to_join: bool,
) -> Result<Assembled> {
    let mut assembly = Assembly {
        to_join,
        ..Assembly::default()
    };
    let mut ids = Vec::with_capacity(count);
    let mut patience = Patience::new("clients connect and join");
    while assembly.complete < count {
        while ids.len() < count && ids.len() - assembly.complete < WINDOW {
            ids.push(fleet.open(target)?);
        }
        fleet.turn(TICK, &mut assembly)?;
        fleet.prompt(&mut assembly, |assembly, turn| {
            assembly.joins.repeat_late(turn)
        });
        assembly.check(fleet)?;
        patience.check(assembly.complete as u64, fleet)?;
    }
    Ok(Assembled {
        ids,
        rejoins: assembly.joins.repeated,
    })
}

impl Assembly {
    fn check(&self, fleet: &Fleet) -> Result<()> {
        if let Some(answer) = &self.rejected {
            bail!("a join was rejected: {answer}");
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

impl Observer for Assembly {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>) {
        match notice {
            Notice::Ready if self.to_join => self.joins.send(id, turn),
            Notice::Ready => self.complete += 1,
            Notice::Ack(_, answer) if !accepted(answer) => self.rejected = Some(answer.to_owned()),
            // A second answer, to a join that was sent again, counts no more.
            Notice::Ack(..) => self.complete += usize::from(self.joins.settle(id)),
            Notice::Closed => self.lost += 1,
            Notice::Event(_) => {}
        }
    }
}
