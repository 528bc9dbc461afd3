//! The index of one worker: which of its sockets are in which rooms.
//!
//! Pure bookkeeping: no actor, no packet, no clock. The members of a room lie side by side, each with the lane to its
//! client, so a fan-out walks one array.

mod entry;
mod select;
#[cfg(test)]
mod tests;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::model::{Namespace, Room, SocketDetails, SocketId};
use crate::outbox::LaneId;
use entry::{NamespaceEntry, RoomEntry, RoomKey, RoomMembership, SocketEntry, SocketIds};

pub use entry::{Member, RoomChange, SocketKey};

/// Rooms and sockets of one worker.
#[derive(Default)]
pub struct Rooms {
    namespaces: Vec<NamespaceEntry>,
    namespace_keys: HashMap<Namespace, u32>,
    free_namespaces: Vec<u32>,
    sockets: Vec<Option<SocketEntry>>,
    free_sockets: Vec<u32>,
    rooms: Vec<RoomEntry>,
    free_rooms: Vec<u32>,
    /// For each socket the number of the last selection that excepted or visited it.
    marks: Vec<u32>,
    /// Number of the current selection.
    mark: u32,
}

/// Whether a room is named in lists. Those of the former ids of sockets that have recovered a session are not, like the
/// own rooms of sockets.
fn is_shown(room: &Room) -> bool {
    !SocketId::has_room(room)
}

impl Rooms {
    /// The number of sockets.
    pub fn socket_count(&self) -> usize {
        self.sockets.len() - self.free_sockets.len()
    }

    /// The number of rooms that sockets have joined.
    pub fn named_room_count(&self) -> usize {
        let everybody = self.namespaces.len() - self.free_namespaces.len();
        self.rooms.len() - self.free_rooms.len() - everybody
    }

    /// Adds a socket, which is then in its own room and among all sockets of the namespace.
    pub fn register(&mut self, namespace: &Namespace, id: SocketId, lane: LaneId) -> SocketKey {
        let namespace_key = self.namespace_key(namespace);
        let socket = SocketEntry {
            id,
            lane,
            namespace: namespace_key,
            connected_at: 0,
            memberships: SmallVec::new(),
        };
        let key = match self.free_sockets.pop() {
            Some(index) => {
                self.sockets[index as usize] = Some(socket);
                SocketKey(index)
            }
            None => {
                self.sockets.push(Some(socket));
                self.marks.push(0);
                SocketKey(self.sockets.len() as u32 - 1)
            }
        };
        let entry = &mut self.namespaces[namespace_key as usize];
        entry.sockets.insert(key, &self.sockets);
        let everybody = entry.everybody;
        self.add_member(everybody, key);
        key
    }

    /// Records when a socket connected, as a Unix time in seconds.
    pub fn set_connected_at(&mut self, key: SocketKey, seconds: u32) {
        if let Some(socket) = &mut self.sockets[key.0 as usize] {
            socket.connected_at = seconds;
        }
    }

    /// A registered socket as queries report it.
    pub fn details(&self, key: SocketKey) -> Option<SocketDetails> {
        let socket = self.sockets[key.0 as usize].as_ref()?;
        Some(SocketDetails {
            socket: socket.id,
            connected_at: socket.connected_at.into(),
            rooms: self.joined(key).into_iter().filter(is_shown).collect(),
            handshake: None,
        })
    }

    /// The first `limit` rooms of a namespace by name whose names begin with `prefix` and follow `after`, each with the
    /// number of its members. Those of sockets are not included.
    pub fn listed(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Vec<(Room, u64)> {
        let Some(&key) = self.namespace_keys.get(namespace) else {
            return Vec::new();
        };
        let rooms = self.namespaces[key as usize].rooms.iter();
        let mut found: Vec<(&Room, &RoomKey)> = rooms
            .filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after && is_shown(name))
            .collect();
        if found.len() > limit {
            found.select_nth_unstable_by(limit, |left, right| left.0.cmp(right.0));
            found.truncate(limit);
        }
        found.sort_unstable_by(|left, right| left.0.cmp(right.0));
        let counted = found.into_iter().map(|(name, room)| {
            let members = self.rooms[room.0 as usize].members.len() as u64;
            (name.clone(), members)
        });
        counted.collect()
    }

