//! Connections that are opened and kept: the rate at which they connect, and their memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::TICK;
use super::report::with_faults;
use super::setup::{Join, connect_endpoints};
use super::tokens::endpoints;
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::{Connects, Idle};
use crate::procstat::Measurement;

/// How long memory may settle (garbage collectors, allocators) before it is read.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections made and kept before memory is first read, for what a server allocates once.
const FIRST: usize = 100;

pub(crate) fn connects(options: &Connects) -> Result<Value> {
    let mut fleet = Fleet::new()?;
    // The first connections, which also cause one-time initialisation, are not measured.
    let all = endpoints(options.tokens.as_deref(), None, FIRST + options.count)?;
    let (first, measured) = all.split_at(FIRST);
    connect_endpoints(&mut fleet, options.server, first, Join::Nothing)?;
    let measurement = Measurement::begin(&options.measure)?;
    connect_endpoints(&mut fleet, options.server, measured, Join::Nothing)?;
    let usage = measurement.end()?;
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
    let all = endpoints(
        options.tokens.as_deref(),
        options.auth.as_deref(),
        FIRST + options.count,
    )?;
    let (first, measured) = all.split_at(FIRST);
    // A token puts its client into the room.
    let join = match options.tokens {
        Some(_) => Join::Nothing,
        None => Join::Shared,
    };
    connect_endpoints(&mut fleet, options.server, first, join)?;
    sleep(SETTLE);
    let before = server.rss_kb()?;
    let room = connect_endpoints(&mut fleet, options.server, measured, join)?;
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

/// Counts idle connections that end, which none must.
#[derive(Default)]
struct Watch {
    lost: u64,
}

impl Observer for Watch {
    fn on_event(&mut self, _: usize, event: ClientEvent<'_>, _: &mut Turn<'_>) {
        self.lost += u64::from(event == ClientEvent::Closed);
    }
}
