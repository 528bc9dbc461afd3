//! Finds out which events were missed, and reads them.

use super::Sequencer;
use super::held::{Gap, HeldEvent, HeldItem};
use super::steps::{LogStep, PAGE};
use super::tracked::{LogPhase, Tracked};
use crate::history::{LogName, LogPage, Tails};
use crate::model::{Epoch, Position};

/// Number of logs that are read at the same time.
const CONCURRENT_READS: usize = 8;
/// Bytes of held events above which only the log is read for which the others wait.
const READ_AHEAD: usize = super::HELD_LIMIT / 2;

impl Sequencer {
    /// The bus delivers the events of these logs from now on: to the first members, or after an interruption.
    pub(in crate::cluster) fn subscribed(&mut self, logs: impl IntoIterator<Item = LogName>) {
        let mut unknown = Vec::new();
        for name in logs {
            if let Some(log) = self.logs.get_mut(&name) {
                if std::mem::take(&mut log.is_temporary) {
                    (log.start, log.last) = (log.known, log.known);
                }
                // After an interruption, all logs are checked.
                if !self.suspended && log.phase != LogPhase::Starting {
                    self.check(&name);
                    unknown.push(name);
                }
                continue;
            }
            self.next += 1;
            let log = Tracked::starting(self.next, self.arrived.max(self.newest_read));
            self.logs.insert(name.clone(), log);
            unknown.push(name);
        }
        self.request_tails(unknown);
    }

    /// The bus does not deliver, or not everything. What arrives until [`Self::interrupted`] waits.
    pub(in crate::cluster) fn suspend(&mut self, cut_off: bool) {
        self.suspended = true;
        self.arrived_before.get_or_insert(self.arrived);
        self.cut_off |= cut_off;
    }

    /// The bus delivers again: events of all logs may have been missed.
    pub(in crate::cluster) fn interrupted(&mut self) {
        (self.suspended, self.cut_off) = (false, false);
        // It may be lost.
        self.fence = None;
        let arrived = self.arrived_before.take().unwrap_or(self.arrived);
        let names: Vec<LogName> = self.logs.keys().cloned().collect();
        for name in &names {
            self.check(name);
            // Events from the time between the subscription and the read of the end were still on their way.
            let log = self.logs.get(name).filter(|log| log.start > arrived);
            if let Some(start) = log.map(|log| log.start) {
                self.report_start(name, start);
            }
        }
        self.request_tails(names);
        self.drain();
    }

    /// Where logs end, as requested by [`LogStep::ReadTails`].
    pub(in crate::cluster) fn tails_read(
        &mut self,
        request: u64,
        names: &[LogName],
        tails: &Tails,
    ) {
        let awaits = |log: &Tracked| log.request == Some(request);
        if !names
            .iter()
            .any(|name| self.logs.get(name).is_some_and(awaits))
        {
            return;
        }
        self.progress.0 += 1;
        if let Some(epoch) = tails.epoch.filter(|epoch| self.epoch != Some(*epoch)) {
            let is_first = self.epoch.is_none();
            self.begin_epoch(epoch);
            if !is_first {
                return;
            }
        }
        for (name, tail) in names.iter().zip(&tails.tails) {
            let Some(log) = self.logs.get_mut(name).filter(|log| awaits(log)) else {
                continue;
            };
            let first_held = self.held.before_first(name, log.since);
            log.request = None;
            self.newest_read = self.newest_read.max(*tail);
            let is_starting = log.phase == LogPhase::Starting;
            self.repairs.remove(&(log.known, log.id));
            if is_starting {
                // Events that are held were published after the subscription.
                let starts = [Some(*tail), first_held, log.floor];
                log.start_at(starts.into_iter().flatten().min().unwrap_or(0));
                log.known = log.last;
            }
            let start = log.start;
            if is_starting && log.was_interrupted {
                self.report_start(name, start);
            }
            let Some(log) = self.logs.get_mut(name) else {
                continue;
            };
            let may_lack = match is_starting {
                true => log.floor.take().is_some() || std::mem::take(&mut log.was_interrupted),
                false => true,
            };
            if may_lack && *tail > log.known || log.former.is_some() {
                log.phase = LogPhase::Reading;
                self.repairs.insert((log.known, log.id), name.clone());
            } else {
                log.phase = LogPhase::Following;
            }
        }
        // Also for the logs that start: what arrives after the fence was published after their ends were read.
        self.request_fence();
        self.drain();
    }

    /// Events before the start of a log may be lost. It is not known which of them were published after the first member
    /// had joined.
    fn report_start(&mut self, name: &LogName, start: u64) {
        let (Some(epoch), Some(log)) = (self.epoch, self.logs.get_mut(name)) else {
            return;
        };
        let position = |n| Position { epoch, n };
        let since = std::mem::replace(&mut log.since, start);
        if start > since || log.former.is_some() {
            self.steps.push(LogStep::ReportGap {
                log: name.clone(),
                after: log.former.take().unwrap_or_else(|| position(since)),
                before: position(start + 1),
            });
        }
    }

