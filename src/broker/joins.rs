//! Joins that wait until the bus delivers to their rooms. Pure bookkeeping of one worker.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::model::{Namespace, Room};

/// A join that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The bus is down: until it is up again, the socket receives events of this node only.
    pub degraded: bool,
}

struct Waiter {
    /// Number of rooms that are not confirmed.
    missing: Cell<usize>,
    degraded: Cell<bool>,
    done: Cell<Option<oneshot::Sender<Joined>>>,
}

impl Waiter {
    fn new() -> (Rc<Self>, oneshot::Receiver<Joined>) {
        let (done, receiver) = oneshot::channel();
        let waiter = Self {
            missing: Cell::new(0),
            degraded: Cell::new(false),
            done: Cell::new(Some(done)),
        };
        (Rc::new(waiter), receiver)
    }
}

/// Rooms whose subscriptions are not confirmed, with the joins that wait for them.
#[derive(Default)]
pub struct Joins {
    unconfirmed: HashMap<(Namespace, Room), Vec<Rc<Waiter>>>,
}

impl Joins {
    /// The bridge has been requested to subscribe to this room.
    pub fn subscribing(&mut self, namespace: Namespace, room: Room) {
        self.unconfirmed.entry((namespace, room)).or_default();
    }

    /// Waits for the rooms that are not confirmed; `None` if all are confirmed.
    pub fn wait(
        &mut self,
        namespace: &Namespace,
        rooms: &[Room],
    ) -> Option<oneshot::Receiver<Joined>> {
        if self.unconfirmed.is_empty() {
            return None;
        }
        let mut wait = None;
        for room in rooms {
            let Some(waiters) = self.unconfirmed.get_mut(&(namespace.clone(), room.clone())) else {
                continue;
            };
            let (waiter, _) = wait.get_or_insert_with(Waiter::new);
            waiter.missing.set(waiter.missing.get() + 1);
            waiters.push(Rc::clone(waiter));
        }
        wait.map(|(_, done)| done)
    }

    /// Ends the wait for a room: the bus delivers to it, is down (`degraded`), or the last member has left.
    pub fn release(&mut self, namespace: Namespace, room: Room, degraded: bool) {
        for waiter in self
            .unconfirmed
            .remove(&(namespace, room))
            .unwrap_or_default()
        {
            debug_assert!(waiter.missing.get() > 0, "a waiting join lacks a room");
            waiter.missing.set(waiter.missing.get() - 1);
            waiter.degraded.set(waiter.degraded.get() | degraded);
            if waiter.missing.get() == 0
                && let Some(done) = waiter.done.take()
            {
                // The session may have ended.
                let _ = done.send(Joined {
                    degraded: waiter.degraded.get(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_completes_with_its_last_room_and_is_degraded_if_one_room_was() {
        let mut joins = Joins::default();
        let main = Namespace::main();
        let rooms = ["a", "b", "c"].map(Room::from);
        joins.subscribing(main.clone(), rooms[0].clone());
        joins.subscribing(main.clone(), rooms[1].clone());
        assert!(joins.wait(&main, &rooms[2..]).is_none());
        let mut waiting = joins.wait(&main, &rooms).unwrap();
        joins.release(main.clone(), rooms[0].clone(), true);
        assert!(waiting.try_recv().is_err());
        joins.release(main.clone(), rooms[1].clone(), false);
        assert_eq!(waiting.try_recv(), Ok(Joined { degraded: true }));
        assert!(joins.wait(&main, &rooms).is_none());
    }
}
