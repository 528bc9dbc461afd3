//! Observes the sockets of one worker.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;

use super::intake::{Intake, NoticeEvent, NoticeEventKind};
use crate::broker::Observer;
use crate::config::NoticeKind;
use crate::model::{Identity, Namespace, Room, SocketChange, SocketEvent, SocketId};

/// Passes the events of a worker's sockets to the notices of the node.
pub struct NoticeObserver {
    intake: Arc<Intake>,
    /// Of the sockets that have one.
    users: RefCell<HashMap<SocketId, Arc<str>>>,
    /// Number of members on this worker; empty unless notices are about occupied or vacated rooms.
    members: RefCell<HashMap<(Namespace, Room), u32>>,
    counts_members: bool,
}

impl NoticeObserver {
    /// The observer of one worker.
    pub fn new(intake: Arc<Intake>) -> Self {
        Self {
            counts_members: intake.counts_members(),
            intake,
            users: RefCell::default(),
            members: RefCell::default(),
        }
    }

    fn pass(&self, kind: NoticeKind, event: &SocketEvent, change: NoticeEventKind) {
        if !self.intake.includes(kind) {
            return;
        }
        self.intake.offer(NoticeEvent {
            at: SystemTime::now(),
            namespace: event.namespace.clone(),
            socket: event.socket,
            user: self.users.borrow().get(&event.socket).cloned(),
            is_in_doubt: matches!(kind, NoticeKind::Disconnected | NoticeKind::Left)
                && self.intake.is_in_doubt(),
            change,
        });
    }

    fn identify(&self, socket: SocketId, identity: &Identity) {
        let user = Arc::from(identity.user.as_str());
        self.users.borrow_mut().insert(socket, user);
    }

    fn joined(&self, namespace: &Namespace, room: &Room) {
        let mut members = self.members.borrow_mut();
        let count = members
            .entry((namespace.clone(), room.clone()))
            .or_default();
        *count += 1;
        if *count == 1 {
            self.intake.marks.occupied(namespace, room);
        }
    }

    fn left(&self, namespace: &Namespace, room: &Room) {
        let mut members = self.members.borrow_mut();
        let key = (namespace.clone(), room.clone());
        let Some(count) = members.get_mut(&key) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            members.remove(&key);
            self.intake.marks.vacated(namespace, room);
        }
    }
}

impl Observer for NoticeObserver {
    fn on_event(&self, event: &SocketEvent) {
        match &event.change {
            SocketChange::Connected { identity } => {
                if let Some(identity) = identity {
                    self.identify(event.socket, identity);
                }
                self.pass(NoticeKind::Connected, event, NoticeEventKind::Connected);
            }
            SocketChange::Identified { identity } => self.identify(event.socket, identity),
            SocketChange::Joined(room) if self.intake.is_about(room) => {
                self.pass(
                    NoticeKind::Joined,
                    event,
                    NoticeEventKind::Joined(room.clone()),
                );
                if self.counts_members {
                    self.joined(&event.namespace, room);
                }
            }
            SocketChange::Left(room) if self.intake.is_about(room) => {
                self.pass(NoticeKind::Left, event, NoticeEventKind::Left(room.clone()));
                if self.counts_members {
                    self.left(&event.namespace, room);
                }
            }
            SocketChange::Joined(_) | SocketChange::Left(_) => {}
            SocketChange::Disconnected { reason } => {
                self.pass(
                    NoticeKind::Disconnected,
                    event,
                    NoticeEventKind::Disconnected(reason),
                );
                self.users.borrow_mut().remove(&event.socket);
            }
        }
    }
}
