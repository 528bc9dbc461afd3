//! Sockets that sign in and join: the CPU for that, and the CPU and memory to keep them
//! connected with the heartbeats that a browser sends.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::super::TICK;
use super::super::report::with_faults;
use super::sign_in::sign_in;
use super::{Tokens, raw};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Joined as Options;
use crate::procstat::{Group, Measurement};
use crate::watchdog::Watchdog;

/// Sockets made and kept before anything is measured, for what a server allocates once.
const FIRST: usize = 50;
/// How long memory may settle before it is read.
const SETTLE: Duration = Duration::from_secs(3);
/// How often a browser sends its heartbeat, by default.
const BEAT: Duration = Duration::from_secs(30);
const BEAT_ACK: u32 = 2;

pub(crate) fn run(options: &Options) -> Result<Value> {
    let tokens = Tokens::read(&options.tokens)?;
    let mut fleet = Fleet::new()?;
    let idle = Measurement::begin(&options.measure)?;
    sleep(Duration::from_secs_f64(options.idle));
    let idle = idle.end()?;

    let first = sign_in(&mut fleet, options.server, FIRST, &tokens.warm_up, None)?;
    let mut held = Held::new(first);
    held.hold(SETTLE, &mut fleet)?;
    let rss_before = memory(&options.measure)?;

    let joining = Measurement::begin(&options.measure)?;
    let ids = sign_in(
        &mut fleet,
        options.server,
        options.count,
        &tokens.measured,
        None,
    )?;
    let joining = joining.end()?;
    held.ids.extend(ids);
    held.hold(SETTLE, &mut fleet)?;

    let holding = Measurement::begin(&options.measure)?;
    held.hold(Duration::from_secs_f64(options.hold), &mut fleet)?;
    let holding = holding.end()?;
    let rss_after = memory(&options.measure)?;
    ensure!(held.lost == 0, "{} sockets ended", held.lost);

    let report = json!({
        "scenario": "joined",
        "count": options.count,
        "held": held.ids.len(),
        "idle": raw(&idle),
        "joining": raw(&joining),
        "holding": raw(&holding),
        "heartbeats": held.beats,
        "rss_kb_before": rss_before,
        "rss_kb_after": rss_after,
        "foreign_cores": joining.foreign_cores.max(holding.foreign_cores),
    });
    Ok(with_faults(report, &fleet))
}

fn memory(groups: &[Group]) -> Result<Value> {
    let each = groups
        .iter()
        .map(|group| Ok((group.name.clone(), json!(group.rss_kb()?))));
    let each = each.collect::<Result<Map<_, _>>>();
    each.context("memory of the measured processes")
        .map(Value::Object)
}

/// Sockets that stay connected.
struct Held {
    ids: Vec<usize>,
    /// Index of the next socket to send its heartbeat.
    next: usize,
    /// Heartbeats that were acked.
    beats: u64,
    open: u64,
    lost: usize,
}

impl Held {
    fn new(ids: Vec<usize>) -> Self {
        Self {
            ids,
            next: 0,
            beats: 0,
            open: 0,
            lost: 0,
        }
    }

    /// Sends heartbeats for `time`, evenly spread over the sockets, and waits for their acks.
    fn hold(&mut self, time: Duration, fleet: &mut Fleet) -> Result<()> {
        let began = Instant::now();
        let mut sent = 0;
        let mut watchdog = Watchdog::new("waiting for the acks of heartbeats");
        loop {
            let passed = began.elapsed().min(time);
            let due = self.ids.len() as f64 * passed.as_secs_f64() / BEAT.as_secs_f64();
            let due = due as u64 - sent;
            sent += due;
            fleet.act(self, |held, turn| held.beat(due, turn));
            if passed == time && self.open == 0 {
                return Ok(());
            }
            fleet.turn(TICK, self)?;
            watchdog.check(
                self.beats + began.elapsed().as_secs().min(time.as_secs()),
                fleet,
            )?;
        }
    }

    fn beat(&mut self, times: u64, turn: &mut Turn<'_>) {
        for _ in 0..times {
            let id = self.ids[self.next % self.ids.len()];
            self.next += 1;
            self.open += 1;
            turn.send(id, format_args!(r#"42{BEAT_ACK}["heartbeat",{{}}]"#));
        }
    }
}

impl Observer for Held {
    fn on_event(&mut self, _: usize, event: ClientEvent<'_>, _: &mut Turn<'_>) {
        match event {
            ClientEvent::Ack(BEAT_ACK, "[]") => {
                self.beats += 1;
                self.open = self.open.saturating_sub(1);
            }
            ClientEvent::Closed => self.lost += 1,
            _ => {}
        }
    }
}
