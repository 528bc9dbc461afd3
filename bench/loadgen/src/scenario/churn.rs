//! Clients that connect, join and go again, many times: does memory stay level?
//! Half of them say goodbye with a close frame, the other half just vanish.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::TICK;
use super::assembly::WINDOW;
use super::joins::Joins;
use super::report::with_faults;
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Churn as Options;
use crate::patience::Patience;
use crate::procstat::{Group, Stretch};

/// How long a server may take to give back the descriptors of gone clients.
const RELEASE: Duration = Duration::from_secs(60);
/// How long memory may settle before it is read.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Churn {
    open: usize,
    joins: Joins,
    joined: u64,
    ended: u64,
    /// Ends before the join was answered.
    early: u64,
    /// By connection: whether we ended it.
    dismissed: Vec<bool>,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    let server = options.measure.first().context("churn needs --measure")?;
    let mut fleet = Fleet::new()?;
    let mut churn = Churn::default();
    let descriptors = server.descriptors()?;
    let mut rss = vec![server.rss_kb()?];
    let stretch = Stretch::begin(&options.measure)?;
    for _ in 0..2 {
        churn.come_and_go(&mut fleet, options.server, options.count)?;
        wait_for_release(server, descriptors)?;
        sleep(SETTLE);
        rss.push(server.rss_kb()?);
    }
    let usage = stretch.end()?;
    let growth = (rss[2] as f64 - rss[1] as f64) / rss[1] as f64;
    let report = json!({
        "scenario": "churn",
        "count": options.count,
        "rss_kb_start": rss[0],
        "rss_kb_first": rss[1],
        "rss_kb_second": rss[2],
        "growth_percent": growth * 100.0,
        "cpu_us_each": usage.per_unit(churn.ended),
        "rejoins": churn.joins.repeated,
        "early_ends": churn.early,
    });
    Ok(with_faults(report, &fleet))
}

/// Waits until the server has closed its ends.
fn wait_for_release(server: &Group, descriptors: usize) -> Result<()> {
    let deadline = Instant::now() + RELEASE;
    while server.descriptors()? > descriptors {
        if Instant::now() > deadline {
            bail!(
                "the server keeps {} descriptors, at first it had {descriptors}",
                server.descriptors()?
            );
        }
        sleep(TICK);
    }
    Ok(())
}

impl Churn {
    fn come_and_go(&mut self, fleet: &mut Fleet, target: SocketAddr, count: usize) -> Result<()> {
        let mut to_come = count;
        let mut patience = Patience::new("clients come and go");
        while to_come > 0 || self.open > 0 {
            while to_come > 0 && self.open < WINDOW {
                let id = fleet.open(target)?;
                self.dismissed
                    .resize(self.dismissed.len().max(id + 1), false);
                self.dismissed[id] = false;
                self.open += 1;
                to_come -= 1;
            }
            fleet.turn(TICK, self)?;
            fleet.prompt(self, |churn, turn| churn.joins.repeat_late(turn));
            patience.check(self.ended, fleet)?;
        }
        Ok(())
    }
}

impl Observer for Churn {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>) {
        match notice {
            Notice::Ready => self.joins.send(id, turn),
            Notice::Ack(..) if self.joins.settle(id) => {
                self.dismissed[id] = true;
                self.joined += 1;
                if self.joined.is_multiple_of(2) {
                    turn.close(id);
                } else {
                    turn.cut(id);
                }
            }
            Notice::Closed => {
                self.joins.settle(id);
                self.open -= 1;
                self.ended += 1;
                self.early += u64::from(!self.dismissed[id]);
            }
            Notice::Ack(..) | Notice::Event(_) => {}
        }
    }
}
