//! Tests of the order of logged events.

mod losses;
mod properties;

use std::collections::VecDeque;

use super::*;
use crate::history::{LogTable, LogTarget, Stamp};
use crate::model::random::OsRandom;
use crate::model::{Namespace, Payload, Room};

/// A server with logs, and the events that a node delivered.
struct World {
    table: LogTable<Emit>,
    sequencer: Sequencer,
    /// The rooms and the number of each event, or `gap`.
    delivered: Vec<String>,
    /// The room of each gap, and the number after which it begins.
    gaps: Vec<(String, u64)>,
    duplicates: usize,
    /// Reads that the server has not responded to.
    reads: VecDeque<LogStep>,
    clock: u64,
    length: u32,
}

fn name(room: &str) -> LogName {
    LogName::of_room(Namespace::main(), Room::from(room))
}

impl World {
    fn new() -> Self {
        Self {
            table: LogTable::new(Epoch::random(&OsRandom), 1 << 20),
            sequencer: Sequencer::default(),
            delivered: Vec::new(),
            gaps: Vec::new(),
            duplicates: 0,
            reads: VecDeque::new(),
            clock: 10,
            length: 1000,
        }
    }

    /// Appends an event with a number to the logs of rooms, and returns it as it arrives.
    fn publish(&mut self, number: u32, rooms: &[&str]) -> LoggedEmit {
        let mut to = Selector::everybody(Namespace::main());
        to.rooms = rooms.iter().map(|room| Room::from(*room)).collect();
        let emit = Emit {
            to,
            payload: Payload::event("e", [number.to_string().as_str()]),
            volatile: false,
            ack: None,
            conflate: None,
        };
        let target = |(index, room): (usize, &&str)| LogTarget {
            index: index as u16,
            name: name(room),
            length: self.length,
            age: std::time::Duration::from_secs(60),
        };
        let mut targets: Vec<LogTarget> = rooms.iter().enumerate().map(target).collect();
        if rooms.is_empty() {
            targets.push(LogTarget {
                index: BROADCAST,
                name: LogName::of_namespace(Namespace::main()),
                length: self.length,
                age: std::time::Duration::from_secs(60),
            });
        }
        self.clock += 10;
        let stamp = self.table.append(self.clock, &targets, 1, &emit);
        LoggedEmit {
            emit,
            stamp,
            is_own: false,
        }
    }

    fn arrive(&mut self, logged: LoggedEmit) {
        self.sequencer.receive(logged);
        self.take();
    }

    fn subscribe(&mut self, rooms: &[&str]) {
        self.sequencer
            .subscribed(rooms.iter().map(|room| name(room)));
        self.take();
    }

    /// Collects what is delivered, and leaves reads to [`Self::respond`].
    fn take(&mut self) {
        for step in self.sequencer.take_steps() {
            match step {
                LogStep::Deliver { emit, .. } => {
                    let rooms: Vec<&str> = emit.to.rooms.iter().map(|room| &**room).collect();
                    let except: Vec<&str> = emit.to.except.iter().map(|room| &**room).collect();
                    let without = match except.is_empty() {
                        true => String::new(),
                        false => format!("-{}", except.join(",")),
                    };
                    let number = emit
                        .payload
                        .json()
                        .trim_start_matches(r#"["e","#)
                        .to_owned();
                    let number = number.trim_end_matches(']');
                    self.delivered
                        .push(format!("{}{without}:{number}", rooms.join(",")));
                }
                LogStep::ReportGap { log, after, .. } => {
                    let room = log.room.map(|room| room.to_string()).unwrap_or_default();
                    self.gaps.push((room.clone(), after.n));
                    self.delivered.push(format!("{room}:gap"));
                }
                LogStep::CountDuplicate => self.duplicates += 1,
                read => self.reads.push_back(read),
            }
        }
    }

    /// Responds to all reads.
    fn respond(&mut self) {
        while !self.reads.is_empty() {
            self.respond_once();
        }
    }

    fn respond_once(&mut self) {
        match self.reads.pop_front() {
            Some(LogStep::Read {
                log,
                after,
                request,
            }) => {
                let page = self.table.read(&log, after, None, PAGE);
                self.sequencer.page_read(request, &log, page);
            }
            Some(LogStep::ReadTails { logs, request }) => {
                let tails = self.table.tails(&logs);
                self.sequencer.tails_read(request, &logs, &tails);
            }
            Some(LogStep::CheckTails(logs)) => {
                let tails = self.table.tails(&logs);
                self.sequencer.tails_checked(&logs, &tails);
            }
            Some(LogStep::Fence(_)) => self.sequencer.fenced(None),
            step => unreachable!("{step:?}"),
        }
        self.take();
    }

    fn delivered(&mut self) -> Vec<String> {
        assert!(self.reads.is_empty() && self.sequencer.held.is_empty());
        assert_eq!(self.sequencer.held.bytes(), 0);
        std::mem::take(&mut self.delivered)
    }
}

/// A room `a` of which the node has members.
fn following() -> World {
    let mut world = World::new();
    world.publish(0, &["a"]);
    world.subscribe(&["a"]);
    world.respond();
    world
}

#[test]
fn events_in_order_are_delivered_at_once_and_duplicates_dropped() {
    let mut world = following();
    let first = world.publish(1, &["a"]);
    world.arrive(first.clone());
    let second = world.publish(2, &["a"]);
    world.arrive(second.clone());
    world.arrive(first);
    world.arrive(second);
    assert_eq!(world.delivered(), ["a:1", "a:2"]);
    assert_eq!(world.duplicates, 2);
}

#[test]
fn a_missed_event_is_read_from_the_log_and_delivered_before_newer_ones() {
    let mut world = following();
    let lost = world.publish(1, &["a"]);
    let second = world.publish(2, &["a"]);
    let third = world.publish(3, &["a"]);
    world.arrive(second);
    world.arrive(third);
    assert!(world.delivered.is_empty());
    assert_eq!(world.reads.len(), 1);
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "a:2", "a:3"]);
    world.arrive(lost);
    assert_eq!(world.delivered(), [""; 0]);
}

