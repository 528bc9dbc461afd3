//! Clients connect, join and disconnect, many times; the server's memory must not grow.
//! Half of them send a close frame, the others drop the connection.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::TICK;
use super::joins::Joins;
use super::report::with_faults;
use super::setup::WINDOW;
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Churn as Options;
use crate::procstat::{Group, Measurement};
use crate::watchdog::Watchdog;

/// How long a server may take to close the descriptors of disconnected clients.
const RELEASE: Duration = Duration::from_secs(60);
/// How long memory may settle before it is read.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Churn {
    open: usize,
    joins: Joins,
    joined: u64,
    ended: u64,
    /// Connections that ended before the join was acked.
    early: u64,
    /// By connection: whether this scenario closed it.
    closed_by_us: Vec<bool>,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    let server = options.measure.first().context("churn needs --measure")?;
    let mut fleet = Fleet::new()?;
    let mut churn = Churn::default();
    let descriptors = server.descriptors()?;
    let mut rss = vec![server.rss_kb()?];
    let measurement = Measurement::begin(&options.measure)?;
    for _ in 0..2 {
        churn.connect_and_disconnect(&mut fleet, options.server, options.count)?;
        wait_for_release(server, descriptors)?;
        sleep(SETTLE);
        rss.push(server.rss_kb()?);
    }
    let usage = measurement.end()?;
    let growth = (rss[2] as f64 - rss[1] as f64) / rss[1] as f64;
    let report = json!({
        "scenario": "churn",
        "count": options.count,
        "rss_kb_start": rss[0],
        "rss_kb_first": rss[1],
        "rss_kb_second": rss[2],
        "growth_percent": growth * 100.0,
        "cpu_us_each": usage.per_unit(churn.ended),
        "rejoins": churn.joins.retried,
        "early_ends": churn.early,
    });
    Ok(with_faults(report, &fleet))
}

/// Waits until the server has closed its descriptors.
fn wait_for_release(server: &Group, descriptors: usize) -> Result<()> {
    let deadline = Instant::now() + RELEASE;
    while server.descriptors()? > descriptors {
        if Instant::now() > deadline {
            bail!(
                "the server has {} open descriptors, {descriptors} at the start",
                server.descriptors()?
            );
        }
        sleep(TICK);
    }
    Ok(())
}

impl Churn {
    fn connect_and_disconnect(
        &mut self,
        fleet: &mut Fleet,
        target: SocketAddr,
        count: usize,
    ) -> Result<()> {
        let mut remaining = count;
        let mut watchdog = Watchdog::new("clients connect and disconnect");
        while remaining > 0 || self.open > 0 {
            while remaining > 0 && self.open < WINDOW {
                let id = fleet.open(target)?;
                self.closed_by_us
                    .resize(self.closed_by_us.len().max(id + 1), false);
                self.closed_by_us[id] = false;
                self.open += 1;
                remaining -= 1;
            }
            fleet.turn(TICK, self)?;
            fleet.act(self, |churn, turn| churn.joins.retry_overdue(turn));
            watchdog.check(self.ended, fleet)?;
        }
        Ok(())
    }
}

impl Observer for Churn {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Ready => self.joins.send(id, turn),
            ClientEvent::Ack(..) if self.joins.complete(id) => {
                self.closed_by_us[id] = true;
                self.joined += 1;
                if self.joined.is_multiple_of(2) {
                    turn.close(id);
                } else {
                    turn.cut(id);
                }
            }
            ClientEvent::Closed => {
                self.joins.complete(id);
                self.open -= 1;
                self.ended += 1;
                self.early += u64::from(!self.closed_by_us[id]);
            }
            ClientEvent::Ack(..) | ClientEvent::Event(_) | ClientEvent::Response(..) => {}
        }
    }
}
