//! Webhooks: clients emit at a fixed rate and receive the acks that an HTTP backend
//! decides. The backend's own latency is measured before that, with requests that are sent
//! to it directly, at the same rate: the difference is what the server adds.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::report::{Latencies, with_faults};
use super::setup::{Join, connect_clients};
use super::{TICK, WARM_UP, accepted, payload};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::http_client::Requests;
use crate::options::Webhook as Options;
use crate::pace::Pace;
use crate::procstat::{Group, Measurement, Usage};
use crate::watchdog::Watchdog;

/// How requests are sent.
enum Way {
    /// To the backend.
    Direct,
    /// As events to the server.
    Events,
}

/// Requests on some connections, each of which has at most one pending.
struct Traffic {
    way: Way,
    /// Ids of the connections.
    ids: Vec<usize>,
    /// By id: when the pending request was sent.
    sent: Vec<Option<Instant>>,
    /// Index of the connection whose turn is next.
    next: usize,
    ready: usize,
    responses: u64,
    /// Requests that were due while every connection had one pending.
    skipped: u64,
    unexpected: u64,
    rejected: u64,
    lost: u64,
    latencies: Latencies,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    let mut fleet = Fleet::new()?;
    let clients = connect_clients(&mut fleet, options.server, options.clients, Join::Nothing)?;
    let requests = Requests {
        path: "/".into(),
        headers: "".into(),
    };
    let direct_ids = (0..options.clients)
        .map(|_| fleet.open_http(options.backend, requests.clone()))
        .collect::<Result<_>>()?;
    let mut direct = Traffic::new(Way::Direct, direct_ids)?;
    direct.wait_until_ready(&mut fleet)?;
    direct.measure(options, &[], &mut fleet)?;
    let mut events = Traffic::new(Way::Events, clients.ids)?;
    let usage = events.measure(options, &options.measure, &mut fleet)?;

    let both = |get: fn(&Traffic) -> u64| get(&direct) + get(&events);
    let quantiles = |share| {
        let (own, all) = (&direct.latencies, &events.latencies);
        (own.quantile_ms(share), all.quantile_ms(share))
    };
    let ((direct_p50, p50), (direct_p99, p99)) = (quantiles(0.5), quantiles(0.99));
    let report = json!({
        "scenario": "webhook",
        "rate": options.rate,
        "seconds": usage.wall.as_secs_f64(),
        "events": events.responses,
        "cpu_us_each": usage.per_unit(events.responses),
        "per_second": events.responses as f64 / usage.wall.as_secs_f64(),
        "p50_ms": p50,
        "p99_ms": p99,
        "direct_p50_ms": direct_p50,
        "direct_p99_ms": direct_p99,
        "added_p50_ms": p50 - direct_p50,
        "added_p99_ms": p99 - direct_p99,
        "foreign_cores": usage.foreign_cores,
        "skipped": both(|it| it.skipped),
        "unexpected": both(|it| it.unexpected),
        "rejected": both(|it| it.rejected),
        "lost": both(|it| it.lost),
    });
    Ok(with_faults(report, &fleet))
}

impl Traffic {
    fn new(way: Way, ids: Vec<usize>) -> Result<Self> {
        let count = ids.iter().max().map_or(0, |last| last + 1);
        Ok(Self {
            way,
            ids,
            sent: vec![None; count],
            next: 0,
            ready: 0,
            responses: 0,
            skipped: 0,
            unexpected: 0,
            rejected: 0,
            lost: 0,
            latencies: Latencies::new()?,
        })
    }

    fn wait_until_ready(&mut self, fleet: &mut Fleet) -> Result<()> {
        let mut watchdog = Watchdog::new("connecting to the backend");
        while self.ready < self.ids.len() {
            fleet.turn(TICK, self)?;
            watchdog.check(self.ready as u64, fleet)?;
        }
        Ok(())
    }

    /// Sends requests, first unmeasured, then for the configured time.
    fn measure(&mut self, options: &Options, groups: &[Group], fleet: &mut Fleet) -> Result<Usage> {
        self.send_for(options.seconds * WARM_UP, options.rate, fleet)?;
        self.latencies.clear();
        self.responses = 0;
        self.skipped = 0;
        let measurement = Measurement::begin(groups)?;
        self.send_for(options.seconds, options.rate, fleet)?;
        measurement.end()
    }

    fn send_for(&mut self, seconds: f64, rate: f64, fleet: &mut Fleet) -> Result<()> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let mut pace = Pace::new(rate);
        let mut watchdog = Watchdog::new("waiting for responses");
        loop {
            let now = Instant::now();
            let is_over = now >= until;
            if is_over && self.sent.iter().all(Option::is_none) {
                return Ok(());
            }
            if !is_over {
                let due = pace.take(now);
                fleet.act(self, |traffic, turn| {
                    (0..due).for_each(|_| traffic.send(turn));
                });
            }
            let wait = if is_over { TICK } else { pace.wait() };
            fleet.turn(wait, self)?;
            watchdog.check(self.responses, fleet)?;
        }
    }

    /// Sends a request on the next connection without a pending one.
    fn send(&mut self, turn: &mut Turn<'_>) {
        let count = self.ids.len();
        let free = (0..count)
            .map(|offset| (self.next + offset) % count)
            .find(|at| self.sent[self.ids[*at]].is_none());
        let Some(at) = free else {
            self.skipped += 1;
            return;
        };
        let id = self.ids[at];
        self.next = (at + 1) % count;
        self.sent[id] = Some(turn.now);
        let payload = payload(self.responses);
        match self.way {
            Way::Events => turn.send(id, format_args!(r#"421["ask","{payload}"]"#)),
            // As long as a request of Roomwire.
            Way::Direct => turn.send(
                id,
                format_args!(
                    r#"{{"id":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W","type":"event","timestamp":"2026-01-01T00:00:00.000Z","node":"Ab12","data":{{"socket":"Ab12aBcDeFgHiJkLmNoP","namespace":"/","event":"ask","args":["{payload}"],"attachments":[],"ack":true}}}}"#
                ),
            ),
        }
    }

    fn responded(&mut self, id: usize, is_accepted: bool, now: Instant) {
        let Some(sent) = self.sent.get_mut(id).and_then(Option::take) else {
            self.unexpected += 1;
            return;
        };
        self.responses += 1;
        self.rejected += u64::from(!is_accepted);
        self.latencies.record(now.duration_since(sent));
    }
}

impl Observer for Traffic {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            ClientEvent::Ready => self.ready += 1,
            ClientEvent::Ack(_, arguments) => self.responded(id, accepted(arguments), turn.now),
            ClientEvent::Response(status, body) => {
                self.responded(id, status == 200 && accepted(body), turn.now);
            }
            ClientEvent::Event(_) => self.unexpected += 1,
            ClientEvent::Closed => self.lost += 1,
        }
    }
}