#[test]
fn events_that_arrive_in_the_wrong_order_are_delivered_in_order() {
    let mut world = following();
    let [a, b, c] = [1, 2, 3].map(|number| world.publish(number, &["a"]));
    for event in [c, b, a] {
        world.arrive(event);
    }
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "a:2", "a:3"]);
}

#[test]
fn after_an_interruption_all_logs_are_read_in_pages() {
    let mut world = following();
    world.subscribe(&["b"]);
    world.respond();
    for number in 0..250 {
        world.publish(number, &["a"]);
    }
    world.sequencer.interrupted();
    world.take();
    let live = world.publish(250, &["a"]);
    world.arrive(live);
    world.respond();
    let expected: Vec<_> = (0..=250).map(|number| format!("a:{number}")).collect();
    assert_eq!(world.delivered(), expected);
    // A second interruption while the first is being repaired.
    world.publish(251, &["b"]);
    world.sequencer.interrupted();
    world.take();
    world.publish(252, &["b"]);
    world.sequencer.interrupted();
    world.take();
    world.respond();
    assert_eq!(world.delivered(), ["b:251", "b:252"]);
}

#[test]
fn events_between_the_subscription_and_the_read_of_the_end_are_delivered() {
    let mut world = World::new();
    world.publish(0, &["a"]);
    world.subscribe(&["a"]);
    let first = world.publish(1, &["a"]);
    world.arrive(first);
    world.respond();
    assert_eq!(world.delivered(), ["a:1"]);
}

#[test]
fn what_was_trimmed_is_named() {
    let mut world = following();
    world.length = 2;
    for number in 1..=5 {
        world.publish(number, &["a"]);
    }
    let last = world.publish(6, &["a"]);
    world.arrive(last);
    world.respond();
    assert_eq!(world.delivered(), ["a:gap", "a:5", "a:6"]);
}

#[test]
fn a_lost_log_is_named_and_its_successor_is_read_from_its_start() {
    let mut world = following();
    let first = world.publish(1, &["a"]);
    world.arrive(first);
    world.table = LogTable::new(Epoch::random(&OsRandom), 1 << 20);
    world.publish(2, &["a"]);
    let third = world.publish(3, &["a"]);
    world.arrive(third);
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "a:gap", "a:2", "a:3"]);
    world.table = LogTable::new(Epoch::random(&OsRandom), 1 << 20);
    world.publish(4, &["a"]);
    world.sequencer.interrupted();
    world.take();
    world.respond();
    assert_eq!(world.delivered(), ["a:gap", "a:4"]);
}

#[test]
fn an_event_for_two_rooms_reaches_each_member_once_when_one_room_missed_an_earlier_event() {
    let mut world = following();
    world.subscribe(&["b"]);
    world.respond();
    world.publish(1, &["a"]);
    let both = world.publish(2, &["a", "b"]);
    world.arrive(both);
    let later = world.publish(3, &["b"]);
    world.arrive(later);
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "a,b:2", "b:3"]);
}

#[test]
fn an_event_for_two_rooms_that_was_missed_is_read_from_both_logs() {
    let mut world = following();
    world.subscribe(&["b"]);
    world.respond();
    world.publish(1, &["a", "b"]);
    let [a, b] = [(2, "a"), (3, "b")].map(|(number, room)| world.publish(number, &[room]));
    world.arrive(a);
    world.arrive(b);
    world.respond();
    assert_eq!(world.delivered(), ["a,b:1", "a:2", "b:3"]);
}

