//! Brings clients to the state in which a scenario begins: connected to the main
//! namespace and, if requested, in the room. Any failure fails the run.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::joins::Joins;
use super::{TICK, accepted};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::watchdog::Watchdog;

/// Connections that are set up at the same time.
pub(crate) const WINDOW: usize = 64;

/// Clients that are connected, and joined if requested.
pub(crate) struct ConnectedClients {
    pub(crate) ids: Vec<usize>,
    /// Joins that were retried, since the server did not ack the first.
    pub(crate) rejoins: u64,
}

#[derive(Default)]
struct Setup {
    /// Whether clients join the room.
    to_join: bool,
    joins: Joins,
    complete: usize,
    lost: usize,
    rejected: Option<String>,
}

/// Connects `count` clients to `target`; they join the room if `to_join` is set.
pub(crate) fn connect_clients(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    to_join: bool,
) -> Result<ConnectedClients> {
    let mut setup = Setup {
        to_join,
        ..Setup::default()
    };
    let mut ids = Vec::with_capacity(count);
    let mut watchdog = Watchdog::new("clients connect and join");
    while setup.complete < count {
        while ids.len() < count && ids.len() - setup.complete < WINDOW {
            ids.push(fleet.open(target)?);
        }
        fleet.turn(TICK, &mut setup)?;
        fleet.act(&mut setup, |setup, turn| setup.joins.retry_overdue(turn));
        setup.check(fleet)?;
        watchdog.check(setup.complete as u64, fleet)?;
    }
    Ok(ConnectedClients {
        ids,
        rejoins: setup.joins.retried,
    })
}

impl Setup {
    fn check(&self, fleet: &Fleet) -> Result<()> {
        if let Some(arguments) = &self.rejected {
            bail!("a join was rejected: {arguments}");
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

impl Observer for Setup {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Ready if self.to_join => self.joins.send(id, turn),
            ClientEvent::Ready => self.complete += 1,
            ClientEvent::Ack(_, arguments) if !accepted(arguments) => {
                self.rejected = Some(arguments.to_owned())
            }
            // The second ack of a retried join is not counted.
            ClientEvent::Ack(..) => self.complete += usize::from(self.joins.complete(id)),
            ClientEvent::Closed => self.lost += 1,
            ClientEvent::Event(_) => {}
        }
    }
}
