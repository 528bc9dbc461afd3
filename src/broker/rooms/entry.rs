//! What the index stores, one entry for each socket, room and namespace.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use smallvec::SmallVec;

use crate::model::{Namespace, Room, SocketId};
use crate::outbox::LaneId;

/// Number of a socket among its worker's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketKey(pub(super) u32);

#[cfg(test)]
impl SocketKey {
    /// The key with a number.
    pub fn numbered(number: u32) -> Self {
        Self(number)
    }
}

/// A member of a room: the socket and the lane to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub socket: SocketKey,
    pub lane: LaneId,
}

/// The first member of a room came, or the last one left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    Appeared(Namespace, Room),
    Vanished(Namespace, Room),
}

impl RoomChange {
    /// The room.
    pub fn name(&self) -> (Namespace, Room) {
        match self {
            Self::Appeared(namespace, room) | Self::Vanished(namespace, room) => {
                (namespace.clone(), room.clone())
            }
        }
    }
}

/// Number of a room among its worker's rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomKey(pub(super) u32);

/// A socket's position in the members of a room, so that leaving does not search.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomMembership {
    pub(super) room: RoomKey,
    pub(super) position: u32,
}

pub(super) struct SocketEntry {
    pub(super) id: SocketId,
    pub(super) lane: LaneId,
    pub(super) namespace: u32,
    /// Unix time of its connect in seconds.
    pub(super) connected_at: u32,
    /// The first is the room of all sockets of the namespace.
    pub(super) memberships: SmallVec<[RoomMembership; 2]>,
}

pub(super) struct RoomEntry {
    /// `None`: the room of all sockets of a namespace.
    pub(super) name: Option<Room>,
    pub(super) members: Vec<Member>,
}

pub(super) struct NamespaceEntry {
    pub(super) name: Namespace,
    /// The room of all its sockets.
    pub(super) everybody: RoomKey,
    pub(super) rooms: HashMap<Room, RoomKey>,
    pub(super) sockets: SocketIds,
}

/// Sockets of a namespace by id. The ids themselves are in the sockets' entries only.
#[derive(Default)]
pub(super) struct SocketIds {
    keys: HashTable<SocketKey>,
    hasher: DefaultHashBuilder,
}

impl SocketIds {
    /// Adds a socket whose entry is in `sockets`.
    pub(super) fn insert(&mut self, key: SocketKey, sockets: &[Option<SocketEntry>]) {
        let Self { keys, hasher } = self;
        let hash = |key: &SocketKey| hasher.hash_one(id_of(*key, sockets));
        keys.insert_unique(hash(&key), key, hash);
    }

    /// Removes a socket by the id in its former entry.
    pub(super) fn remove(&mut self, key: SocketKey, id: SocketId) {
        let hash = self.hasher.hash_one(Some(id));
        if let Ok(entry) = self.keys.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
    }

    pub(super) fn find(&self, id: SocketId, sockets: &[Option<SocketEntry>]) -> Option<SocketKey> {
        let hash = self.hasher.hash_one(Some(id));
        let is_it = |key: &SocketKey| id_of(*key, sockets) == Some(id);
        self.keys.find(hash, is_it).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn id_of(key: SocketKey, sockets: &[Option<SocketEntry>]) -> Option<SocketId> {
    sockets[key.0 as usize].as_ref().map(|socket| socket.id)
}
