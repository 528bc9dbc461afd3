//! Which rooms are occupied, decided by the whole cluster.
//!
//! The first and the last member on a worker mark their room. The main thread then compares the room with its claim, a
//! field of a hash in the store, and changes the claim atomically: of all nodes, only the one whose change took effect
//! sends the notice. A mark acts on the state of the room at its time, so it can wait for the store or for other nodes,
//! and several changes of a room in the meantime count as one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::clock::now;
use crate::model::{Namespace, Room};

/// Number of rooms that are examined at once.
pub(super) const CONCURRENT: usize = 64;
/// Time until the claim of a room that was occupied already is verified. By then, a node that saw the room empty at the
/// same time has removed the claim.
const VERIFY_AFTER: Duration = Duration::from_secs(3);

/// The name of a room in the cluster.
pub(super) type RoomName = (Namespace, Room);

/// The last known state of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoomState {
    /// It has a member on this node.
    Occupied,
    /// It has a member on this node, and had been claimed before.
    Verify,
    /// A worker of this node has lost its last member.
    Vacated,
}

/// A room to examine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) state: RoomState,
    /// When the state began.
    pub(super) since: SystemTime,
    due: Instant,
}

/// The rooms of a node whose claims may have to change. Marked by the workers.
#[derive(Debug)]
pub(super) struct Marks {
    rooms: Mutex<HashMap<RoomName, Mark>>,
    changed: Notify,
    debounce: Duration,
}

impl Marks {
    pub(super) fn new(debounce: Duration) -> Self {
        Self {
            rooms: Mutex::default(),
            changed: Notify::new(),
            debounce,
        }
    }

    /// A worker has its first member.
    pub(super) fn occupied(&self, namespace: &Namespace, room: &Room) {
        let mark = Mark {
            state: RoomState::Occupied,
            since: SystemTime::now(),
            due: now(),
        };
        self.set(namespace, room, mark);
    }

    /// A worker has lost its last member.
    pub(super) fn vacated(&self, namespace: &Namespace, room: &Room) {
        let mark = Mark {
            state: RoomState::Vacated,
            since: SystemTime::now(),
            due: now() + self.debounce,
        };
        self.set(namespace, room, mark);
    }

    /// A node that may have had the last member is gone.
    pub(super) fn suspected(&self, namespace: &Namespace, room: &Room) {
        let mark = Mark {
            state: RoomState::Vacated,
            since: SystemTime::now(),
            due: now(),
        };
        self.again((namespace.clone(), room.clone()), mark, self.debounce);
    }

    fn set(&self, namespace: &Namespace, room: &Room, mark: Mark) {
        self.lock().insert((namespace.clone(), room.clone()), mark);
        self.changed.notify_one();
    }

    /// Examines a room again after a while, unless it has changed meanwhile.
    pub(super) fn again(&self, room: RoomName, mark: Mark, after: Duration) {
        let due = now() + after;
        if let Entry::Vacant(entry) = self.lock().entry(room) {
            entry.insert(Mark { due, ..mark });
            self.changed.notify_one();
        }
    }

    /// Verifies later that a room which another node had claimed is still claimed.
    pub(super) fn verify(&self, room: RoomName, mark: Mark) {
        let state = RoomState::Verify;
        self.again(room, Mark { state, ..mark }, VERIFY_AFTER);
    }

    /// The rooms that are due, at most `limit` of them, and when the next one is.
    pub(super) fn take_due(&self, limit: usize) -> (Vec<(RoomName, Mark)>, Option<Instant>) {
        let mut rooms = self.lock();
        let at = now();
        let due = rooms.iter().filter(|(_, mark)| mark.due <= at);
        let names: Vec<RoomName> = due.take(limit).map(|(name, _)| name.clone()).collect();
        let taken = names
            .into_iter()
            .filter_map(|name| rooms.remove_entry(&name));
        let taken = taken.collect();
        let next = rooms.values().map(|mark| mark.due).min();
        (taken, next)
    }

    /// Makes every room due, except those that would only be verified.
    pub(super) fn hurry(&self) {
        let at = now();
        let mut rooms = self.lock();
        rooms.retain(|_, mark| mark.state != RoomState::Verify);
        for mark in rooms.values_mut() {
            mark.due = at;
        }
        self.changed.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Completes when a room has been marked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomName, Mark>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_room_is_examined_once_for_several_changes_and_the_last_state_counts() {
        let marks = Marks::new(Duration::from_secs(3));
        let (main, room) = (Namespace::main(), Room::from("r"));
        marks.occupied(&main, &room);
        marks.vacated(&main, &room);
        assert_eq!(marks.take_due(9).0, []);
        tokio::time::advance(Duration::from_secs(1)).await;
        marks.occupied(&main, &room);
        let (due, next) = marks.take_due(9);
        assert_eq!((due.len(), next), (1, None));
        assert_eq!(due[0].1.state, RoomState::Occupied);
        marks.vacated(&main, &room);
        // A change in the meantime is newer than the state to examine again.
        marks.verify(due[0].0.clone(), due[0].1);
        tokio::time::advance(Duration::from_secs(3)).await;
        let (due, _) = marks.take_due(9);
        assert_eq!(due[0].1.state, RoomState::Vacated);
        assert!(marks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopping_node_waits_for_no_debounce_and_verifies_nothing() {
        let marks = Marks::new(Duration::from_secs(3));
        let (main, [a, b]) = (Namespace::main(), ["a", "b"].map(Room::from));
        marks.occupied(&main, &a);
        let (mut due, _) = marks.take_due(1);
        let (name, mark) = due.remove(0);
        marks.verify(name, mark);
        marks.vacated(&main, &b);
        marks.hurry();
        let (due, next) = marks.take_due(9);
        let names: Vec<&str> = due.iter().map(|((_, room), _)| room.as_str()).collect();
        assert_eq!((names, next), (vec!["b"], None));
    }
}
