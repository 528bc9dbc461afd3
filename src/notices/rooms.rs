//! Which rooms are occupied, decided by the whole cluster.
//!
//! The first and the last member on a worker mark their room. The main thread then compares the room with its claim, a
//! field of a hash in the store, and changes the claim atomically: of all nodes, only the one whose change took effect
//! sends the notice. A mark acts on the state of the room at its time, so it can wait for the store or for other nodes,
//! and several changes of a room in the meantime count as one.

use std::collections::{BTreeSet, HashMap};
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

/// Marked rooms, also in the order in which they are due.
#[derive(Debug, Default)]
struct MarkedRooms {
    marks: HashMap<RoomName, Mark>,
    by_due: BTreeSet<(Instant, RoomName)>,
}

impl MarkedRooms {
    /// Adds a mark, in place of the former one of the room.
    fn insert(&mut self, room: RoomName, mark: Mark) {
        if let Some(former) = self.marks.insert(room.clone(), mark)
            && former.due != mark.due
        {
            self.by_due.remove(&(former.due, room.clone()));
        }
        self.by_due.insert((mark.due, room));
    }

    /// Removes the room that has been due for longest at `at`.
    fn pop_due(&mut self, at: Instant) -> Option<(RoomName, Mark)> {
        self.next_due().filter(|due| *due <= at)?;
        let (_, room) = self.by_due.pop_first()?;
        self.marks.remove_entry(&room)
    }

    /// When the next room is due.
    fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }
}

/// The rooms of a node whose claims may have to change. Marked by the workers.
#[derive(Debug)]
pub(super) struct Marks {
    rooms: Mutex<MarkedRooms>,
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
        let mut rooms = self.lock();
        if !rooms.marks.contains_key(&room) {
            rooms.insert(room, Mark { due, ..mark });
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
        let due = std::iter::from_fn(|| rooms.pop_due(at));
        let taken = due.take(limit).collect();
        (taken, rooms.next_due())
    }

    /// Makes every room due, except those that would only be verified.
    pub(super) fn hurry(&self) {
        let at = now();
        let mut rooms = self.lock();
        let marks = std::mem::take(&mut *rooms).marks;
        for (room, mark) in marks {
            if mark.state != RoomState::Verify {
                rooms.insert(room, Mark { due: at, ..mark });
            }
        }
        self.changed.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().marks.is_empty()
    }

    /// Completes when a room has been marked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, MarkedRooms> {
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

    #[tokio::test(start_paused = true)]
    async fn rooms_are_examined_in_the_order_in_which_they_are_due() {
        let marks = Marks::new(Duration::from_secs(3));
        let main = Namespace::main();
        let names: Vec<String> = (0..50)
            .map(|number| format!("{}", 7 * number % 50))
            .collect();
        for name in &names {
            marks.vacated(&main, &Room::from(&**name));
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        // A new state replaces the former one, and when it was due.
        marks.vacated(&main, &Room::from(&*names[0]));
        let last = now() + Duration::from_secs(3);
        tokio::time::advance(Duration::from_secs(3) - Duration::from_millis(1)).await;
        let mut taken = Vec::new();
        let next = loop {
            let (due, next) = marks.take_due(4);
            if due.is_empty() {
                break next;
            }
            taken.extend(due.into_iter().map(|((_, room), _)| room.to_string()));
        };
        assert_eq!((&taken[..], next), (&names[1..], Some(last)));
    }
}
