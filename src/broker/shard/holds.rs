//! Rooms that the bus delivers to before they have a member.
//!
//! A socket that begins in rooms is registered, joined and sent its CONNECT response at once. Without a hold, events
//! emitted on other nodes would be missed until the bus has confirmed the subscriptions.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::Shard;
use crate::broker::joins::Joined;
use crate::broker::rooms::RoomChange;
use crate::model::{Namespace, Room};

/// Keeps the subscriptions of rooms until it is dropped.
pub struct RoomHold {
    shard: Rc<Shard>,
    namespace: Namespace,
    rooms: Vec<Room>,
}

impl Shard {
    /// Subscribes to rooms that a socket will join. The receiver fires when the bus delivers to all of them, or is down;
    /// `None` if it does already. Drop the hold after the join.
    pub fn hold(
        self: &Rc<Self>,
        namespace: &Namespace,
        rooms: Vec<Room>,
    ) -> (RoomHold, Option<oneshot::Receiver<Joined>>) {
        let mut hold = RoomHold {
            shard: Rc::clone(self),
            namespace: namespace.clone(),
            rooms: Vec::new(),
        };
        if self.directory.bus().is_none() {
            return (hold, None);
        }
        let mut state = self.state.borrow_mut();
        for room in &rooms {
            let name = (namespace.clone(), room.clone());
            if !state.holds.contains_key(&name) && !state.rooms.has_room(namespace, room) {
                let appeared = RoomChange::Appeared(namespace.clone(), room.clone());
                state.changes.push(appeared);
            }
        }
        // Before the rooms count as held: changes of held rooms are not reported.
        self.report_rooms(&mut state);
        for room in &rooms {
            let name = (namespace.clone(), room.clone());
            *state.holds.entry(name).or_default() += 1;
        }
        let confirmed = state.joins.wait(namespace, &rooms);
        hold.rooms = rooms;
        (hold, confirmed)
    }
}

impl Drop for RoomHold {
    fn drop(&mut self) {
        let mut state = self.shard.state.borrow_mut();
        for room in self.rooms.drain(..) {
            let name = (self.namespace.clone(), room);
            let Some(count) = state.holds.get_mut(&name) else {
                continue;
            };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            state.holds.remove(&name);
            let (namespace, room) = name;
            if !state.rooms.has_room(&namespace, &room) {
                state.changes.push(RoomChange::Vanished(namespace, room));
            }
        }
        self.shard.report_rooms(&mut state);
    }
}
