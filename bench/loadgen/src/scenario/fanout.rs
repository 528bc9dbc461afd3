//! Fan-out: a publisher outside the room, a closed loop of bursts to members of one or several kinds.
//! Each delivery is compared with the messages that the member has not yet received.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::probe::{is_probe, probe};
use super::publisher::Publisher;
use super::report::{Latencies, with_faults};
use super::setup::{Join, connect_clients, connect_endpoints};
use super::{JOIN_ACK, TICK, accepted, document, payload};
use crate::client::{ClientEvent, Endpoint};
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Fanout as Options;
use crate::procstat::Measurement;
use crate::watchdog::Watchdog;

struct Fanout {
    publisher: Publisher,
    members: usize,
    /// Size of a document; `None`: a short text.
    document: Option<usize>,
    burst: usize,
    /// The number of the first broadcast of the current burst.
    first: u64,
    /// The events that members must receive for the current burst, in order.
    texts: Vec<String>,
    sent: Instant,
    /// By connection: which broadcasts of the burst it has received, one bit each.
    received: Vec<u64>,
    deliveries_open: usize,
    acks_open: usize,
    /// No burst is sent after this time.
    until: Instant,
    deliveries: u64,
    /// Deliveries that overtook one sent earlier.
    reordered: u64,
    /// Deliveries of another text than those sent, or duplicates.
    unexpected: u64,
    rejected: u64,
    lost: u64,
    latencies: Latencies,
}

/// One bit of a `u64` for each broadcast of a burst.
const LARGEST_BURST: usize = 64;

pub(crate) fn run(options: &Options) -> Result<Value> {
    let burst_fits = (1..=LARGEST_BURST).contains(&options.burst);
    ensure!(burst_fits, "a burst has 1 to {LARGEST_BURST} broadcasts");
    let mut fleet = Fleet::new()?;
    let mut publisher = publisher(options, &mut fleet)?;
    let endpoints = endpoints(options);
    let room = connect_endpoints(&mut fleet, options.server, &endpoints, Join::Shared)?;
    let probes = probe(&mut fleet, &mut publisher, &room.ids)?;
    let mut fanout = Fanout::new(options, publisher)?;

    fanout.broadcast_for(options.seconds / 5.0, &mut fleet)?;
    fanout.latencies.clear();
    let (deliveries, reads, broadcasts) = (fanout.deliveries, fleet.reads(), fanout.first);
    let measurement = Measurement::begin(&options.measure)?;
    fanout.broadcast_for(options.seconds, &mut fleet)?;
    let usage = measurement.end()?;

    let deliveries = fanout.deliveries - deliveries;
    let report = json!({
        "scenario": "fanout",
        "members": options.members,
        "burst": options.burst,
        "seconds": usage.wall.as_secs_f64(),
        "broadcasts": fanout.first - broadcasts,
        "deliveries": deliveries,
        "cpu_us_each": usage.per_unit(deliveries),
        "per_second": deliveries as f64 / usage.wall.as_secs_f64(),
        "p50_ms": fanout.latencies.quantile_ms(0.5),
        "p99_ms": fanout.latencies.quantile_ms(0.99),
        "reads_each": (fleet.reads() - reads) as f64 / deliveries.max(1) as f64,
        "foreign_cores": usage.foreign_cores,
        "rejoins": room.rejoins,
        "probes": probes,
        "reordered": fanout.reordered,
        "unexpected": fanout.unexpected,
        "rejected": fanout.rejected,
        "lost": fanout.lost,
    });
    Ok(with_faults(report, &fleet))
}

fn publisher(options: &Options, fleet: &mut Fleet) -> Result<Publisher> {
    if !options.publisher.is_empty() {
        return Publisher::start(&options.publisher);
    }
    let publish_at = options.publish_at.unwrap_or(options.server);
    let client = connect_clients(fleet, publish_at, 1, Join::Nothing)?.ids[0];
    Ok(Publisher::Client(client))
}

/// One for each member.
fn endpoints(options: &Options) -> Vec<Endpoint> {
    let mut endpoints = vec![Endpoint::default(); options.members];
    if let Some(mix) = &options.mix {
        for (endpoint, kind) in endpoints.iter_mut().zip(mix.kinds(options.members)) {
            endpoint.kind = kind;
        }
    }
    endpoints
}

impl Fanout {
    fn new(options: &Options, publisher: Publisher) -> Result<Self> {
        Ok(Self {
            publisher,
            members: options.members,
            document: options.document,
            burst: options.burst,
            first: 0,
            texts: Vec::new(),
            sent: Instant::now(),
            received: vec![0; options.members + 1],
            deliveries_open: 0,
            acks_open: 0,
            until: Instant::now(),
            deliveries: 0,
            reordered: 0,
            unexpected: 0,
            rejected: 0,
            lost: 0,
            latencies: Latencies::new()?,
        })
    }

    /// Broadcasts for `seconds`, at least one burst, and waits for the last one to complete.
    fn broadcast_for(&mut self, seconds: f64, fleet: &mut Fleet) -> Result<()> {
        self.until = Instant::now() + Duration::from_secs_f64(seconds);
        fleet.act(self, Self::send_burst);
        let mut watchdog = Watchdog::new("broadcasts are delivered");
        while self.is_open() {
            fleet.turn(TICK, self)?;
            watchdog.check(self.deliveries, fleet)?;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.deliveries_open > 0 || self.acks_open > 0
    }

    fn send_burst(&mut self, turn: &mut Turn<'_>) {
        self.received.fill(0);
        let numbers = self.first..self.first + self.burst as u64;
        let argument = |number| match self.document {
            Some(bytes) => document(number, bytes),
            None => format!(r#""{}""#, payload(number)),
        };
        let arguments: Vec<_> = numbers.map(argument).collect();
        let texts = arguments.iter();
        self.texts = texts.map(|it| format!(r#"["b",{it}]"#)).collect();
        self.deliveries_open = self.burst * self.members;
        self.acks_open = self.publisher.publish(self.first, &arguments, turn);
        self.sent = Instant::now();
    }

    fn delivered(&mut self, id: usize, event: &str, turn: &Turn<'_>) {
        let received = self.received[id];
        let due = received.trailing_ones() as usize;
        let missing = |at: &usize| received >> at & 1 == 0 && self.texts[*at] == event;
        let found = if self.texts.get(due).is_some_and(|text| text == event) {
            due
        } else if let Some(at) = (0..self.texts.len()).find(missing) {
            self.reordered += 1;
            at
        } else {
            self.unexpected += 1;
            return;
        };
        self.received[id] |= 1 << found;
        self.deliveries += 1;
        self.deliveries_open -= 1;
        self.latencies.record(turn.now.duration_since(self.sent));
    }
}

impl Observer for Fanout {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Event(event) if is_probe(event) => return,
            ClientEvent::Ack(JOIN_ACK, _) | ClientEvent::Ready | ClientEvent::Response(..) => {
                return;
            }
            ClientEvent::Event(event) => self.delivered(id, event, turn),
            ClientEvent::Ack(_, arguments) => {
                self.acks_open = self.acks_open.saturating_sub(1);
                self.rejected += u64::from(!accepted(arguments));
            }
            ClientEvent::Closed => self.lost += 1,
        }
        if self.is_open() {
            return;
        }
        self.first += self.burst as u64;
        if turn.now < self.until {
            self.send_burst(turn);
        }
    }
}
