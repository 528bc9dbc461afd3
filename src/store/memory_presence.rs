//! Presence in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::presence::{
    NumberedRequest, PresenceChange, PresenceChangeKind, PresenceDeparture, PresenceEvent,
    PresenceOutcome, PresencePage, PresenceStore, PresenceSweep, PresenceSweepRequest,
};
use super::{MemoryStore, StoreFuture};

#[derive(Debug, Clone, Default)]
struct MemoryUser {
    nodes: BTreeSet<String>,
    data: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct MemoryRoom {
    users: BTreeMap<String, MemoryUser>,
    version: u64,
}

/// The presence of one cluster in a [`MemoryStore`].
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryPresence {
    rooms: HashMap<String, MemoryRoom>,
    departures: BTreeSet<(Instant, String, String)>,
    removed: BTreeSet<String>,
    /// The last request of each node, with its outcomes.
    applied: HashMap<String, (NumberedRequest, Vec<PresenceOutcome>)>,
    /// Departures that members may not have received, with the time at which they are due again.
    taken: BTreeMap<NumberedRequest, (Instant, Vec<PresenceDeparture>)>,
}

impl MemoryRoom {
    fn advance(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        self.version = now.max(self.version + 1);
        self.version
    }
}

impl MemoryPresence {
    fn enter(
        &mut self,
        node: &str,
        change: &PresenceChange,
        data: Option<&str>,
    ) -> PresenceOutcome {
        let PresenceChange { room, user, .. } = change;
        let entry = self.rooms.entry(room.clone()).or_default();
        let mut event = (!entry.users.contains_key(user)).then_some(PresenceEvent::Joined);
        let present = entry.users.entry(user.clone()).or_default();
        present.nodes.insert(node.to_owned());
        if data.is_some() && present.data.as_deref() != data {
            present.data = data.map(str::to_owned);
            event = event.or(Some(PresenceEvent::Updated));
        }
        let data = present.data.clone();
        let version = match event {
            Some(_) => entry.advance(),
            None => entry.version,
        };
        let count = entry.users.len() as u64;
        self.departures
            .retain(|(_, other, gone)| other != room || gone != user);
        PresenceOutcome {
            event,
            version,
            count,
            data,
        }
    }

    /// A node leaves a user; `unknown` is the user if the store does not know it, and has to depart all the same.
    fn leave(
        &mut self,
        node: &str,
        (room, user): (&str, &str),
        delay: Duration,
        unknown: Option<MemoryUser>,
    ) -> PresenceOutcome {
        let users = self.rooms.get(room).map(|entry| &entry.users);
        let is_known = users.is_some_and(|users| users.contains_key(user));
        let unknown = match (is_known, unknown) {
            (true, _) => MemoryUser::default(),
            (false, Some(unknown)) => unknown,
            (false, None) => {
                return PresenceOutcome {
                    event: None,
                    version: 0,
                    count: 0,
                    data: None,
                };
            }
        };
        let entry = self.rooms.entry(room.to_owned()).or_default();
        let present = entry.users.entry(user.to_owned()).or_insert(unknown);
        let has_changed = present.nodes.remove(node) || !is_known;
        if has_changed && present.nodes.is_empty() {
            let due = Instant::now() + delay;
            let departure = (due, room.to_owned(), user.to_owned());
            self.departures.insert(departure);
        }
        PresenceOutcome {
            event: None,
            version: entry.version,
            count: entry.users.len() as u64,
            data: None,
        }
    }

    fn apply(
        &mut self,
        request: &NumberedRequest,
        changes: &[PresenceChange],
    ) -> Option<Vec<PresenceOutcome>> {
        let node = &request.node;
        if self.removed.contains(node) {
            return None;
        }
        if let Some((last, outcomes)) = self.applied.get(node)
            && (last.process == request.process && last.number >= request.number)
        {
            return Some(outcomes.clone());
        }
        let outcomes = changes.iter().map(|change| match &change.kind {
            PresenceChangeKind::Enter { data } => self.enter(node, change, data.as_deref()),
            PresenceChangeKind::Leave { delay, data } => {
                let unknown = MemoryUser {
                    data: data.clone(),
                    ..MemoryUser::default()
                };
                let member = (&*change.room, &*change.user);
                self.leave(node, member, *delay, Some(unknown))
            }
            PresenceChangeKind::LeaveAgain { delay } => {
                self.leave(node, (&change.room, &change.user), *delay, None)
            }
        });
        let outcomes: Vec<PresenceOutcome> = outcomes.collect();
        let kept = (request.clone(), outcomes.clone());
        self.applied.insert(node.clone(), kept);
        Some(outcomes)
    }

