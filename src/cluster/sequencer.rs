//! The order of logged events: each is delivered once, in the order of its log. Pure.
//!
//! An event arrives with the number of the entry before it in each of its logs. If that entry was not delivered here, the
//! event is held, and the log is read first. The same read follows each interruption of the subscription.

use std::collections::VecDeque;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::cluster::dialect::LoggedEmit;
use crate::history::{BROADCAST, LogName, LogPage, Logged, Tails};
use crate::model::{Emit, Epoch, Position, Selector};

/// Bytes of payloads that are held while logs are read. What does not fit is read from the logs afterwards.
const HELD_LIMIT: usize = 16 * 1024 * 1024;
/// Number of events that are read at once.
pub(super) const PAGE: usize = 100;

/// What the owner of a [`Sequencer`] must do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogStep {
    /// Deliver an event to the sockets of this node.
    Deliver {
        emit: Emit,
        position: Position,
        is_own: bool,
    },
    /// Notify the members of a room, or all sockets of a namespace, that the events after `after` and before `before` are
    /// lost.
    ReportGap {
        log: LogName,
        after: Position,
        before: Position,
    },
    /// Read at most [`PAGE`] entries, and call [`Sequencer::page_read`].
    Read { log: LogName, after: u64 },
    /// Read where these logs end, and call [`Sequencer::tails_read`].
    ReadTails(Vec<LogName>),
    /// Count events that were delivered before.
    CountDuplicate,
}

/// The logs with members on this node.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    logs: HashMap<LogName, Tracked>,
    held: VecDeque<HeldEvent>,
    held_bytes: usize,
    steps: Vec<LogStep>,
}

#[derive(Debug)]
struct Tracked {
    epoch: Option<Epoch>,
    /// The number after which events are delivered.
    start: u64,
    /// The number of the last delivered event.
    last: u64,
    phase: LogPhase,
    /// Read the log once more, because an event did not fit into the memory for held ones or the subscription was
    /// interrupted again.
    read_again: bool,
}

