//! Correctness, not speed: two publishers, one of them a member, send texts of every
//! frame length form with characters that need escapes. Every member must receive the
//! other publishers' messages exactly and in order; a client that left or never joined
//! must receive none. Fails at the first difference.

use std::fmt::Display;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::probe::{is_probe, probe};
use super::publisher::Publisher;
use super::report::with_faults;
use super::setup::{Join, connect_clients};
use super::{ROOM, TICK, accepted};
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Verify as Options;
use crate::watchdog::Watchdog;

/// Lengths around the boundaries of the frame length forms and of socket buffers.
const LENGTHS: [usize; 9] = [0, 1, 80, 100, 126, 1000, 30_000, 65_530, 70_000];
const LETTERS: [char; 8] = ['a', '"', '\\', '\n', 'é', '😀', '\u{1}', '/'];
const PUBLISHERS: usize = 2;

struct Verify {
    /// Connections that publish; only the second is a member.
    publishers: [usize; PUBLISHERS],
    /// By connection and publisher: the number of the next message.
    due: Vec<[usize; PUBLISHERS]>,
    acks: usize,
    deliveries: u64,
    difference: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    ensure!(options.members > 2, "verify needs at least 3 members");
    let mut fleet = Fleet::new()?;
    let publish_at = options.publish_at.unwrap_or(options.server);
    let outsider = connect_clients(&mut fleet, publish_at, 1, Join::Nothing)?.ids[0];
    let members = connect_clients(&mut fleet, options.server, options.members, Join::Shared)?.ids;
    probe(&mut fleet, &mut Publisher::Client(outsider), &members)?;
    let mut verify = Verify {
        publishers: [outsider, members[0]],
        due: vec![[0; PUBLISHERS]; options.members + 1],
        acks: 0,
        deliveries: 0,
        difference: None,
    };
    // In portions, since a server may disconnect a client with megabytes queued.
    for first in (0..options.messages).step_by(LENGTHS.len()) {
        let end = options.messages.min(first + LENGTHS.len());
        verify.publish(&mut fleet, first..end)?;
        verify.wait(&mut fleet, &members, end)?;
    }

    let (leaver, stayers) = (members[members.len() - 1], &members[..members.len() - 1]);
    verify.call(
        &mut fleet,
        leaver,
        format_args!(r#"["roomwire:leave","{ROOM}"]"#),
    )?;
    verify.publish(&mut fleet, options.messages..options.messages + 1)?;
    verify.wait(&mut fleet, stayers, options.messages + 1)?;
    // Once an emit of the leaver is acked, everything sent to it before has arrived.
    verify.call(
        &mut fleet,
        leaver,
        format_args!(r#"["roomwire:emit","own","b",0]"#),
    )?;
    verify.check_nonmembers(outsider, leaver, options.messages)?;
    let report = json!({
        "scenario": "verify",
        "members": options.members,
        "deliveries": verify.deliveries,
    });
    Ok(with_faults(report, &fleet))
}

/// The one argument of a publisher's message.
fn message(publisher: usize, number: usize) -> Value {
    let length = LENGTHS[number % LENGTHS.len()];
    let text: String = (0..length)
        .map(|at| LETTERS[(at + number) % LETTERS.len()])
        .collect();
    json!({ "publisher": publisher, "number": number, "text": text })
}

impl Verify {
    /// Both publishers send these messages; waits for the acks.
    fn publish(&mut self, fleet: &mut Fleet, numbers: std::ops::Range<usize>) -> Result<()> {
        let awaited = self.acks + PUBLISHERS * numbers.len();
        fleet.act(self, |verify, turn| {
            for number in numbers {
                for (publisher, id) in verify.publishers.into_iter().enumerate() {
                    let argument = message(publisher, number);
                    let ack = number + 1;
                    let event = format_args!(r#"42{ack}["roomwire:emit","{ROOM}","b",{argument}]"#);
                    turn.send(id, event);
                }
            }
        });
        self.turn_until(fleet, "waiting for the acks of publishes", |verify| {
            verify.acks >= awaited
        })
    }

    /// Sends one event and waits for its ack.
    fn call(&mut self, fleet: &mut Fleet, id: usize, event: impl Display) -> Result<()> {
        let awaited = self.acks + 1;
        fleet.act(self, |_, turn| {
            turn.send(id, format_args!("429999999{event}"))
        });
        self.turn_until(fleet, "waiting for an ack", |verify| verify.acks >= awaited)
    }

    /// Waits until these members have `count` messages of each publisher except themselves.
    fn wait(&mut self, fleet: &mut Fleet, members: &[usize], count: usize) -> Result<()> {
        self.turn_until(fleet, "members receive messages", |verify| {
            members.iter().all(|id| {
                let own = |publisher: usize| verify.publishers[publisher] == *id;
                (0..PUBLISHERS)
                    .all(|publisher| own(publisher) || verify.due[*id][publisher] == count)
            })
        })
    }

    fn turn_until(
        &mut self,
        fleet: &mut Fleet,
        activity: &'static str,
        reached: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let mut watchdog = Watchdog::new(activity);
        while !reached(self) {
            fleet.turn(TICK, self)?;
            if let Some(difference) = &self.difference {
                bail!("{difference}");
            }
            watchdog.check(self.deliveries + self.acks as u64, fleet)?;
        }
        Ok(())
    }

    fn check_nonmembers(&self, outsider: usize, leaver: usize, count: usize) -> Result<()> {
        ensure!(
            self.due[outsider] == [0; PUBLISHERS],
            "a client that never joined received messages"
        );
        ensure!(
            self.due[leaver] == [count; PUBLISHERS],
            "a client received a message after it had left"
        );
        let member = self.publishers[1];
        ensure!(
            self.due[member][1] == 0,
            "a publisher received its own message"
        );
        Ok(())
    }

    fn delivered(&mut self, id: usize, event: &str) {
        self.deliveries += 1;
        let received: Value = serde_json::from_str(event).unwrap_or_default();
        let publisher = received[1]["publisher"].as_u64().unwrap_or(u64::MAX) as usize;
        let Some(due) = self.due[id].get_mut(publisher) else {
            self.record_difference(format!("connection {id} received {event:.60}"));
            return;
        };
        let number = *due;
        *due += 1;
        if received != json!(["b", message(publisher, number)]) {
            self.record_difference(format!(
                "connection {id} received, as number {number} of publisher {publisher}: {event:.60}"
            ));
        }
    }

    fn record_difference(&mut self, difference: String) {
        self.difference.get_or_insert(difference);
    }
}

impl Observer for Verify {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, _: &mut Turn<'_>) {
        match event {
            ClientEvent::Event(event) if is_probe(event) => {}
            ClientEvent::Event(event) => self.delivered(id, event),
            ClientEvent::Ack(_, arguments) if accepted(arguments) => self.acks += 1,
            ClientEvent::Ack(ack, arguments) => {
                self.record_difference(format!("ack {ack} of {id}: {arguments:.100}"))
            }
            ClientEvent::Closed => self.record_difference(format!("connection {id} ended early")),
            ClientEvent::Ready | ClientEvent::Response(..) => {}
        }
    }
}
