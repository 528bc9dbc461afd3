//! Who is present in rooms, by user: kept in the store, changed atomically.
//!
//! A room is a text that the store does not interpret. A user is present while some node has entered the user, and for a
//! while after the last node has left: then a departure is due, which any node takes, once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{MemoryStore, StoreFuture, ready_ok};

/// What a node changes about a user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    pub room: String,
    pub user: String,
    pub kind: PresenceChangeKind,
}

/// The kind of a [`PresenceChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceChangeKind {
    /// The user is on this node; `data` replaces what is known of the user. Repetitions have no effect.
    Enter { data: Option<String> },
    /// The user is not on this node any more. If no other node has the user, the departure is due after `delay`, even if
    /// the store does not know the user because it lost its data; it then has `data`.
    Leave {
        delay: Duration,
        data: Option<String>,
    },
    /// The same for a departure that was applied before, in case the store has lost that: only if it has the user.
    LeaveAgain { delay: Duration },
}

impl PresenceChangeKind {
    /// The time after which the departure is due, if it is one.
    pub fn leave_delay(&self) -> Option<Duration> {
        match self {
            Self::Leave { delay, .. } | Self::LeaveAgain { delay } => Some(*delay),
            Self::Enter { .. } => None,
        }
    }
}

/// What a change has caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceEvent {
    /// The user was not present.
    Joined,
    /// The user has other data.
    Updated,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOutcome {
    pub event: Option<PresenceEvent>,
    /// Grows with each event of the room.
    pub version: u64,
    /// Number of users in the room.
    pub count: u64,
    /// The data of the user.
    pub data: Option<String>,
}

/// A user who is not present any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceDeparture {
    pub room: String,
    pub user: String,
    /// Grows with each event of the room.
    pub version: u64,
    /// Number of users left.
    pub count: u64,
    /// The data that the user had.
    pub data: Option<String>,
}

/// Departures that were due, and the time until the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceSweep {
    pub departures: Vec<PresenceDeparture>,
    pub next: Option<Duration>,
}

/// Some of the users of a room, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresencePage {
    /// Number of users in the room.
    pub count: u64,
    /// That of the last event; 0 if the room is empty.
    pub version: u64,
    /// Users with their data.
    pub users: Vec<(String, Option<String>)>,
}

/// Who is present in rooms. `base` is the prefix of all keys.
///
/// Every operation is atomic, and fails with a [`StoreError`](super::StoreError) if the store is unreachable.
pub trait PresenceStore {
    /// Applies changes of a node, in order. `None`: the node was removed, and nothing is applied.
    fn presence_apply(
        &self,
        base: &str,
        node: &str,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>>;

    /// Takes at most `limit` departures that are due. Each is returned once.
    fn presence_sweep(&self, base: &str, limit: usize) -> StoreFuture<PresenceSweep>;

    /// At most `limit` users of a room in the order of their bytes: those after `after`, or the first ones.
    fn presence_page(
        &self,
        base: &str,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage>;

    /// A node is gone for good: it leaves at most `limit` of the users it has, with departures due after `delay`, and
    /// can enter none any more. Returns how many it still has.
    fn presence_remove_node(
        &self,
        base: &str,
        node: &str,
        delay: Duration,
        limit: usize,
    ) -> StoreFuture<u64>;
}

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

    fn sweep(&mut self, limit: usize) -> PresenceSweep {
        let now = Instant::now();
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
        let next = self.departures.first();
        let next = next.map(|first| first.0.saturating_duration_since(now));
        PresenceSweep { departures, next }
    }
}

impl MemoryStore {
    fn with_presence<T: Send + 'static>(
        &self,
        base: &str,
        work: impl FnOnce(&mut MemoryPresence) -> T,
    ) -> StoreFuture<T> {
        let mut all = self.presence();
        ready_ok(work(all.entry(base.to_owned()).or_default()))
    }
}

impl PresenceStore for MemoryStore {
    fn presence_apply(
        &self,
        base: &str,
        node: &str,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>> {
        self.with_presence(base, |presence| {
            if presence.removed.contains(node) {
                return None;
            }
            let outcomes = changes.iter().map(|change| match &change.kind {
                PresenceChangeKind::Enter { data } => presence.enter(node, change, data.as_deref()),
                PresenceChangeKind::Leave { delay, data } => {
                    let unknown = MemoryUser {
                        data: data.clone(),
                        ..MemoryUser::default()
                    };
                    let member = (&*change.room, &*change.user);
                    presence.leave(node, member, *delay, Some(unknown))
                }
                PresenceChangeKind::LeaveAgain { delay } => {
                    presence.leave(node, (&change.room, &change.user), *delay, None)
                }
            });
            Some(outcomes.collect())
        })
    }

    fn presence_sweep(&self, base: &str, limit: usize) -> StoreFuture<PresenceSweep> {
        self.with_presence(base, |presence| presence.sweep(limit))
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
