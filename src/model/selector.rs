//! The sockets that a command or query concerns.

use smallvec::SmallVec;

use super::{Namespace, Room, SocketId};

/// A set of sockets of one namespace: the union of `rooms`, or every socket if there are none, minus the members of the
/// rooms in `except`; each socket once (`docs/protocol.md#3-reasons-and-selection`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub namespace: Namespace,
    pub rooms: SmallVec<[Room; 1]>,
    pub except: SmallVec<[Room; 1]>,
}

impl Selector {
    /// Every socket of the namespace.
    pub fn everybody(namespace: Namespace) -> Self {
        Self {
            namespace,
            rooms: SmallVec::new(),
            except: SmallVec::new(),
        }
    }

    /// The members of one room.
    pub fn room(namespace: Namespace, room: Room) -> Self {
        let mut selector = Self::everybody(namespace);
        selector.rooms.push(room);
        selector
    }

    /// One socket, by its own room.
    pub fn socket(namespace: Namespace, socket: SocketId) -> Self {
        Self::room(namespace, Room::from(socket.as_str()))
    }

    /// The same without the members of `room`.
    pub fn except(mut self, room: Room) -> Self {
        self.except.push(room);
        self
    }

    /// Makes a command or query reach all nodes, instead of those that have subscribed to the channel of its only room.
    /// The same sockets are selected: only selectors of one room have a channel of their own, and each socket counts
    /// once.
    pub fn publish_to_all_nodes(&mut self) {
        if let [room] = self.rooms.as_slice() {
            let room = room.clone();
            self.rooms.push(room);
        }
    }

    /// The only socket that it selects, if that is selected by its id.
    pub fn single_socket(&self) -> Option<SocketId> {
        match self.rooms.as_slice() {
            [room] => SocketId::parse(room),
            _ => None,
        }
    }
}
