//! Connections that are opened and kept: how fast they come, what they hold in memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::TICK;
use super::assembly::assemble;
use super::report::with_faults;
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::{Connects, Idle};
use crate::procstat::Stretch;

/// How long memory may settle (garbage collectors, allocators) before it is read.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections made and kept before memory is first read: what a server sets up once.
const FIRST: usize = 100;

pub(crate) fn connects(options: &Connects) -> Result<Value> {
    let mut fleet = Fleet::new()?;
    // Code and buffers that only the first connections need are not measured.
    assemble(&mut fleet, options.server, FIRST, false)?;
    let stretch = Stretch::begin(&options.measure)?;
    assemble(&mut fleet, options.server, options.count, false)?;
    let usage = stretch.end()?;
    let report = json!({
        "scenario": "connects",
        "count": options.count,
        "seconds": usage.wall.as_secs_f64(),
        "cpu_us_each": usage.per_unit(options.count as u64),
        "per_second": options.count as f64 / usage.wall.as_secs_f64(),
        "foreign_cores": usage.foreign_cores,
    });
    Ok(with_faults(report, &fleet))
}

pub(crate) fn idle(options: &Idle) -> Result<Value> {
    let server = options.measure.first().context("idle needs --measure")?;
    let mut fleet = Fleet::new()?;
    assemble(&mut fleet, options.server, FIRST, true)?;
    sleep(SETTLE);
    let before = server.rss_kb()?;
    let room = assemble(&mut fleet, options.server, options.count, true)?;
    let mut watch = Watch::default();
    let settled = Instant::now() + SETTLE;
    while Instant::now() < settled {
        fleet.turn(TICK, &mut watch)?;
    }
    let after = server.rss_kb()?;
    let report = json!({
        "scenario": "idle",
        "count": options.count,
        "rss_kb_before": before,
        "rss_kb_after": after,
        "rss_kb_each": (after as f64 - before as f64) / options.count as f64,
        "rejoins": room.rejoins,
        "lost": watch.lost,
    });
    Ok(with_faults(report, &fleet))
}

/// Idle connections must stay, that is all.
#[derive(Default)]
struct Watch {
    lost: u64,
}

impl Observer for Watch {
    fn notice(&mut self, _: usize, notice: Notice<'_>, _: &mut Turn<'_>) {
        self.lost += u64::from(notice == Notice::Closed);
    }
}
