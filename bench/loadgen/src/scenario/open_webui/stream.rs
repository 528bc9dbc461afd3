//! A stream of tokens: a separate process publishes events at a fixed rate, as a backend
//! does, and every socket must receive each of them once and in order.

use std::io::Write;
use std::process::Child;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::TICK;
use super::super::publisher::spawn;
use super::super::report::{Latencies, with_faults};
use super::sign_in::sign_in;
use super::{Tokens, raw};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Stream as Options;
use crate::procstat::Measurement;
use crate::watchdog::Watchdog;

/// Six digits, a space, microseconds since 1970, a space.
const TOKEN: usize = 24;
const DIGITS: usize = 6;

pub(crate) fn run(options: &Options) -> Result<Value> {
    let tokens = Tokens::read(&options.tokens)?;
    let mut fleet = Fleet::new()?;
    let chat = options.chat.as_deref();
    let ids = sign_in(
        &mut fleet,
        options.server,
        options.members,
        &tokens.measured,
        chat,
    )?;
    let mut stream = Stream::new(&options.event, ids.iter().max().map_or(0, |last| last + 1))?;
    stream.members = ids.len() as u64;
    let mut publisher = Publisher::start(&options.publisher)?;

    publisher.publish(options.events / 10)?;
    stream.receive(options.events / 10, &mut fleet)?;
    stream.latencies.clear();
    let (deliveries, reads) = (stream.deliveries, fleet.reads());
    let measurement = Measurement::begin(&options.measure)?;
    publisher.publish(options.events)?;
    stream.receive(options.events, &mut fleet)?;
    let usage = measurement.end()?;

    let deliveries = stream.deliveries - deliveries;
    let report = json!({
        "scenario": "stream",
        "members": options.members,
        "events": options.events,
        "deliveries": deliveries,
        "usage": raw(&usage),
        "cpu_us_each": usage.per_unit(deliveries),
        "per_second": deliveries as f64 / usage.wall.as_secs_f64(),
        "p50_ms": stream.latencies.quantile_ms(0.5),
        "p99_ms": stream.latencies.quantile_ms(0.99),
        "reads_each": (fleet.reads() - reads) as f64 / deliveries.max(1) as f64,
        "foreign_cores": usage.foreign_cores,
        "reordered": stream.reordered,
        "unexpected": stream.unexpected,
        "lost": stream.lost,
    });
    Ok(with_faults(report, &fleet))
}

/// The publishing process. As a child of this one, its CPU is not counted as foreign.
struct Publisher(Child);

impl Publisher {
    fn start(command: &[String]) -> Result<Self> {
        spawn(command).map(Self)
    }

    fn publish(&mut self, events: u64) -> Result<()> {
        let input = self
            .0
            .stdin
            .as_mut()
            .context("the publisher has no input")?;
        writeln!(input, "{events}").context("the publisher is gone")
    }
}

impl Drop for Publisher {
    /// The process ends by itself at the end of its input; a failed run does not wait for that.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Stream<'a> {
    before: &'a str,
    after: &'a str,
    members: u64,
    /// By connection: the number of the next event.
    due: Vec<u64>,
    expected: u64,
    deliveries: u64,
    /// Deliveries with another number than the next one.
    reordered: u64,
    /// Events that are neither part of the stream nor presence of other sockets.
    unexpected: u64,
    lost: u64,
    latencies: Latencies,
}

impl<'a> Stream<'a> {
    fn new(event: &'a str, connections: usize) -> Result<Self> {
        let (before, after) = event
            .split_once("{token}")
            .context("the event has no {token}")?;
        Ok(Self {
            before,
            after,
            members: 0,
            due: vec![0; connections],
            expected: 0,
            deliveries: 0,
            reordered: 0,
            unexpected: 0,
            lost: 0,
            latencies: Latencies::new()?,
        })
    }

    /// Waits until all sockets have received `events` more.
    fn receive(&mut self, events: u64, fleet: &mut Fleet) -> Result<()> {
        self.expected += events * self.members;
        let mut watchdog = Watchdog::new("events are delivered");
        while self.deliveries < self.expected {
            fleet.turn(TICK, self)?;
            watchdog.check(self.deliveries, fleet)?;
            ensure!(self.lost == 0, "{} sockets ended", self.lost);
        }
        Ok(())
    }

    /// The number and the publishing time in an event of the stream.
    fn parse(&self, event: &str) -> Option<(u64, Duration)> {
        let token = event.strip_prefix(self.before)?.strip_suffix(self.after)?;
        if token.len() != TOKEN {
            return None;
        }
        let (number, sent) = token.split_at_checked(DIGITS)?;
        let sent = Duration::from_micros(sent.trim().parse().ok()?);
        Some((number.parse().ok()?, sent))
    }
}

impl Observer for Stream<'_> {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, _: &mut Turn<'_>) {
        match event {
            ClientEvent::Event(event) => match self.parse(event) {
                Some((number, sent)) => {
                    self.reordered += u64::from(number != self.due[id]);
                    self.due[id] = number + 1;
                    self.deliveries += 1;
                    let now = SystemTime::now().duration_since(UNIX_EPOCH);
                    self.latencies
                        .record(now.unwrap_or_default().saturating_sub(sent));
                }
                // Sent to all sockets in the chat when one opens it.
                None if event.contains(r#""chat:presence""#) => {}
                None => self.unexpected += 1,
            },
            ClientEvent::Closed => self.lost += 1,
            ClientEvent::Ready | ClientEvent::Ack(..) | ClientEvent::Response(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_the_stream_are_parsed() {
        let stream = Stream::new(r#"["events",{"delta":"{token}"}]"#, 1).unwrap();
        let good = r#"["events",{"delta":"000017 1795432944000001 "}]"#;
        let sent = Duration::from_micros(1_795_432_944_000_001);
        assert_eq!(stream.parse(good), Some((17, sent)));
        for wrong in [
            r#"["events",{"delta":"000017 1795432944000001"}]"#,
            r#"["events",{"delta":"00001x 1795432944000001 "}]"#,
            r#"["events",{"Delta":"000017 1795432944000001 "}]"#,
            r#"["events",{"delta":"000017 1795432944000001 "}"#,
        ] {
            assert_eq!(stream.parse(wrong), None, "{wrong}");
        }
    }
}