    fn sweep(&mut self, request: PresenceSweepRequest) -> PresenceSweep {
        let now = Instant::now();
        if let Some(emitted) = &request.emitted {
            self.taken.remove(emitted);
        }
        let mut again = self.taken.remove(&request.id);
        if again.is_none() && request.limit > 0 {
            let mut taken = self.taken.iter();
            let overdue = taken.find(|(_, (due, _))| *due <= now);
            let overdue = overdue.map(|(id, _)| id.clone());
            again = overdue.and_then(|id| self.taken.remove(&id));
        }
        let departures = match again {
            Some((_, mut departures)) => {
                departures.retain(|departure| !self.has(&departure.room, &departure.user));
                departures
            }
            None => self.take(request.limit, now),
        };
        let emits = departures.iter().filter(|departure| departure.count > 0);
        let emits: Vec<PresenceDeparture> = emits.cloned().collect();
        if !emits.is_empty() {
            let due = now + request.time_to_emit;
            self.taken.insert(request.id, (due, emits));
        }
        let next = self.departures.first();
        let next = next.map(|first| first.0.saturating_duration_since(now));
        PresenceSweep { departures, next }
    }

    fn has(&self, room: &str, user: &str) -> bool {
        let room = self.rooms.get(room);
        room.is_some_and(|room| room.users.contains_key(user))
    }

    /// Takes departures that are due for the first time.
    fn take(&mut self, limit: usize, now: Instant) -> Vec<PresenceDeparture> {
        let mut departures = Vec::new();
        while departures.len() < limit {
            let is_due = self.departures.first().is_some_and(|first| first.0 <= now);
            let Some((_, room, user)) = is_due.then(|| self.departures.pop_first()).flatten()
            else {
                break;
            };
            let Some(entry) = self.rooms.get_mut(&room) else {
                continue;
            };
            let removed = entry.users.remove(&user);
            let (version, count) = (entry.advance(), entry.users.len() as u64);
            if count == 0 {
                self.rooms.remove(&room);
            }
            departures.push(PresenceDeparture {
                room,
                user,
                version,
                count,
                data: removed.and_then(|removed| removed.data),
            });
        }
        departures
    }
}

impl MemoryStore {
    fn with_presence<T: Send + 'static>(
        &self,
        base: &str,
        work: impl FnOnce(&mut MemoryPresence) -> T,
    ) -> StoreFuture<T> {
        let mut all = self.presence();
        let result = work(all.entry(base.to_owned()).or_default());
        self.respond(result)
    }
}

impl PresenceStore for MemoryStore {
    fn presence_apply(
        &self,
        base: &str,
        request: &NumberedRequest,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>> {
        self.with_presence(base, |presence| presence.apply(request, &changes))
    }

    fn presence_sweep(
        &self,
        base: &str,
        request: PresenceSweepRequest,
    ) -> StoreFuture<PresenceSweep> {
        self.with_presence(base, |presence| presence.sweep(request))
    }

    fn presence_page(
        &self,
        base: &str,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage> {
        self.with_presence(base, |presence| {
            let Some(entry) = presence.rooms.get(room) else {
                return PresencePage::default();
            };
            let first = after.map_or(Bound::Unbounded, Bound::Excluded);
            let users = entry.users.range::<str, _>((first, Bound::Unbounded));
            let users = users.take(limit);
            PresencePage {
                count: entry.users.len() as u64,
                version: entry.version,
                users: users
                    .map(|(user, present)| (user.clone(), present.data.clone()))
                    .collect(),
            }
        })
    }

    fn presence_remove_node(
        &self,
        base: &str,
        node: &str,
        delay: Duration,
        limit: usize,
    ) -> StoreFuture<u64> {
        self.with_presence(base, |presence| {
            presence.removed.insert(node.to_owned());
            presence.applied.remove(node);
            let rooms = presence.rooms.iter();
            let held: Vec<(String, String)> = rooms
                .flat_map(|(room, entry)| {
                    let users = entry.users.iter();
                    let held = users.filter(|(_, present)| present.nodes.contains(node));
                    held.map(move |(user, _)| (room.clone(), user.clone()))
                })
                .collect();
            for (room, user) in held.iter().take(limit) {
                presence.leave(node, (room, user), delay, None);
            }
            held.len().saturating_sub(limit) as u64
        })
    }
}
