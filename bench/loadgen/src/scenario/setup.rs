//! Brings clients to the state in which a scenario begins: connected to the main
//! namespace and, if requested, in the room. Any failure fails the run.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::joins::Joins;
use super::{TICK, accepted};
use crate::client::{ClientEvent, Endpoint};
use crate::fleet::{Fleet, Observer, Turn};
use crate::watchdog::Watchdog;

/// Connections that are set up at the same time.
pub(crate) const WINDOW: usize = 64;

/// Clients that are connected, and have joined if requested.
pub(crate) struct ConnectedClients {
    pub(crate) ids: Vec<usize>,
    /// Joins that were retried, since the server did not ack the first.
    pub(crate) rejoins: u64,
}

/// What clients do once they are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Join {
    #[default]
    Nothing,
    /// Join the room that all share.
    Shared,
    /// Join a room of their own.
    Own,
}

#[derive(Default)]
struct Setup {
    join: Join,
    joins: Joins,
    complete: usize,
    lost: usize,
    rejected: Option<String>,
}

/// Connects `count` clients to `target`, without credentials.
pub(crate) fn connect_clients(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    join: Join,
) -> Result<ConnectedClients> {
    connect_endpoints(fleet, target, &vec![Endpoint::default(); count], join)
}

/// Connects a client to each of `endpoints` at `target`.
pub(crate) fn connect_endpoints(
    fleet: &mut Fleet,
    target: SocketAddr,
    endpoints: &[Endpoint],
    join: Join,
) -> Result<ConnectedClients> {
    let count = endpoints.len();
    let mut setup = Setup {
        join,
        ..Setup::default()
    };
    setup.joins.to_own = join == Join::Own;
    let mut ids = Vec::with_capacity(count);
    let mut watchdog = Watchdog::new("clients connect and join");
    while setup.complete < count {
        while ids.len() < count && ids.len() - setup.complete < WINDOW {
            ids.push(fleet.open_endpoint(target, endpoints[ids.len()].clone())?);
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
            ClientEvent::Ready if self.join == Join::Nothing => self.complete += 1,
            ClientEvent::Ready => self.joins.send(id, turn),
            ClientEvent::Ack(_, arguments) if !accepted(arguments) => {
                self.rejected = Some(arguments.to_owned())
            }
            // The second ack of a retried join is not counted.
            ClientEvent::Ack(..) => self.complete += usize::from(self.joins.complete(id)),
            ClientEvent::Closed => self.lost += 1,
            ClientEvent::Event(_) | ClientEvent::Response(..) => {}
        }
    }
}
