//! Reads what a session missed: from several logs, in one order.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use hashbrown::HashMap;

use super::event_logs::{EventLogs, EventPage};
use super::time_limit::within_recovery_time;
use crate::history::LogName;
use crate::model::{Emit, Epoch, Room};
use crate::store::StoreError;

/// Number of events that are read from a log at once.
const PAGE: usize = 200;
/// Number of logs that are read at the same time.
const CONCURRENT_LOGS: usize = 16;

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub struct MissedLimits {
    pub events: usize,
    pub bytes: usize,
    /// Number of entries that are read to find these events.
    pub entries: usize,
    /// What was removed from a log up to this number, the client has received.
    pub received: u64,
}

/// Why not everything that was missed can be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The logs were lost.
    Epoch,
    /// Events were removed from the log.
    Trimmed(LogName),
    /// It is more than the limits allow.
    TooMuch,
    Store(StoreError),
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The logs of a session, each with the number up to which it is read.
#[derive(Debug)]
pub struct MissedReader {
    logs: Vec<(LogName, u64)>,
    /// Set if there is one log with all events of the namespace: selects those that the session receives.
    interests: Option<Interests>,
    epoch: Option<Epoch>,
    limits: MissedLimits,
    /// The client has received everything up to this number, so nothing before it is read, also of logs that are added.
    offset: u64,
}

/// The rooms of a session, each with the number after which the session receives its events.
#[derive(Debug, Default)]
struct Interests {
    /// The number for events to all sockets of the namespace.
    all: u64,
    rooms: HashMap<Room, u64>,
    /// The highest of these numbers.
    highest: u64,
}

impl Interests {
    fn add(&mut self, log: LogName, after: u64) {
        self.highest = self.highest.max(after);
        match log.room {
            Some(room) => drop(self.rooms.entry(room).or_insert(after)),
            None => self.all = after,
        }
    }

    fn include(&self, n: u64, emit: &Emit) -> bool {
        let is_member = |room: &Room| self.rooms.get(room).is_some_and(|after| n > *after);
        match emit.to.rooms.as_slice() {
            [] => n > self.all,
            rooms => rooms.iter().any(is_member),
        }
    }
}

/// Events by their numbers.
pub type MissedEvents = BTreeMap<u64, Emit>;

impl MissedReader {
    /// Reads these logs, each after its number. The epoch is that of the numbers; `None` if they are all 0.
    pub fn new(logs: Vec<(LogName, u64)>, epoch: Option<Epoch>, limits: MissedLimits) -> Self {
        Self {
            logs,
            interests: None,
            epoch,
            limits,
            offset: 0,
        }
    }

    /// Reads one log with all events of a namespace, after the number that the client has received, and selects the
    /// events of `logs`, each after its own number.
    pub fn of_namespace(
        log: (LogName, u64),
        logs: Vec<(LogName, u64)>,
        epoch: Option<Epoch>,
        limits: MissedLimits,
    ) -> Self {
        let mut interests = Interests::default();
        for (log, after) in logs {
            interests.add(log, after);
        }
        Self {
            logs: vec![log],
            interests: Some(interests),
            epoch,
            limits,
            offset: 0,
        }
    }

    /// The client has received everything up to this number.
    pub fn after_offset(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// The epoch of the logs.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Reads another log, after a number.
    pub fn add(&mut self, log: LogName, after: u64) {
        let after = after.max(self.offset);
        match &mut self.interests {
            Some(interests) => interests.add(log, after),
            None => self.logs.push((log, after)),
        }
    }

    /// The events that were logged since, and the number up to which these are all.
    ///
    /// # Errors
    /// Not all of them can be read.
    pub async fn read(
        &mut self,
        reader: &dyn EventLogs,
    ) -> Result<(MissedEvents, u64), Unreadable> {
        let names: Vec<LogName> = self.logs.iter().map(|(name, _)| name.clone()).collect();
        let tails = within_recovery_time(|| reader.tails(&names)).await?;
        match (self.epoch, tails.epoch) {
            (Some(known), Some(current)) if known != current => return Err(Unreadable::Epoch),
            (Some(_), None) => return Err(Unreadable::Epoch),
            (_, current) => self.epoch = current,
        }
        // Up to here everything has a number: numbers increase over all logs.
        let until = tails.tails.iter().copied().max().unwrap_or(0);
        // The numbers of a stream are times: one beyond its end is of an entry that was lost.
        if let Some(interests) = &self.interests {
            let mut after = self.logs.iter().map(|(_, after)| *after);
            if interests.highest > until || after.any(|after| after > until) {
                return Err(Unreadable::Epoch);
            }
        }
        let newer = self.logs.iter().zip(&tails.tails);
        let newer: Vec<(LogName, u64)> = newer
            .filter(|((_, after), tail)| *tail > after)
            .map(|(log, _)| log.clone())
            .collect();
        let mut missed = MissedEvents::new();
        let mut bytes = 0;
        for logs in newer.chunks(CONCURRENT_LOGS) {
            let reads = logs
                .iter()
                .map(|(name, after)| self.read_log(reader, name, *after, until));
            for (n, emit) in try_join_all(reads).await?.into_iter().flatten() {
                // An event for several rooms is in several logs.
                if let std::collections::btree_map::Entry::Vacant(entry) = missed.entry(n) {
                    bytes += emit.payload.size();
                    entry.insert(emit);
                }
            }
            if missed.len() > self.limits.events || bytes > self.limits.bytes {
                return Err(Unreadable::TooMuch);
            }
        }
        for (_, after) in &mut self.logs {
            *after = (*after).max(until);
        }
        Ok((missed, until))
    }

    /// The events of a log after a number, up to `until`.
    async fn read_log(
        &self,
        reader: &dyn EventLogs,
        log: &LogName,
        mut after: u64,
        until: u64,
    ) -> Result<Vec<(u64, Emit)>, Unreadable> {
        let includes = |n: u64, emit: &Emit| {
            let interests = self.interests.as_ref();
            interests.is_none_or(|interests| interests.include(n, emit))
        };
        let (mut found, mut bytes, mut entries) = (Vec::new(), 0, 0);
        while after < until {
            let read = within_recovery_time(|| reader.read(log, after, until, PAGE)).await?;
            let EventPage { page, .. } = read;
            if page.trimmed {
                let removed = page.events.first().map_or(page.tail, |first| first.prev);
                if removed > self.limits.received {
                    return Err(Unreadable::Trimmed(log.clone()));
                }
            }
            for event in page.events {
                if includes(event.n, &event.emit) {
                    bytes += event.emit.payload.size();
                    found.push((event.n, event.emit));
                }
            }
            after = read.until;
            entries += read.entries;
            let limits = &self.limits;
            if found.len() > limits.events || bytes > limits.bytes || entries > limits.entries {
                return Err(Unreadable::TooMuch);
            }
        }
        Ok(found)
    }
}