#[test]
fn rooms_without_members_and_broadcasts() {
    let mut world = following();
    let elsewhere = world.publish(1, &["c"]);
    world.arrive(elsewhere);
    world
        .sequencer
        .subscribed([LogName::of_namespace(Namespace::main())]);
    world.take();
    world.respond();
    world.publish(2, &[]);
    let broadcast = world.publish(3, &[]);
    world.arrive(broadcast);
    world.respond();
    world.publish(4, &["a"]);
    world.sequencer.unsubscribed(&name("a"));
    let last = world.publish(5, &["a"]);
    world.arrive(last);
    assert_eq!(world.delivered(), ["c:1", ":2", ":3", "a:5"]);
}

#[test]
fn events_above_the_memory_for_held_ones_are_read_again() {
    let mut world = following();
    world.publish(1, &["a"]);
    let mut big = world.publish(2, &["a"]);
    big.emit.payload = Payload::text(format!(r#"["{}"]"#, "x".repeat(HELD_LIMIT)));
    world.arrive(big);
    let third = world.publish(3, &["a"]);
    world.arrive(third);
    assert_eq!(world.sequencer.held.events().count(), 1);
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "a:2", "a:3"]);
}

#[test]
fn stamps_with_indices_that_the_event_does_not_have_are_ignored() {
    let mut world = following();
    let mut event = world.publish(1, &["a"]);
    event.stamp = Stamp {
        prevs: [(7, 0), (BROADCAST, 0)].into_iter().collect(),
        ..event.stamp
    };
    world.arrive(event);
    assert_eq!(world.delivered(), ["a:1"]);
}

#[test]
fn events_of_other_logs_wait_while_one_is_read_and_for_what_is_on_its_way() {
    let mut world = following();
    world.subscribe(&["b"]);
    world.respond();
    let _lost = world.publish(1, &["a"]);
    let other = world.publish(2, &["b"]);
    world.sequencer.interrupted();
    world.take();
    world.arrive(other);
    // For a single socket: its log is not tracked.
    let own = world.publish(3, &["own"]);
    world.arrive(own);
    assert!(world.delivered.is_empty());
    let on_its_way = world.publish(4, &["b"]);
    let _lost = world.publish(5, &["a"]);
    let mut fences = VecDeque::new();
    while let Some(step) = world.reads.pop_front() {
        if matches!(step, LogStep::Fence(_)) {
            fences.push_back(step);
        } else {
            world.reads.push_front(step);
            world.respond_once();
        }
    }
    assert_eq!(world.delivered, ["a:1", "b:2", "own:3"]);
    world.arrive(on_its_way);
    world.reads = fences;
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "b:2", "own:3", "b:4", "a:5"]);
}

#[test]
fn events_above_the_memory_for_held_ones_are_read_also_for_single_sockets() {
    let mut world = following();
    world.publish(1, &["a"]);
    world.sequencer.interrupted();
    world.take();
    let reads = std::mem::take(&mut world.reads);
    let mut big = world.publish(2, &["own"]);
    big.emit.payload = Payload::text(format!(r#"["{}"]"#, "x".repeat(HELD_LIMIT)));
    world.arrive(big);
    for number in 3..6 {
        let event = world.publish(number, &["own"]);
        world.arrive(event);
    }
    assert_eq!(world.sequencer.held.events().count(), 1);
    world.reads.extend(reads);
    world.respond();
    assert_eq!(
        world.delivered(),
        ["a:1", "own:2", "own:3", "own:4", "own:5"]
    );
    assert_eq!(world.sequencer.logs.len(), 1, "only the room is followed");
}

#[test]
fn a_log_that_cannot_be_read_delays_others_for_a_limited_time_and_its_gap_is_named() {
    let mut world = following();
    world.subscribe(&["b"]);
    world.respond();
    world.publish(1, &["a"]);
    let [a, b] = [(2, "a"), (3, "b")].map(|(number, room)| world.publish(number, &[room]));
    world.arrive(a);
    world.arrive(b);
    for _ in 0..2 {
        assert!(world.delivered.is_empty());
        world.sequencer.expire();
        world.take();
    }
    world.reads.clear();
    assert_eq!(world.delivered(), ["a:gap", "a:2", "b:3"]);
    // Without the bus, nothing arrives that could wait: the log is read when it is back.
    world.publish(4, &["a"]);
    world.sequencer.suspend(true);
    for _ in 0..5 {
        world.sequencer.expire();
    }
    world.sequencer.interrupted();
    world.take();
    world.respond();
    assert_eq!(world.delivered(), ["a:4"]);
}
