//! Waits, before anything is measured, until the room reaches every member. On a cluster
//! whose nodes subscribe late, the first broadcasts would be lost; probes are sent until
//! each member has received one.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::TICK;
use super::publisher::Publisher;
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::watchdog::Watchdog;

/// Another probe is sent if no member has received one for this long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

struct Probe {
    /// By connection: whether it has yet to receive a probe.
    waiting: Vec<bool>,
    reached: usize,
    last_arrival: Instant,
}

/// Sends probes until all of `members` have received one; returns the number sent.
pub(crate) fn probe(
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    members: &[usize],
) -> Result<u64> {
    let last = members.iter().copied().max().unwrap_or(0);
    let mut probe = Probe {
        waiting: vec![false; last + 1],
        reached: 0,
        last_arrival: Instant::now(),
    };
    for id in members {
        probe.waiting[*id] = true;
    }
    let mut sent = 0;
    let mut watchdog = Watchdog::new("a probe reaches the room");
    while probe.reached < members.len() {
        if sent == 0 || probe.last_arrival.elapsed() > RETRY_AFTER {
            sent += 1;
            probe.last_arrival = Instant::now();
            fleet.act(&mut probe, |_, turn| publisher.probe(turn));
        }
        fleet.turn(TICK, &mut probe)?;
        watchdog.check(probe.reached as u64, fleet)?;
    }
    Ok(sent)
}

/// Whether an event is a probe. A repeated probe may arrive when measuring has begun.
pub(crate) fn is_probe(event: &str) -> bool {
    event.starts_with(r#"["probe""#)
}

impl Observer for Probe {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        let is_waiting = self.waiting.get(id).is_some_and(|waiting| *waiting);
        let is_first = matches!(event, ClientEvent::Event(event) if is_probe(event)) && is_waiting;
        if is_first {
            self.waiting[id] = false;
            self.reached += 1;
            self.last_arrival = turn.now;
        }
    }
}
