//! Observes the sockets of one worker.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;

use super::rooms::PresenceRooms;
use super::rules::PresenceEvents;
use crate::broker::Observer;
use crate::model::{Room, SocketChange, SocketEvent, SocketId};

/// Notes which users are in rooms with presence.
pub struct PresenceObserver {
    rooms: Arc<PresenceRooms>,
    sockets: RefCell<HashMap<SocketId, ObservedSocket>>,
}

/// A socket with a user, or in a room with presence.
#[derive(Default)]
struct ObservedSocket {
    /// `None`: the id of the socket stands for its user.
    user: Option<Arc<str>>,
    /// Those with presence.
    rooms: Vec<Room>,
}

impl PresenceObserver {
    /// The observer of one worker.
    pub fn new(rooms: Arc<PresenceRooms>) -> Self {
        Self {
            rooms,
            sockets: RefCell::default(),
        }
    }

    /// The socket belongs to another user, who is in its rooms from now on.
    fn identify(&self, event: &SocketEvent, user: &str) {
        let mut sockets = self.sockets.borrow_mut();
        let observed = sockets.entry(event.socket).or_default();
        let former = observed.user.replace(Arc::from(user));
        let former = former.as_deref().unwrap_or(event.socket.as_str());
        if former == user {
            return;
        }
        for room in &observed.rooms {
            let namespace = &event.namespace;
            self.rooms.enter(namespace, room, user, event.socket);
            self.rooms.leave(namespace, room, former, event.socket);
        }
    }
}

impl Observer for PresenceObserver {
    fn on_event(&self, event: &SocketEvent) {
        let (namespace, socket) = (&event.namespace, event.socket);
        match &event.change {
            SocketChange::Connected {
                identity: Some(identity),
            }
            | SocketChange::Identified { identity } => {
                if self.rooms.rules.concern(namespace) {
                    self.identify(event, &identity.user);
                }
            }
            SocketChange::Connected { identity: None } => {}
            SocketChange::Joined(room) => {
                let rule = self.rooms.rule(namespace, room);
                if rule.is_some_and(|rule| rule.events == PresenceEvents::Native) {
                    let mut sockets = self.sockets.borrow_mut();
                    let observed = sockets.entry(socket).or_default();
                    observed.rooms.push(room.clone());
                    let user = observed.user.as_deref().unwrap_or(socket.as_str());
                    self.rooms.enter(namespace, room, user, socket);
                    if event.is_catching_up {
                        self.rooms.report_return(namespace, room, user);
                    }
                }
            }
            SocketChange::Left(room) => {
                let mut sockets = self.sockets.borrow_mut();
                let Some(observed) = sockets.get_mut(&socket) else {
                    return;
                };
                let Some(at) = observed.rooms.iter().position(|other| other == room) else {
                    return;
                };
                observed.rooms.swap_remove(at);
                let user = observed.user.as_deref().unwrap_or(socket.as_str());
                self.rooms.leave(namespace, room, user, socket);
            }
            SocketChange::Disconnected { .. } => {
                self.sockets.borrow_mut().remove(&socket);
            }
        }
    }
}
