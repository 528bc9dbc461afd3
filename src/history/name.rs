//! Names of logs.

use crate::model::{Namespace, Room};

/// The log of a room, or of the events for all sockets of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogName {
    pub namespace: Namespace,
    /// `None`: events for all sockets of the namespace.
    pub room: Option<Room>,
}

impl LogName {
    /// The log of a room.
    pub fn of_room(namespace: Namespace, room: Room) -> Self {
        let room = Some(room);
        Self { namespace, room }
    }

    /// The log of the events for all sockets of a namespace.
    pub fn of_namespace(namespace: Namespace) -> Self {
        let room = None;
        Self { namespace, room }
    }

    /// The name as text, different for different logs. A namespace contains no comma (`docs/protocol.md`).
    pub fn key(&self) -> String {
        match &self.room {
            Some(room) => format!("room:{},{room}", self.namespace),
            None => format!("namespace:{}", self.namespace),
        }
    }
}
