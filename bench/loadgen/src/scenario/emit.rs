//! The HTTP API: requests on several connections, a closed loop on each. Every emit must
//! arrive exactly once at the one client in its room.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::joins::Room;
use super::report::{Latencies, with_faults};
use super::setup::{Join, connect_clients};
use super::{TICK, WARM_UP, payload};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::http_client::Requests;
use crate::options::Emit as Options;
use crate::procstat::Measurement;
use crate::watchdog::Watchdog;

/// Where the number of an emit is in its event, `["b","0123456789abcdef…"]`.
const NUMBER: std::ops::Range<usize> = 6..22;

/// A request that waits for its response.
#[derive(Clone, Copy)]
struct Pending {
    /// The number of its first emit.
    first: u64,
    sent: Instant,
}

struct Emit {
    /// The ids of clients are below this number, those of HTTP connections are not.
    clients: usize,
    batch: usize,
    /// By HTTP connection.
    pending: Vec<Option<Pending>>,
    /// The number of the next emit.
    next: u64,
    /// By number: whether the emit has arrived.
    arrived: Vec<bool>,
    /// Emits that have not arrived yet.
    deliveries_open: u64,
    requests: u64,
    deliveries: u64,
    until: Instant,
    unexpected: u64,
    rejected: u64,
    lost: u64,
    first_rejection: Option<String>,
    latencies: Latencies,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    let mut fleet = Fleet::new()?;
    let clients = connect_clients(&mut fleet, options.server, options.clients, Join::Own)?;
    let mut emit = Emit::new(options)?;
    emit.open(options.api, &options.key, &mut fleet)?;

    emit.request_for(options.seconds * WARM_UP, &mut fleet)?;
    emit.latencies.clear();
    let (requests, deliveries) = (emit.requests, emit.deliveries);
    let measurement = Measurement::begin(&options.measure)?;
    emit.request_for(options.seconds, &mut fleet)?;
    let usage = measurement.end()?;

    let (requests, emits) = (emit.requests - requests, emit.deliveries - deliveries);
    let mut report = json!({
        "scenario": "emit",
        "batch": options.batch,
        "seconds": usage.wall.as_secs_f64(),
        "requests": requests,
        "emits": emits,
        "cpu_us_each": usage.per_unit(emits),
        "per_second": emits as f64 / usage.wall.as_secs_f64(),
        "p50_ms": emit.latencies.quantile_ms(0.5),
        "p99_ms": emit.latencies.quantile_ms(0.99),
        "foreign_cores": usage.foreign_cores,
        "rejoins": clients.rejoins,
        "unexpected": emit.unexpected,
        "rejected": emit.rejected,
        "lost": emit.lost,
    });
    if let Some(rejection) = &emit.first_rejection {
        report["first_rejection"] = json!(rejection);
    }
    Ok(with_faults(report, &fleet))
}

impl Emit {
    fn new(options: &Options) -> Result<Self> {
        ensure!(options.batch > 0, "a batch has at least one emit");
        Ok(Self {
            clients: options.clients,
            batch: options.batch,
            pending: vec![None; options.connections],
            next: 0,
            arrived: Vec::new(),
            deliveries_open: 0,
            requests: 0,
            deliveries: 0,
            until: Instant::now(),
            unexpected: 0,
            rejected: 0,
            lost: 0,
            first_rejection: None,
            latencies: Latencies::new()?,
        })
    }

    /// Opens the HTTP connections; each sends its first request when it is connected.
    fn open(&mut self, api: SocketAddr, key: &str, fleet: &mut Fleet) -> Result<()> {
        let verb = if self.batch == 1 { "emit" } else { "batch" };
        let requests = Requests {
            path: format!("/api/v1/{verb}").into(),
            headers: format!("Authorization: Bearer {key}\r\n").into(),
        };
        for number in 0..self.pending.len() {
            let id = fleet.open_http(api, requests.clone())?;
            ensure!(id == self.clients + number, "a client was disconnected");
        }
        Ok(())
    }