    /// A part of a log, as requested by [`LogStep::Read`].
    pub(in crate::cluster) fn page_read(&mut self, request: u64, name: &LogName, page: LogPage) {
        self.reading = self.reading.saturating_sub(1);
        let awaited = |log: &&mut Tracked| log.request == Some(request);
        let Some(log) = self.logs.get_mut(name).filter(awaited) else {
            return self.drain();
        };
        self.progress.0 += 1;
        log.request = None;
        let former = log.former.take();
        self.repairs.remove(&(log.known, log.id));
        if let Some(epoch) = page.epoch.filter(|epoch| self.epoch != Some(*epoch)) {
            log.former = former;
            let is_first = self.epoch.is_none();
            self.begin_epoch(epoch);
            if !is_first {
                return;
            }
        }
        let is_last = page.events.len() < PAGE;
        if let Some(epoch) = self.epoch {
            self.hold_page(name, epoch, former, page);
        }
        if let Some(log) = self.logs.get_mut(name) {
            if is_last {
                log.phase = LogPhase::Following;
            } else {
                self.repairs.insert((log.known, log.id), name.clone());
            }
        }
        self.evict();
        self.drain();
    }

    /// Holds what was read from a log, and the gaps in it.
    fn hold_page(&mut self, name: &LogName, epoch: Epoch, former: Option<Position>, page: LogPage) {
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        let position = |n| Position { epoch, n };
        let mut lost = page.trimmed || former.is_some();
        self.newest_read = self.newest_read.max(page.tail);
        let mut after = former.unwrap_or_else(|| position(log.known));
        for event in page.events {
            if lost || event.prev > log.known {
                self.held.push_gap(Gap {
                    log: name.clone(),
                    after,
                    before: position(event.n),
                    last: event.prev,
                });
            }
            lost = false;
            log.known = log.known.max(event.n);
            self.newest_read = self.newest_read.max(event.n);
            after = position(log.known);
            self.held.push(HeldEvent {
                emit: event.emit,
                position: after,
                is_own: false,
                arrived: None,
                read_from: [name.clone()].into_iter().collect(),
            });
        }
        if lost {
            self.held.push_gap(Gap {
                log: name.clone(),
                after,
                before: position(page.tail + 1),
                last: page.tail,
            });
        }
    }

    /// Where logs end, as requested by [`LogStep::CheckTails`]: one whose end was after the last delivered event at the
    /// last check too has events that did not arrive.
    pub(in crate::cluster) fn tails_checked(&mut self, names: &[LogName], tails: &Tails) {
        self.is_checking = false;
        if tails.epoch != self.epoch {
            // One that was requested in the former epoch is out of date.
            let is_new = |epoch: &Epoch| self.epoch.is_some() && self.former_epoch != Some(*epoch);
            if let Some(epoch) = tails.epoch.filter(is_new) {
                self.begin_epoch(epoch);
                return;
            }
            if self.epoch.is_some() {
                return;
            }
        }
        for (name, tail) in names.iter().zip(&tails.tails) {
            let following = |log: &&mut Tracked| log.phase == LogPhase::Following;
            let Some(log) = self.logs.get_mut(name).filter(following) else {
                continue;
            };
            let last = log.last;
            let suspected = log.suspected.replace(*tail);
            if *tail <= last {
                log.suspected = None;
            } else if suspected.is_some_and(|suspected| suspected > last) {
                log.suspected = None;
                self.wait_for(name, LogPhase::Reading, last);
            }
        }
        self.drain();
    }

    /// Requests a check whether the last events of logs did not arrive.
    pub(in crate::cluster) fn check_tails(&mut self) {
        let following = self.logs.iter();
        let following = following.filter(|(_, log)| log.phase == LogPhase::Following);
        let names: Vec<LogName> = following.map(|(name, _)| name.clone()).collect();
        if !names.is_empty() && !self.is_checking && !self.cut_off {
            self.is_checking = true;
            self.steps.push(LogStep::CheckTails(names));
        }
    }

    /// To be called at intervals: if there was no progress since the last call, what waits no longer waits. What is
    /// missing before it is named, unless the bus is out of reach.
    pub(in crate::cluster) fn expire(&mut self) {
        let (now, before) = self.progress;
        self.progress.1 = now;
        let waits = self.suspended || !self.repairs.is_empty();
        if !waits {
            // The next repair has the whole interval.
            self.progress.0 += 1;
        } else if now == before {
            if self.suspended {
                self.suspended = false;
            } else if !self.cut_off {
                self.abandon();
            }
            self.drain();
        }
    }

