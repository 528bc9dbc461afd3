//! The order of logged events: each is delivered once, in the order of its number, over all logs. Pure.
//!
//! An event arrives with the number of the entry before it in each of its logs. If that entry was not delivered here, the
//! log is read first; the same read of all logs follows each interruption of the subscription. While any log is read, all
//! later events wait (`held`), also those of other logs, and are then delivered with those that were read, merged by their
//! numbers. So a client that has received an event has received all earlier ones, which recovery relies on. What was read
//! may be ahead of what has arrived: a fence, a message of the node to itself, then follows on the bus before it is
//! delivered.
//!
//! What waits is bounded by [`HELD_LIMIT`]; the newest events beyond it are read from their logs later. If no log can be
//! read for a while although the bus delivers, what is missing is named and the others continue ([`Sequencer::expire`]).

mod held;
mod repair;
mod steps;
#[cfg(test)]
mod tests;
mod tracked;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use smallvec::SmallVec;

use self::held::{Gap, HeldEvent, HeldEvents, HeldItem, Logs};
pub(super) use self::steps::{LogStep, PAGE};
use self::tracked::{LogPhase, Tracked};
use crate::cluster::dialect::LoggedEmit;
use crate::history::{BROADCAST, LogName};
use crate::model::{Emit, Epoch, Position, Selector};

/// Bytes of payloads that are held while logs are read. What does not fit is read from the logs afterwards.
const HELD_LIMIT: usize = 16 * 1024 * 1024;

/// The logs with members on this node.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    logs: HashMap<LogName, Tracked>,
    /// The epoch of all numbers here.
    epoch: Option<Epoch>,
    /// The epoch before. Its events may still arrive.
    former_epoch: Option<Epoch>,
    /// The newest number that was read in that epoch.
    former_read: u64,
    /// The logs that others wait for, by the numbers up to which their events are known.
    repairs: BTreeMap<(u64, u64), LogName>,
    held: HeldEvents,
    /// The subscription was interrupted, and it is not known yet which events were missed.
    suspended: bool,
    /// The bus is out of reach.
    cut_off: bool,
    /// The number up to which everything that the bus delivers has arrived.
    arrived: u64,
    /// The same when the subscription was interrupted.
    arrived_before: Option<u64>,
    /// The newest number that was read.
    newest_read: u64,
    /// The fence that is awaited, and the number that it stands for.
    fence: Option<(u64, u64)>,
    /// Numbers logs and requests.
    next: u64,
    /// Number of logs that are being read.
    reading: usize,
    /// Responses so far, and those at the last call of [`Self::expire`].
    progress: (u64, u64),
    /// Whether ends of logs are being checked.
    is_checking: bool,
    has_temporary: bool,
    steps: Vec<LogStep>,
}

/// Whether an event can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    Later,
}

impl Sequencer {
    /// What must be done now.
    pub(super) fn take_steps(&mut self) -> Vec<LogStep> {
        std::mem::take(&mut self.steps)
    }

    /// Whether the log has members on this node.
    pub(super) fn tracks(&self, log: &LogName) -> bool {
        self.logs.contains_key(log)
    }

    /// The last member of a room left this node.
    pub(super) fn unsubscribed(&mut self, log: &LogName) {
        if let Some(tracked) = self.logs.remove(log) {
            self.repairs.remove(&(tracked.known, tracked.id));
            self.drain();
        }
    }

    /// An event arrived.
    pub(super) fn receive(&mut self, logged: LoggedEmit) {
        let logs = logs_of(&logged);
        let LoggedEmit {
            emit,
            stamp,
            is_own,
        } = logged;
        let position = stamp.position;
        if self.epoch != Some(position.epoch) {
            if self.former_epoch == Some(position.epoch) {
                // It was on its way when the logs were lost, and may have been read from them.
                return match position.n > self.former_read {
                    true => self.deliver(emit, position, is_own),
                    false => self.steps.push(LogStep::CountDuplicate),
                };
            }
            self.begin_epoch(position.epoch);
        }
        self.arrived = self.arrived.max(position.n);
        let is_first = self.repairs.is_empty() && self.held.is_empty() && !self.suspended;
        if is_first && self.turn_of(&logs, &[], position.n) == Turn::Now {
            return self.deliver_arrived(emit, position, is_own, &logs);
        }
        self.held.push(HeldEvent {
            emit,
            position,
            is_own,
            arrived: Some(logs),
            read_from: SmallVec::new(),
        });
        self.evict();
        self.drain();
    }