    /// Those of the rooms that have members, by name, each with their number.
    pub fn counted(&self, namespace: &Namespace, names: &[Room]) -> Vec<(Room, u64)> {
        let key = self.namespace_keys.get(namespace);
        let Some(known) = key.map(|key| &self.namespaces[*key as usize].rooms) else {
            return Vec::new();
        };
        let counted = names.iter().filter_map(|name| {
            let room = known.get(name)?;
            let members = self.rooms[room.0 as usize].members.len() as u64;
            Some((name.clone(), members))
        });
        let mut counted: Vec<_> = counted.collect();
        counted.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        counted
    }

    /// Removes a socket from every room and from the index.
    pub fn unregister(&mut self, key: SocketKey, changes: &mut Vec<RoomChange>) {
        let Some(socket) = self.sockets[key.0 as usize].take() else {
            return;
        };
        for membership in &socket.memberships {
            self.remove_position(*membership, changes, socket.namespace);
        }
        let namespace = &mut self.namespaces[socket.namespace as usize];
        namespace.sockets.remove(key, socket.id);
        self.free_sockets.push(key.0);
        if namespace.sockets.is_empty() {
            self.drop_namespace(socket.namespace);
        }
    }

    /// Removes an empty namespace: where a pattern allows namespaces, clients choose their names.
    fn drop_namespace(&mut self, key: u32) {
        let entry = &mut self.namespaces[key as usize];
        debug_assert!(
            entry.rooms.is_empty(),
            "a namespace without sockets has no rooms"
        );
        self.namespace_keys.remove(&entry.name);
        entry.rooms = HashMap::new();
        entry.sockets = SocketIds::default();
        self.rooms[entry.everybody.0 as usize].members = Vec::new();
        self.free_rooms.push(entry.everybody.0);
        self.free_namespaces.push(key);
    }

    /// Puts a socket into a room. Returns `false` if it was there already.
    pub fn join(&mut self, key: SocketKey, room: &Room, changes: &mut Vec<RoomChange>) -> bool {
        let Some(socket) = &self.sockets[key.0 as usize] else {
            return false;
        };
        let namespace_key = socket.namespace;
        let existing = self.namespaces[namespace_key as usize]
            .rooms
            .get(room)
            .copied();
        if let Some(room_key) = existing {
            if socket.memberships.iter().any(|m| m.room == room_key) {
                return false;
            }
            self.add_member(room_key, key);
            return true;
        }
        let room_key = self.new_room(Some(room.clone()));
        let entry = &mut self.namespaces[namespace_key as usize];
        entry.rooms.insert(room.clone(), room_key);
        changes.push(RoomChange::Appeared(entry.name.clone(), room.clone()));
        self.add_member(room_key, key);
        true
    }

    /// Takes a socket out of a room. Returns `false` if it was not there.
    pub fn leave(&mut self, key: SocketKey, room: &Room, changes: &mut Vec<RoomChange>) -> bool {
        let Some(socket) = &mut self.sockets[key.0 as usize] else {
            return false;
        };
        let namespace_key = socket.namespace;
        let Some(&room_key) = self.namespaces[namespace_key as usize].rooms.get(room) else {
            return false;
        };
        let Some(index) = socket.memberships.iter().position(|m| m.room == room_key) else {
            return false;
        };
        let membership = socket.memberships.swap_remove(index);
        self.remove_position(membership, changes, namespace_key);
        true
    }

    /// The socket with this id.
    pub fn find(&self, namespace: &Namespace, id: SocketId) -> Option<SocketKey> {
        let namespace = *self.namespace_keys.get(namespace)?;
        let ids = &self.namespaces[namespace as usize].sockets;
        ids.find(id, &self.sockets)
    }

    /// Whether a namespace has sockets on this worker.
    pub fn has_namespace(&self, namespace: &Namespace) -> bool {
        self.namespace_keys.contains_key(namespace)
    }

