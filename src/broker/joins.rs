//! Joins that wait until the bus delivers to their rooms.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::model::{Namespace, Room};

/// A join that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The bus is away: the socket hears this node only until it is back.
    pub degraded: bool,
}

struct Waiter {
    missing: Cell<usize>,
    degraded: Cell<bool>,
    done: Cell<Option<oneshot::Sender<Joined>>>,
}

/// Rooms whose subscription is not confirmed yet, and who waits for it.
#[derive(Default)]
pub struct Joins {
    unconfirmed: HashMap<(Namespace, Room), Vec<Rc<Waiter>>>,
}

impl Joins {
    /// The bridge was asked to subscribe to this room.
    pub fn asked(&mut self, namespace: Namespace, room: Room) {
        self.unconfirmed.entry((namespace, room)).or_default();
    }

    /// Waits for those of the rooms that are unconfirmed; `None` if there are none.
    pub fn wait(
        &mut self,
        namespace: &Namespace,
        rooms: &[Room],
    ) -> Option<oneshot::Receiver<Joined>> {
        let (done, receiver) = oneshot::channel();
        let waiter = Rc::new(Waiter {
            missing: Cell::new(0),
            degraded: Cell::new(false),
            done: Cell::new(Some(done)),
        });
        for room in rooms {
            if let Some(waiters) = self.unconfirmed.get_mut(&(namespace.clone(), room.clone())) {
                waiter.missing.set(waiter.missing.get() + 1);
                waiters.push(Rc::clone(&waiter));
            }
        }
        (waiter.missing.get() > 0).then_some(receiver)
    }

    /// The bus delivers to this room, or cannot for now, or nobody wants it any more: its joins go on.
    pub fn release(&mut self, namespace: Namespace, room: Room, degraded: bool) {
        for waiter in self
            .unconfirmed
            .remove(&(namespace, room))
            .unwrap_or_default()
        {
            waiter.missing.set(waiter.missing.get() - 1);
            waiter.degraded.set(waiter.degraded.get() | degraded);
            if waiter.missing.get() == 0
                && let Some(done) = waiter.done.take()
            {
                // The session may have ended meanwhile.
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
    fn a_join_is_complete_when_its_last_room_is() {
        let mut joins = Joins::default();
        let main = Namespace::main();
        let rooms = ["a", "b", "c"].map(Room::from);
        joins.asked(main.clone(), rooms[0].clone());
        joins.asked(main.clone(), rooms[1].clone());
        assert!(joins.wait(&main, &rooms[2..]).is_none());
        let mut waiting = joins.wait(&main, &rooms).unwrap();
        joins.release(main.clone(), rooms[0].clone(), true);
        assert!(waiting.try_recv().is_err());
        joins.release(main.clone(), rooms[1].clone(), false);
        assert_eq!(waiting.try_recv(), Ok(Joined { degraded: true }));
        assert!(joins.wait(&main, &rooms).is_none());
    }
}