    /// Whether nothing is missing before an event in its logs. What is missing is read first; `read_from` are the logs in
    /// which nothing is.
    fn turn_of(&mut self, logs: &Logs, read_from: &[LogName], n: u64) -> Turn {
        let mut turn = Turn::Now;
        for (name, prev) in logs {
            let Some(log) = self.logs.get_mut(name) else {
                // No member is here, or it is for one socket.
                continue;
            };
            if log.phase == LogPhase::Starting {
                self.wait_for(name, LogPhase::Starting, n.saturating_sub(1));
                turn = Turn::Later;
                continue;
            }
            let is_complete = *prev <= log.last || n <= log.last || log.is_temporary;
            if is_complete || read_from.contains(name) {
                continue;
            }
            let last = log.last;
            if log.attempted < n {
                log.attempted = n;
                self.wait_for(name, LogPhase::Reading, last);
                turn = Turn::Later;
            } else if let Some(epoch) = self.epoch {
                // The log does not have it.
                log.last = *prev;
                let position = |n| Position { epoch, n };
                let (after, before) = (position(last), position(n));
                let log = name.clone();
                self.steps.push(LogStep::ReportGap { log, after, before });
            }
        }
        turn
    }

    /// All later events wait for a log, of which those up to `known` are delivered or held.
    fn wait_for(&mut self, name: &LogName, phase: LogPhase, known: u64) {
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        let waits = self.repairs.remove(&(log.known, log.id)).is_some();
        log.known = if waits { known.min(log.known) } else { known };
        log.phase = phase;
        if phase == LogPhase::Reading {
            // What is being read was requested before.
            log.request = None;
        }
        self.repairs.insert((log.known, log.id), name.clone());
    }

    /// Delivers what waits for nothing any more, and requests what is waited for.
    fn drain(&mut self) {
        while let Some(first) = self.held.first().filter(|first| *first <= self.frontier()) {
            if self.held.first_read() > self.arrived {
                self.request_fence();
                break;
            }
            match self.held.pop() {
                Some(HeldItem::Gaps(gaps)) => gaps.into_iter().for_each(|gap| self.report(gap)),
                Some(HeldItem::Event(event)) => {
                    if self.turn_of_held(&event, first) == Turn::Later {
                        self.held.push(*event);
                    } else {
                        self.deliver_held(*event);
                    }
                }
                None => break,
            }
        }
        if self.has_temporary && self.held.is_empty() && self.repairs.is_empty() {
            self.logs.retain(|_, log| !log.is_temporary);
            self.has_temporary = false;
        }
        self.request_pages();
    }

    /// What was published before what was read is on its way: the fence arrives after it.
    fn request_fence(&mut self) {
        if self.fence.is_none() && self.newest_read > self.arrived {
            self.next += 1;
            self.fence = Some((self.next, self.newest_read));
            self.steps.push(LogStep::Fence(self.next));
        }
    }

    /// The fence arrived, or the one of this number was lost.
    pub(super) fn fenced(&mut self, lost: Option<u64>) {
        let is_awaited = |(number, _): &(u64, u64)| lost.is_none_or(|lost| lost == *number);
        if let Some((_, newest)) = self.fence.take_if(|fence| is_awaited(fence)) {
            self.progress.0 += 1;
            self.arrived = self.arrived.max(newest);
            self.request_fence();
            self.drain();
        }
    }

    /// The number up to which everything is delivered or held.
    fn frontier(&self) -> u64 {
        let first = self.repairs.keys().next();
        match first {
            _ if self.suspended => 0,
            Some((known, _)) => *known,
            None => u64::MAX,
        }
    }

    fn turn_of_held(&mut self, event: &HeldEvent, n: u64) -> Turn {
        if let Some(logs) = &event.arrived {
            return self.turn_of(logs, &event.read_from, n);
        }
        // The other rooms of an event that did not arrive have missed it too.
        let mut turn = Turn::Now;
        for name in event.unread_logs() {
            if let Some(log) = self.logs.get_mut(&name)
                && log.phase == LogPhase::Following
                && !log.is_temporary
                && log.reached().max(log.attempted) < n
            {
                log.attempted = n;
                let reached = log.reached();
                self.wait_for(&name, LogPhase::Reading, reached);
                turn = Turn::Later;
            }
        }
        turn
    }