impl Tracked {
    fn starting() -> Self {
        Self {
            epoch: None,
            start: 0,
            last: 0,
            phase: LogPhase::Starting,
            read_again: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogPhase {
    /// It is not known where the log ended when the first member joined.
    Starting,
    /// Events may have been missed: the end of the log is being read.
    Checking,
    /// Events were missed and are being read.
    Reading,
    /// Everything is delivered as it arrives.
    Following,
}

/// An event that waits for events before it.
#[derive(Debug)]
struct HeldEvent {
    logged: LoggedEmit,
    logs: Logs,
}

/// The logs of an event, and the number of the entry before it in each.
type Logs = SmallVec<[(LogName, u64); 1]>;

impl Sequencer {
    /// What must be done now.
    pub(super) fn take_steps(&mut self) -> Vec<LogStep> {
        std::mem::take(&mut self.steps)
    }

    /// The bus delivers the events of these logs from now on: to the first members, or after an interruption.
    pub(super) fn subscribed(&mut self, logs: impl IntoIterator<Item = LogName>) {
        let mut unknown = Vec::new();
        for name in logs {
            match self.logs.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(Tracked::starting());
                }
                Entry::Occupied(mut entry) => match entry.get().phase {
                    LogPhase::Following => entry.get_mut().phase = LogPhase::Checking,
                    // What is being read may be from before the interruption.
                    LogPhase::Starting | LogPhase::Checking | LogPhase::Reading => {
                        entry.get_mut().read_again = true;
                        continue;
                    }
                },
            }
            unknown.push(name);
        }
        if !unknown.is_empty() {
            self.steps.push(LogStep::ReadTails(unknown));
        }
    }

    /// The bus delivers again: events of all logs may have been missed.
    pub(super) fn interrupted(&mut self) {
        let names: Vec<LogName> = self.logs.keys().cloned().collect();
        self.subscribed(names);
    }

    /// Whether the log has members on this node.
    pub(super) fn tracks(&self, log: &LogName) -> bool {
        self.logs.contains_key(log)
    }

    /// The last member of a room left this node.
    pub(super) fn unsubscribed(&mut self, log: &LogName) {
        if self.logs.remove(log).is_some() {
            self.drain();
        }
    }

    /// An event arrived.
    pub(super) fn receive(&mut self, logged: LoggedEmit) {
        let logs = logs_of(&logged);
        let is_tracked = |(name, _): &(LogName, u64)| self.logs.contains_key(name);
        if !logs.iter().any(is_tracked) {
            // No member is here, or it is for one socket.
            return self.deliver(logged.emit, logged.stamp.position, logged.is_own);
        }
        let must_wait = logs.iter().any(|(name, _)| self.is_blocked(name));
        if must_wait || self.misses_event(&logs, logged.stamp.position) {
            self.hold(HeldEvent { logged, logs });
        } else {
            self.deliver_live(logged, &logs);
        }
    }

    /// Where logs end, as requested by [`LogStep::ReadTails`].
    pub(super) fn tails_read(&mut self, names: &[LogName], tails: &Tails) {
        let mut interrupted = Vec::new();
        for (name, tail) in names.iter().zip(&tails.tails) {
            let first_held = self.first_held(name);
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            let is_newer = match log.phase {
                LogPhase::Starting => {
                    // HeldEvent events were published after the subscription.
                    log.epoch = tails.epoch;
                    log.start = *tail;
                    if let Some((epoch, prev)) = first_held {
                        let is_same = tails.epoch == Some(epoch);
                        log.epoch = Some(epoch);
                        log.start = if is_same { prev.min(*tail) } else { prev };
                    }
                    log.last = log.start;
                    false
                }
                LogPhase::Checking => {
                    tails.epoch.is_some() && log.epoch != tails.epoch || *tail > log.last
                }
                LogPhase::Reading | LogPhase::Following => continue,
            };
            let again = std::mem::take(&mut log.read_again);
            if is_newer {
                log.phase = LogPhase::Reading;
                let (log, after) = (name.clone(), log.last);
                self.steps.push(LogStep::Read { log, after });
            } else if again {
                log.phase = LogPhase::Checking;
                interrupted.push(name.clone());
            } else {
                log.phase = LogPhase::Following;
            }
        }
        if !interrupted.is_empty() {
            self.steps.push(LogStep::ReadTails(interrupted));
        }
        self.drain();
    }

    /// A part of a log, as requested by [`LogStep::Read`].
    pub(super) fn page_read(&mut self, name: &LogName, page: LogPage) {
        let reading = self.logs.get(name);
        let Some(log) = reading.filter(|log| log.phase == LogPhase::Reading) else {
            return;
        };
        if let Some(epoch) = page.epoch
            && log.epoch != Some(epoch)
        {
            let first = page.events.first().map_or(page.tail + 1, |event| event.n);
            self.begin_epoch(name, epoch, first);
            let (log, after) = (name.clone(), 0);
            return self.steps.push(LogStep::Read { log, after });
        }
        if let (true, Some(epoch)) = (page.trimmed, page.epoch) {
            let after = Position { epoch, n: log.last };
            let n = page.events.first().map_or(page.tail + 1, |event| event.n);
            let (log, before) = (name.clone(), Position { epoch, n });
            self.steps.push(LogStep::ReportGap { log, after, before });
        }
        let is_last = page.events.len() < PAGE;
        let position = |n| page.epoch.map(|epoch| Position { epoch, n });
        let has_events = !page.events.is_empty();
        for Logged { n, emit, .. } in page.events {
            if let Some(position) = position(n) {
                self.replay(name, emit, position);
            }
        }
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        if page.trimmed && !has_events {
            log.last = log.last.max(page.tail);
        }
        if !is_last || std::mem::take(&mut log.read_again) {
            let (log, after) = (name.clone(), log.last);
            return self.steps.push(LogStep::Read { log, after });
        }
        log.phase = LogPhase::Following;
        self.drain();
    }

    /// Whether an event of the log must wait because others do, or because the log is being read.
    fn is_blocked(&self, name: &LogName) -> bool {
        let Some(log) = self.logs.get(name) else {
            return false;
        };
        let holds = |held: &HeldEvent| held.logs.iter().any(|(held, _)| held == name);
        log.phase != LogPhase::Following || self.held.iter().any(holds)
    }

    /// Whether the event before this one was not delivered in one of its logs. That log is then read.
    fn misses_event(&mut self, logs: &Logs, position: Position) -> bool {
        let mut misses = false;
        for (name, prev) in logs {
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            if log.epoch != Some(position.epoch) {
                self.begin_epoch(name, position.epoch, position.n);
            }
            let Some(log) = self.logs.get_mut(name).filter(|log| *prev > log.last) else {
                continue;
            };
            misses = true;
            log.phase = LogPhase::Reading;
            let (log, after) = (name.clone(), log.last);
            self.steps.push(LogStep::Read { log, after });
        }
        misses
    }

    /// The logs were lost: what was delivered last has no meaning in the new epoch, whose first event is `first`.
    fn begin_epoch(&mut self, name: &LogName, epoch: Epoch, first: u64) {
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        if let (Some(old), true) = (log.epoch, log.last > 0) {
            self.steps.push(LogStep::ReportGap {
                log: name.clone(),
                after: Position {
                    epoch: old,
                    n: log.last,
                },
                before: Position { epoch, n: first },
            });
        }
        (log.epoch, log.start, log.last) = (Some(epoch), 0, 0);
    }

    fn hold(&mut self, held: HeldEvent) {
        let size = held.logged.emit.payload.size();
        if self.held_bytes + size <= HELD_LIMIT || self.held.is_empty() {
            self.held_bytes += size;
            return self.held.push_back(held);
        }
        for (name, _) in &held.logs {
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            if log.phase == LogPhase::Following {
                log.phase = LogPhase::Reading;
                let (log, after) = (name.clone(), log.last);
                self.steps.push(LogStep::Read { log, after });
            } else {
                log.read_again = true;
            }
        }
    }

    /// The epoch of the first held event of a log, and the entry before it.
    fn first_held(&self, name: &LogName) -> Option<(Epoch, u64)> {
        self.held.iter().find_map(|held| {
            let (_, prev) = held.logs.iter().find(|(held, _)| held == name)?;
            Some((held.logged.stamp.position.epoch, *prev))
        })
    }

    /// Delivers the held events for which everything before is delivered.
    fn drain(&mut self) {
        let mut blocked: HashSet<LogName> = HashSet::new();
        for held in std::mem::take(&mut self.held) {
            let waits = |(name, _): &(LogName, u64)| {
                let log = self.logs.get(name);
                blocked.contains(name) || log.is_some_and(|log| log.phase != LogPhase::Following)
            };
            let must_wait = held.logs.iter().any(waits);
            if must_wait || self.misses_event(&held.logs, held.logged.stamp.position) {
                blocked.extend(held.logs.iter().map(|(name, _)| name.clone()));
                self.held.push_back(held);
            } else {
                self.held_bytes -= held.logged.emit.payload.size();
                self.deliver_live(held.logged, &held.logs);
            }
        }
    }

    /// Delivers an event before which nothing is missing, to the rooms that have not received it.
    fn deliver_live(&mut self, logged: LoggedEmit, logs: &Logs) {
        let LoggedEmit {
            mut emit,
            stamp,
            is_own,
        } = logged;
        let n = stamp.position.n;
        let (mut fresh, mut stale) = (0, 0);
        let (mut rooms, mut received) = (Vec::new(), Vec::new());
        for (name, _) in logs {
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            if log.last < n {
                log.last = n;
                fresh += 1;
                rooms.extend(name.room.clone());
            } else {
                stale += 1;
                received.extend(name.room.clone().filter(|_| log.start < n));
            }
        }
        if stale > 0 {
            if fresh == 0 {
                return self.steps.push(LogStep::CountDuplicate);
            }
            emit.to.rooms = rooms.into();
            emit.to.except.extend(received);
        }
        self.deliver(emit, stamp.position, is_own);
    }

    /// Delivers an event that was read from the log of a room, to the members of that room who did not receive it by
    /// another one.
    fn replay(&mut self, name: &LogName, mut emit: Emit, position: Position) {
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        if position.n <= log.last {
            return;
        }
        log.last = position.n;
        if let Some(room) = &name.room {
            let rooms = std::mem::take(&mut emit.to.rooms);
            let namespace = &emit.to.namespace;
            let received = rooms.into_iter().filter(|other| {
                let other = LogName::of_room(namespace.clone(), other.clone());
                let log = self.logs.get(&other).filter(|_| other != *name);
                log.is_some_and(|log| (log.start + 1..=log.last).contains(&position.n))
            });
            let received: Vec<_> = received.collect();
            emit.to.except.extend(received);
            emit.to.rooms.push(room.clone());
        }
        self.deliver(emit, position, false);
    }

    fn deliver(&mut self, emit: Emit, position: Position, is_own: bool) {
        self.steps.push(LogStep::Deliver {
            emit,
            position,
            is_own,
        });
    }
}

/// The logs of an event. Indices that its selector does not have are ignored.
fn logs_of(logged: &LoggedEmit) -> Logs {
    let Selector {
        namespace, rooms, ..
    } = &logged.emit.to;
    let logs = logged.stamp.prevs.iter().filter_map(|(index, prev)| {
        let name = match *index {
            BROADCAST if rooms.is_empty() => LogName::of_namespace(namespace.clone()),
            index => LogName::of_room(namespace.clone(), rooms.get(usize::from(index))?.clone()),
        };
        Some((name, *prev))
    });
    logs.collect()
}

#[cfg(test)]
mod tests {
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
                    LogStep::ReportGap { log, .. } => {
                        let room = log.room.map(|room| room.to_string()).unwrap_or_default();
                        self.delivered.push(format!("{room}:gap"));
                    }
                    LogStep::CountDuplicate => self.duplicates += 1,
                    read => self.reads.push_back(read),
                }
            }
        }

        /// Responds to all reads.
        fn respond(&mut self) {
            while let Some(read) = self.reads.pop_front() {
                match read {
                    LogStep::Read { log, after } => {
                        let page = self.table.read(&log, after, None, PAGE);
                        self.sequencer.page_read(&log, page);
                    }
                    LogStep::ReadTails(logs) => {
                        let tails = self.table.tails(&logs);
                        self.sequencer.tails_read(&logs, &tails);
                    }
                    _ => unreachable!(),
                }
                self.take();
            }
        }

        fn delivered(&mut self) -> Vec<String> {
            assert!(self.reads.is_empty() && self.sequencer.held.is_empty());
            assert_eq!(self.sequencer.held_bytes, 0);
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
        // Room `a` received it by the read of its log.
        assert_eq!(world.delivered(), ["a:1", "a:2", "b-a:2", "b:3"]);
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
        assert_eq!(world.delivered(), ["a:1", "a:2", "b-a:1", "b:3"]);
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
        assert_eq!(world.sequencer.held.len(), 1);
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
}