    /// Abandons what could not be read.
    fn abandon(&mut self) {
        let Some(epoch) = self.epoch else { return };
        let position = |n| Position { epoch, n };
        let (mut gaps, mut started) = (Vec::new(), Vec::new());
        for event in self.held.events_mut() {
            let n = event.position.n;
            for (name, prev) in event.arrived.iter().flatten() {
                let Some(log) = self.logs.get_mut(name) else {
                    continue;
                };
                let waits = self.repairs.remove(&(log.known, log.id)).is_some();
                if waits && log.phase == LogPhase::Starting {
                    log.start_at(*prev);
                    if std::mem::take(&mut log.was_interrupted) {
                        started.push((name.clone(), *prev));
                    }
                } else if waits && n > log.known {
                    gaps.push(log.gap_before(name, position(n), *prev));
                } else if waits {
                    self.repairs.insert((log.known, log.id), name.clone());
                }
            }
            // Its other rooms receive it with the one from whose log it was read: members of both would receive it again
            // if it was read from another log later.
            for name in event.unread_logs() {
                let Some(log) = self.logs.get_mut(&name) else {
                    continue;
                };
                let is_read = log.phase != LogPhase::Starting && n > log.known;
                if is_read && self.repairs.remove(&(log.known, log.id)).is_some() {
                    gaps.push(log.gap_before(&name, position(n), n - 1));
                    event.read_from.push(name);
                }
            }
        }
        gaps.into_iter().for_each(|gap| self.held.push_gap(gap));
        for (name, start) in started {
            self.report_start(&name, start);
        }
        self.repairs.clear();
        for (name, log) in &mut self.logs {
            if log.phase == LogPhase::Starting {
                continue;
            }
            (log.phase, log.request) = (LogPhase::Following, None);
            if let Some(after) = log.former.take() {
                let n = log.reached() + 1;
                let (log, before) = (name.clone(), Position { epoch, n });
                self.steps.push(LogStep::ReportGap { log, after, before });
            }
        }
    }

    /// The logs begin anew, or for the first time. What is held is of the former epoch and complete.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch) {
        let Some(former) = self.epoch else {
            self.epoch = Some(epoch);
            return;
        };
        // What is missing before these events cannot be read any more.
        let logs = self.logs.values_mut();
        logs.for_each(|log| log.attempted = u64::MAX);
        while let Some(item) = self.held.pop() {
            match item {
                HeldItem::Gaps(gaps) => gaps.into_iter().for_each(|gap| self.report(gap)),
                HeldItem::Event(event) => {
                    let _ = self.turn_of_held(&event, event.position.n);
                    self.deliver_held(*event);
                }
            }
        }
        self.epoch = Some(epoch);
        self.former_epoch = Some(former);
        self.former_read = self.newest_read;
        let arrived = self.arrived_before.unwrap_or(self.arrived);
        (self.arrived, self.newest_read, self.fence) = (0, 0, None);
        self.arrived_before = self.arrived_before.map(|_| 0);
        self.repairs.clear();
        self.logs.retain(|_, log| !log.is_temporary);
        for (name, log) in &mut self.logs {
            log.begin_epoch(former, arrived);
            if log.phase == LogPhase::Checking {
                self.repairs.insert((0, log.id), name.clone());
            }
        }
        self.request_tails(self.logs.keys().cloned().collect());
    }

    /// Events of a log may have been missed.
    fn check(&mut self, name: &LogName) {
        let Some(log) = self.logs.get_mut(name) else {
            return;
        };
        let (reached, known) = (log.reached(), log.known);
        match log.phase {
            LogPhase::Starting => log.was_interrupted = true,
            LogPhase::Following => self.wait_for(name, LogPhase::Checking, reached),
            LogPhase::Checking | LogPhase::Reading => {
                self.wait_for(name, LogPhase::Checking, known);
            }
        }
    }

    fn request_tails(&mut self, logs: Vec<LogName>) {
        if logs.is_empty() {
            return;
        }
        self.next += 1;
        let request = self.next;
        for name in &logs {
            if let Some(log) = self.logs.get_mut(name) {
                log.request = Some(request);
            }
        }
        self.steps.push(LogStep::ReadTails { logs, request });
    }

    /// Requests the next pages, first those that the others wait for.
    pub(super) fn request_pages(&mut self) {
        let may_read_ahead = self.held.bytes() < READ_AHEAD;
        for (index, name) in self.repairs.values().enumerate() {
            if self.reading >= CONCURRENT_READS || index > 0 && !may_read_ahead {
                return;
            }
            let readable =
                |log: &&mut Tracked| log.phase == LogPhase::Reading && log.request.is_none();
            if let Some(log) = self.logs.get_mut(name).filter(readable) {
                self.next += 1;
                self.reading += 1;
                let request = self.next;
                log.request = Some(request);
                let (log, after) = (name.clone(), log.known);
                self.steps.push(LogStep::Read {
                    log,
                    after,
                    request,
                });
            }
        }
    }
}
