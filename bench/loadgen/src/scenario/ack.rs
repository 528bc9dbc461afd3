//! Ack round trips: every client emits to an empty room of its own and sends the next
//! emit when the ack of the previous one arrives.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::report::{Latencies, with_faults};
use super::setup::{Join, connect_clients};
use super::{TICK, accepted, payload};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Ack as Options;
use crate::procstat::Measurement;
use crate::watchdog::Watchdog;

struct Ack {
    /// By client: the id of the pending ack, and when its emit was sent.
    due: Vec<(u32, Instant)>,
    /// Clients with a pending ack.
    open: usize,
    until: Instant,
    payload: String,
    round_trips: u64,
    unexpected: u64,
    rejected: u64,
    lost: u64,
    latencies: Latencies,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    let mut fleet = Fleet::new()?;
    connect_clients(&mut fleet, options.server, options.clients, Join::Nothing)?;
    let mut ack = Ack {
        due: vec![(0, Instant::now()); options.clients],
        open: 0,
        until: Instant::now(),
        payload: payload(0),
        round_trips: 0,
        unexpected: 0,
        rejected: 0,
        lost: 0,
        latencies: Latencies::new()?,
    };

    ack.emit_for(options.seconds / 5.0, &mut fleet)?;
    ack.latencies.clear();
    let before = ack.round_trips;
    let measurement = Measurement::begin(&options.measure)?;
    ack.emit_for(options.seconds, &mut fleet)?;
    let usage = measurement.end()?;

    let round_trips = ack.round_trips - before;
    let report = json!({
        "scenario": "ack",
        "clients": options.clients,
        "seconds": usage.wall.as_secs_f64(),
        "round_trips": round_trips,
        "cpu_us_each": usage.per_unit(round_trips),
        "per_second": round_trips as f64 / usage.wall.as_secs_f64(),
        "p50_ms": ack.latencies.quantile_ms(0.5),
        "p99_ms": ack.latencies.quantile_ms(0.99),
        "foreign_cores": usage.foreign_cores,
        "unexpected": ack.unexpected,
        "rejected": ack.rejected,
        "lost": ack.lost,
    });
    Ok(with_faults(report, &fleet))
}

impl Ack {
    fn emit_for(&mut self, seconds: f64, fleet: &mut Fleet) -> Result<()> {
        self.until = Instant::now() + Duration::from_secs_f64(seconds);
        fleet.act(self, |ack, turn| {
            (0..ack.due.len()).for_each(|id| ack.emit(id, turn))
        });
        let mut watchdog = Watchdog::new("waiting for acks");
        while self.open > 0 {
            fleet.turn(TICK, self)?;
            watchdog.check(self.round_trips, fleet)?;
        }
        Ok(())
    }

    fn emit(&mut self, id: usize, turn: &mut Turn<'_>) {
        let ack = self.due[id].0 + 1;
        let payload = &self.payload;
        turn.send(
            id,
            format_args!(r#"42{ack}["roomwire:emit","own-{id}","b","{payload}"]"#),
        );
        self.due[id] = (ack, turn.now);
        self.open += 1;
    }
}

impl Observer for Ack {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Ack(ack, arguments) if ack == self.due[id].0 => {
                self.round_trips += 1;
                self.open -= 1;
                self.rejected += u64::from(!accepted(arguments));
                self.latencies
                    .record(turn.now.duration_since(self.due[id].1));
                if turn.now < self.until {
                    self.emit(id, turn);
                }
            }
            ClientEvent::Ack(..) | ClientEvent::Event(_) => self.unexpected += 1,
            ClientEvent::Closed => self.lost += 1,
            ClientEvent::Ready | ClientEvent::Response(..) => {}
        }
    }
}