    /// Sends requests for `seconds`, and waits until every emit has arrived.
    fn request_for(&mut self, seconds: f64, fleet: &mut Fleet) -> Result<()> {
        let is_first = self.next == 0;
        self.until = Instant::now() + Duration::from_secs_f64(seconds);
        if !is_first {
            let all = self.clients..self.clients + self.pending.len();
            fleet.act(self, |emit, turn| all.for_each(|id| emit.request(id, turn)));
        }
        let mut watchdog = Watchdog::new("emits are delivered");
        while Instant::now() < self.until || self.is_open() {
            fleet.turn(TICK, self)?;
            watchdog.check(self.requests + self.deliveries, fleet)?;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.deliveries_open > 0 || self.pending.iter().any(Option::is_some)
    }

    fn request(&mut self, id: usize, turn: &mut Turn<'_>) {
        let first = self.next;
        self.next += self.batch as u64;
        self.deliveries_open += self.batch as u64;
        self.arrived.resize(self.next as usize, false);
        self.pending[id - self.clients] = Some(Pending {
            first,
            sent: turn.now,
        });
        if self.batch == 1 {
            turn.send(id, format_args!("{}", self.emit(first)));
            return;
        }
        let items = (first..self.next).map(|number| format!(r#"{{"emit":{}}}"#, self.emit(number)));
        let items = items.collect::<Vec<_>>().join(",");
        turn.send(id, format_args!(r#"{{"items":[{items}]}}"#));
    }

    fn emit(&self, number: u64) -> String {
        let room = Room::Own(self.receiver(number));
        let payload = payload(number);
        format!(r#"{{"rooms":["{room}"],"event":"b","args":["{payload}"]}}"#)
    }

    /// The client that receives an emit.
    fn receiver(&self, number: u64) -> usize {
        (number % self.clients as u64) as usize
    }

    fn responded(&mut self, id: usize, status: u16, body: &str, turn: &mut Turn<'_>) {
        let Some(pending) = self.pending[id - self.clients].take() else {
            self.unexpected += 1;
            return;
        };
        self.requests += 1;
        self.latencies.record(turn.now.duration_since(pending.sent));
        // Errors of items are in the response to the batch.
        if status != 200 || body.contains(r#""error""#) {
            self.rejected += 1;
            self.first_rejection
                .get_or_insert_with(|| format!("{status} {body:.200}"));
            let numbers = pending.first..pending.first + self.batch as u64;
            numbers.for_each(|number| self.arrive(number));
        }
        if turn.now < self.until {
            self.request(id, turn);
        }
    }

    fn delivered(&mut self, id: usize, event: &str) {
        let number = event.get(NUMBER).map(|it| u64::from_str_radix(it, 16));
        let Some(Ok(number)) = number else {
            self.unexpected += 1;
            return;
        };
        let is_due = self.arrived.get(number as usize) == Some(&false);
        let is_right = self.receiver(number) == id
            && event
                .strip_prefix(r#"["b",""#)
                .is_some_and(|rest| rest.strip_suffix(r#""]"#) == Some(&payload(number)));
        if !is_due || !is_right {
            self.unexpected += 1;
            return;
        }
        self.deliveries += 1;
        self.arrive(number);
    }

    /// Counts an emit as delivered, or as one that will not be.
    fn arrive(&mut self, number: u64) {
        if !std::mem::replace(&mut self.arrived[number as usize], true) {
            self.deliveries_open -= 1;
        }
    }
}

impl Observer for Emit {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Ready => self.request(id, turn),
            ClientEvent::Event(event) => self.delivered(id, event),
            ClientEvent::Response(status, body) => self.responded(id, status, body, turn),
            ClientEvent::Ack(..) => self.unexpected += 1,
            ClientEvent::Closed => self.lost += 1,
        }
    }
}