    /// Whether a room has members on this worker.
    pub fn has_room(&self, namespace: &Namespace, room: &Room) -> bool {
        let key = self.namespace_keys.get(namespace);
        key.is_some_and(|key| self.namespaces[*key as usize].rooms.contains_key(room))
    }

    /// The rooms that the socket has joined.
    pub fn joined(&self, key: SocketKey) -> Vec<Room> {
        let socket = self.sockets[key.0 as usize].as_ref();
        let memberships = socket.map_or(&[][..], |socket| &socket.memberships[..]);
        memberships
            .iter()
            .filter_map(|membership| self.rooms[membership.room.0 as usize].name.clone())
            .collect()
    }

    /// The number of rooms that the socket has joined.
    pub fn room_count(&self, key: SocketKey) -> usize {
        let socket = self.sockets[key.0 as usize].as_ref();
        socket.map_or(0, |socket| socket.memberships.len() - 1)
    }

    /// The id and namespace of a registered socket.
    pub fn identity(&self, key: SocketKey) -> Option<(SocketId, Namespace)> {
        let socket = self.sockets[key.0 as usize].as_ref()?;
        Some((
            socket.id,
            self.namespaces[socket.namespace as usize].name.clone(),
        ))
    }

    fn namespace_key(&mut self, name: &Namespace) -> u32 {
        if let Some(&key) = self.namespace_keys.get(name) {
            return key;
        }
        let entry = NamespaceEntry {
            name: name.clone(),
            everybody: self.new_room(None),
            rooms: HashMap::new(),
            sockets: SocketIds::default(),
        };
        let key = match self.free_namespaces.pop() {
            Some(key) => {
                self.namespaces[key as usize] = entry;
                key
            }
            None => {
                self.namespaces.push(entry);
                self.namespaces.len() as u32 - 1
            }
        };
        self.namespace_keys.insert(name.clone(), key);
        key
    }

    fn new_room(&mut self, name: Option<Room>) -> RoomKey {
        let entry = RoomEntry {
            name,
            members: Vec::new(),
        };
        if let Some(index) = self.free_rooms.pop() {
            self.rooms[index as usize] = entry;
            return RoomKey(index);
        }
        self.rooms.push(entry);
        RoomKey(self.rooms.len() as u32 - 1)
    }

    fn add_member(&mut self, room: RoomKey, key: SocketKey) {
        let Some(socket) = &mut self.sockets[key.0 as usize] else {
            return;
        };
        let members = &mut self.rooms[room.0 as usize].members;
        socket.memberships.push(RoomMembership {
            room,
            position: members.len() as u32,
        });
        // Without growing by more: the rooms of users have one member.
        if members.capacity() == 0 {
            members.reserve_exact(1);
        }
        members.push(Member {
            socket: key,
            lane: socket.lane,
        });
    }

    /// Removes a member of a room. The last member takes its position.
    fn remove_position(
        &mut self,
        gone: RoomMembership,
        changes: &mut Vec<RoomChange>,
        namespace: u32,
    ) {
        let entry = &mut self.rooms[gone.room.0 as usize];
        debug_assert!(
            (gone.position as usize) < entry.members.len(),
            "a membership names a member"
        );
        let last = entry.members.len() as u32 - 1;
        entry.members.swap_remove(gone.position as usize);
        if gone.position != last {
            let moved = entry.members[gone.position as usize].socket;
            let memberships = self.sockets[moved.0 as usize]
                .as_mut()
                .map(|s| &mut s.memberships);
            let moved = memberships.and_then(|all| all.iter_mut().find(|m| m.room == gone.room));
            debug_assert!(moved.is_some(), "a member has a membership");
            if let Some(moved) = moved {
                moved.position = gone.position;
            }
        }
        if entry.members.is_empty()
            && let Some(name) = entry.name.take()
        {
            entry.members = Vec::new();
            let namespace = &mut self.namespaces[namespace as usize];
            namespace.rooms.remove(&name);
            self.free_rooms.push(gone.room.0);
            changes.push(RoomChange::Vanished(namespace.name.clone(), name));
        }
    }
}
