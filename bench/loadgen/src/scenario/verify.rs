//! Correctness, not speed: two publishers, one of them a member, send texts of every
//! frame length form with characters that need escapes. Every member must get each
//! publisher's messages exactly, in order, its own excepted; who left or never joined
//! gets none. Fails with the first difference.

use std::fmt::Display;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::assembly::assemble;
use super::probe::{is_probe, probe};
use super::report::with_faults;
use super::{ROOM, TICK, accepted};
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::options::Verify as Options;
use crate::patience::Patience;

/// Lengths around the limits of frame length forms and socket buffers.
const LENGTHS: [usize; 9] = [0, 1, 80, 100, 126, 1000, 30_000, 65_530, 70_000];
const LETTERS: [char; 8] = ['a', '"', '\\', '\n', 'é', '😀', '\u{1}', '/'];
const PUBLISHERS: usize = 2;

struct Verify {
    /// Connections that publish; the first is no member, the second is.
    publishers: [usize; PUBLISHERS],
    /// By connection and publisher: the number that is due.
    due: Vec<[usize; PUBLISHERS]>,
    acks: usize,
    deliveries: u64,
    difference: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<Value> {
    ensure!(options.members > 2, "verify needs at least 3 members");
    let mut fleet = Fleet::new()?;
    let publish_at = options.publish_at.unwrap_or(options.server);
    let outsider = assemble(&mut fleet, publish_at, 1, false)?.ids[0];
    let members = assemble(&mut fleet, options.server, options.members, true)?.ids;
    probe(&mut fleet, outsider, &members)?;
    let mut verify = Verify {
        publishers: [outsider, members[0]],
        due: vec![[0; PUBLISHERS]; options.members + 1],
        acks: 0,
        deliveries: 0,
        difference: None,
    };
    // In portions: a server may give a client up that has megabytes waiting.
    for first in (0..options.messages).step_by(LENGTHS.len()) {
        let end = options.messages.min(first + LENGTHS.len());
        verify.publish(&mut fleet, first..end)?;
        verify.wait(&mut fleet, &members, end)?;
    }

    let (leaver, stayers) = (members[members.len() - 1], &members[..members.len() - 1]);
    verify.ask(
        &mut fleet,
        leaver,
        format_args!(r#"["roomwire:leave","{ROOM}"]"#),
    )?;
    verify.publish(&mut fleet, options.messages..options.messages + 1)?;
    verify.wait(&mut fleet, stayers, options.messages + 1)?;
    // An answered emit of the leaver's own: what was on the way to it is here.
    verify.ask(
        &mut fleet,
        leaver,
        format_args!(r#"["roomwire:emit","own","b",0]"#),
    )?;
    verify.outsiders_heard_nothing(outsider, leaver, options.messages)?;
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
        fleet.prompt(self, |verify, turn| {
            for number in numbers {
                for (publisher, id) in verify.publishers.into_iter().enumerate() {
                    let argument = message(publisher, number);
                    let ack = number + 1;
                    let call = format_args!(r#"42{ack}["roomwire:emit","{ROOM}","b",{argument}]"#);
                    turn.send(id, call);
                }
            }
        });
        self.turn_until(fleet, "publishes are acknowledged", |verify| {
            verify.acks >= awaited
        })
    }

    /// Sends one call and waits for its ack.
    fn ask(&mut self, fleet: &mut Fleet, id: usize, call: impl Display) -> Result<()> {
        let awaited = self.acks + 1;
        fleet.prompt(self, |_, turn| {
            turn.send(id, format_args!("429999999{call}"))
        });
        self.turn_until(fleet, "a call is answered", |verify| verify.acks >= awaited)
    }

    /// Waits until these members have `count` messages of each publisher but themselves.
    fn wait(&mut self, fleet: &mut Fleet, members: &[usize], count: usize) -> Result<()> {
        self.turn_until(fleet, "members get messages", |verify| {
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
        what: &'static str,
        reached: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let mut patience = Patience::new(what);
        while !reached(self) {
            fleet.turn(TICK, self)?;
            if let Some(difference) = &self.difference {
                bail!("{difference}");
            }
            patience.check(self.deliveries + self.acks as u64, fleet)?;
        }
        Ok(())
    }

    fn outsiders_heard_nothing(&self, outsider: usize, leaver: usize, count: usize) -> Result<()> {
        ensure!(
            self.due[outsider] == [0; PUBLISHERS],
            "the outsider heard messages"
        );
        ensure!(
            self.due[leaver] == [count; PUBLISHERS],
            "who left heard the message after"
        );
        let member = self.publishers[1];
        ensure!(self.due[member][1] == 0, "a publisher heard itself");
        Ok(())
    }

    fn delivered(&mut self, id: usize, event: &str) {
        self.deliveries += 1;
        let heard: Value = serde_json::from_str(event).unwrap_or_default();
        let publisher = heard[1]["publisher"].as_u64().unwrap_or(u64::MAX) as usize;
        let Some(due) = self.due[id].get_mut(publisher) else {
            self.differ(format!("connection {id} got {event:.60}"));
            return;
        };
        let number = *due;
        *due += 1;
        if heard != json!(["b", message(publisher, number)]) {
            self.differ(format!(
                "connection {id} got, as number {number} of publisher {publisher}: {event:.60}"
            ));
        }
    }

    fn differ(&mut self, difference: String) {
        self.difference.get_or_insert(difference);
    }
}

impl Observer for Verify {
    fn notice(&mut self, id: usize, notice: Notice<'_>, _: &mut Turn<'_>) {
        match notice {
            Notice::Event(event) if is_probe(event) => {}
            Notice::Event(event) => self.delivered(id, event),
            Notice::Ack(_, answer) if accepted(answer) => self.acks += 1,
            Notice::Ack(ack, answer) => self.differ(format!("ack {ack} of {id}: {answer:.100}")),
            Notice::Closed => self.differ(format!("connection {id} ended early")),
            Notice::Ready => {}
        }
    }
}