    fn deliver_held(&mut self, event: HeldEvent) {
        let HeldEvent {
            emit,
            position,
            is_own,
            arrived,
            read_from,
        } = event;
        match arrived {
            Some(logs) => self.deliver_arrived(emit, position, is_own, &logs),
            None => self.deliver_read(emit, position, &read_from),
        }
    }

    /// Delivers an event that arrived to the rooms that have not received it.
    fn deliver_arrived(&mut self, mut emit: Emit, position: Position, is_own: bool, logs: &Logs) {
        let n = position.n;
        let (mut fresh, mut stale) = (0, 0);
        let (mut rooms, mut received) = (Vec::new(), Vec::new());
        for (name, _) in logs {
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            // Up to its start, it was published after the first member had joined, before the end of the log was read.
            let is_new = log.last < n || n <= log.start;
            log.last = log.last.max(n);
            if !is_new {
                stale += 1;
                received.extend(name.room.clone());
                continue;
            }
            fresh += 1;
            rooms.extend(name.room.clone());
        }
        if stale > 0 {
            if fresh == 0 {
                return self.steps.push(LogStep::CountDuplicate);
            }
            emit.to.rooms = rooms.into();
            emit.to.except.extend(received);
        }
        self.deliver(emit, position, is_own);
    }

    /// Delivers an event that was read from logs to the members of their rooms who did not receive it by another one.
    fn deliver_read(&mut self, mut emit: Emit, position: Position, read_from: &[LogName]) {
        let n = position.n;
        let mut rooms = Vec::new();
        let mut is_fresh = false;
        for name in read_from {
            if let Some(log) = self.logs.get_mut(name).filter(|log| log.last < n) {
                log.last = n;
                is_fresh = true;
                rooms.extend(name.room.clone());
            }
        }
        if !is_fresh {
            return;
        }
        if !rooms.is_empty() {
            let namespace = emit.to.namespace.clone();
            let all = std::mem::take(&mut emit.to.rooms);
            let others = all.into_iter().filter(|room| !rooms.contains(room));
            let received = others.filter(|room| {
                let log = LogName::of_room(namespace.clone(), room.clone());
                let log = self.logs.get(&log);
                log.is_some_and(|log| log.start < n && n <= log.last)
            });
            let received: Vec<_> = received.collect();
            emit.to.except.extend(received);
            emit.to.rooms = rooms.into();
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

    fn report(&mut self, gap: Gap) {
        let Gap {
            log,
            after,
            before,
            last,
        } = gap;
        if let Some(tracked) = self.logs.get_mut(&log) {
            tracked.last = tracked.last.max(last);
            self.steps.push(LogStep::ReportGap { log, after, before });
        }
    }

    /// Drops the newest events above the memory for held ones. They will be read from their logs.
    fn evict(&mut self) {
        while self.held.bytes() > HELD_LIMIT
            && let Some(event) = self.held.pop_last_event()
        {
            let n = event.position.n;
            let names: Vec<LogName> = event.logs().cloned().collect();
            for name in names {
                let next = &mut self.next;
                let log = self.logs.entry(name.clone()).or_insert_with(|| {
                    *next += 1;
                    self.has_temporary = true;
                    Tracked {
                        is_temporary: true,
                        last: 0,
                        known: n - 1,
                        phase: LogPhase::Reading,
                        ..Tracked::starting(*next, 0)
                    }
                });
                if log.phase == LogPhase::Starting {
                    let arrived = event.arrived.iter().flatten();
                    let prev = arrived.filter(|(held, _)| *held == name).map(|(_, n)| *n);
                    log.floor = prev.chain(log.floor).min();
                    self.wait_for(&name, LogPhase::Starting, n - 1);
                    continue;
                }
                let is_read = log.phase != LogPhase::Following;
                let known = if is_read {
                    n - 1
                } else {
                    log.reached().min(n - 1)
                };
                self.wait_for(&name, LogPhase::Reading, known);
            }
        }
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
