//! The index of one worker: which of its sockets are in which rooms.
//!
//! Pure bookkeeping: no actor, no packet, no clock. Members of a room lie side by side with the lane
//! that leads to their client, so a fan-out walks one array.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::model::{Namespace, Room, Selector, SocketId};
use crate::outbox::LaneId;

/// Number of a socket among its worker's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketKey(u32);

/// A member of a room: the socket and the lane to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub socket: SocketKey,
    pub lane: LaneId,
}

/// The first member came or the last one left: what the bridge must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    Appeared(Namespace, Room),
    Vanished(Namespace, Room),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RoomKey(u32);

/// The socket's place in a room's member list, so that leaving does not search.
#[derive(Debug, Clone, Copy)]
struct Membership {
    room: RoomKey,
    position: u32,
}

struct Socket {
    id: SocketId,
    lane: LaneId,
    namespace: u32,
    /// The first is always the namespace's room of everybody.
    memberships: SmallVec<[Membership; 2]>,
}

struct RoomEntry {
    /// `None`: everybody of the namespace.
    name: Option<Room>,
    members: Vec<Member>,
}

struct NamespaceEntry {
    name: Namespace,
    everybody: RoomKey,
    rooms: HashMap<Room, RoomKey>,
    sockets: HashMap<SocketId, SocketKey>,
}

/// Rooms and sockets of one worker.
#[derive(Default)]
pub struct Rooms {
    namespaces: Vec<NamespaceEntry>,
    namespace_keys: HashMap<Namespace, u32>,
    free_namespaces: Vec<u32>,
    sockets: Vec<Option<Socket>>,
    free_sockets: Vec<u32>,
    rooms: Vec<RoomEntry>,
    free_rooms: Vec<u32>,
    /// Marks of the current selection, one per socket; a new selection starts with a new number.
    marks: Vec<u32>,
    mark: u32,
}

impl Rooms {
    /// How many sockets there are.
    pub fn socket_count(&self) -> usize {
        self.sockets.len() - self.free_sockets.len()
    }

    /// How many rooms have members, those of everybody apart.
    pub fn named_room_count(&self) -> usize {
        let everybody = self.namespaces.len() - self.free_namespaces.len();
        self.rooms.len() - self.free_rooms.len() - everybody
    }

    /// Adds a socket, which is then in the room of its own id and among everybody.
    pub fn register(&mut self, namespace: &Namespace, id: SocketId, lane: LaneId) -> SocketKey {
        let namespace_key = self.namespace_key(namespace);
        let socket = Socket {
            id,
            lane,
            namespace: namespace_key,
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
        entry.sockets.insert(id, key);
        let everybody = entry.everybody;
        self.add_member(everybody, key);
        key
    }

    /// Removes a socket from everywhere.
    pub fn unregister(&mut self, key: SocketKey, changes: &mut Vec<RoomChange>) {
        let Some(socket) = self.sockets[key.0 as usize].take() else {
            return;
        };
        for membership in &socket.memberships {
            self.remove_position(*membership, changes, socket.namespace);
        }
        let namespace = &mut self.namespaces[socket.namespace as usize];
        namespace.sockets.remove(&socket.id);
        self.free_sockets.push(key.0);
        if namespace.sockets.is_empty() {
            self.drop_namespace(socket.namespace);
        }
    }

    /// Namespaces allowed by a pattern are named by clients, so an empty one must not stay.
    fn drop_namespace(&mut self, key: u32) {
        let entry = &mut self.namespaces[key as usize];
        self.namespace_keys.remove(&entry.name);
        entry.rooms = HashMap::new();
        entry.sockets = HashMap::new();
        self.rooms[entry.everybody.0 as usize].members = Vec::new();
        self.free_rooms.push(entry.everybody.0);
        self.free_namespaces.push(key);
    }

    /// Puts a socket into a room. Returns false if it was there already.
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

    /// Takes a socket out of a room. Returns false if it was not there.
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

    /// Calls `visit` once for every selected socket.
    pub fn select(&mut self, selector: &Selector, visit: impl FnMut(Member)) {
        let Some(&namespace_key) = self.namespace_keys.get(&selector.namespace) else {
            return;
        };
        let namespace = &self.namespaces[namespace_key as usize];
        if !selector.except.is_empty() || selector.rooms.len() > 1 {
            return self.select_unmarked(namespace_key, selector, visit);
        }
        match selector.rooms.first() {
            Some(room) => namespace.each_member(room, &self.rooms, &self.sockets, visit),
            None => self.rooms[namespace.everybody.0 as usize]
                .members
                .iter()
                .copied()
                .for_each(visit),
        }
    }

    /// Marks who is excepted or was visited, so that nobody is visited twice.
    fn select_unmarked(
        &mut self,
        namespace: u32,
        selector: &Selector,
        mut visit: impl FnMut(Member),
    ) {
        self.mark = self.mark.wrapping_add(1).max(1);
        let Self {
            namespaces,
            rooms,
            sockets,
            marks,
            mark,
            ..
        } = self;
        let namespace = &namespaces[namespace as usize];
        for room in &selector.except {
            namespace.each_member(room, rooms, sockets, |member| {
                marks[member.socket.0 as usize] = *mark;
            });
        }
        let mut visit_unmarked = |member: Member| {
            let seen = &mut marks[member.socket.0 as usize];
            if *seen != *mark {
                *seen = *mark;
                visit(member);
            }
        };
        if selector.rooms.is_empty() {
            let everybody = &rooms[namespace.everybody.0 as usize].members;
            everybody.iter().copied().for_each(visit_unmarked);
            return;
        }
        for room in &selector.rooms {
            namespace.each_member(room, rooms, sockets, &mut visit_unmarked);
        }
    }

    /// The sockets selected, as a list that may be used to change rooms.
    pub fn selected(&mut self, selector: &Selector) -> Vec<Member> {
        let mut members = Vec::new();
        self.select(selector, |member| members.push(member));
        members
    }

    /// Whether the socket is in the room (its own id's room included).
    pub fn is_member(&self, key: SocketKey, room: &str) -> bool {
        let Some(socket) = &self.sockets[key.0 as usize] else {
            return false;
        };
        match self.namespaces[socket.namespace as usize].resolve(room) {
            Some(Target::Socket(own)) => own == key,
            Some(Target::Room(room)) => socket.memberships.iter().any(|m| m.room == room),
            None => false,
        }
    }

    /// The socket with this id.
    pub fn find(&self, namespace: &Namespace, id: SocketId) -> Option<SocketKey> {
        let namespace = *self.namespace_keys.get(namespace)?;
        let sockets = &self.namespaces[namespace as usize].sockets;
        sockets.get(&id).copied()
    }

    /// The rooms the socket has joined.
    pub fn joined(&self, key: SocketKey) -> Vec<Room> {
        let socket = self.sockets[key.0 as usize].as_ref();
        let memberships = socket.map_or(&[][..], |socket| &socket.memberships[..]);
        memberships
            .iter()
            .filter_map(|membership| self.rooms[membership.room.0 as usize].name.clone())
            .collect()
    }

    /// How many rooms the socket has joined.
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
            sockets: HashMap::new(),
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
        socket.memberships.push(Membership {
            room,
            position: members.len() as u32,
        });
        members.push(Member {
            socket: key,
            lane: socket.lane,
        });
    }

    /// Fills the gap with the last member and tells that member its new place.
    fn remove_position(&mut self, gone: Membership, changes: &mut Vec<RoomChange>, namespace: u32) {
        let entry = &mut self.rooms[gone.room.0 as usize];
        let last = entry.members.len() as u32 - 1;
        entry.members.swap_remove(gone.position as usize);
        if gone.position != last {
            let moved = entry.members[gone.position as usize].socket;
            let memberships = self.sockets[moved.0 as usize]
                .as_mut()
                .map(|s| &mut s.memberships);
            let place = memberships.and_then(|all| all.iter_mut().find(|m| m.room == gone.room));
            if let Some(place) = place {
                place.position = gone.position;
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

enum Target {
    Socket(SocketKey),
    Room(RoomKey),
}

impl NamespaceEntry {
    /// A room's name, or the own room of a socket.
    fn resolve(&self, room: &str) -> Option<Target> {
        let own = SocketId::parse(room).and_then(|id| self.sockets.get(&id));
        own.map(|key| Target::Socket(*key))
            .or_else(|| self.rooms.get(room).map(|key| Target::Room(*key)))
    }

    fn each_member(
        &self,
        room: &str,
        rooms: &[RoomEntry],
        sockets: &[Option<Socket>],
        mut visit: impl FnMut(Member),
    ) {
        match self.resolve(room) {
            Some(Target::Socket(key)) => {
                if let Some(socket) = &sockets[key.0 as usize] {
                    visit(Member {
                        socket: key,
                        lane: socket.lane,
                    });
                }
            }
            Some(Target::Room(key)) => rooms[key.0 as usize]
                .members
                .iter()
                .copied()
                .for_each(visit),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{NodeId, WorkerIndex};
    use crate::outbox::{Bounds, Lanes, Share};

    struct Fixture {
        rooms: Rooms,
        lanes: Lanes,
        changes: Vec<RoomChange>,
        sockets: Vec<(SocketKey, SocketId)>,
    }

    fn fixture(count: usize) -> Fixture {
        let mut f = Fixture {
            rooms: Rooms::default(),
            lanes: Lanes::new(Bounds::default(), Share::default()),
            changes: Vec::new(),
            sockets: Vec::new(),
        };
        let worker = WorkerIndex::new(0).unwrap();
        for _ in 0..count {
            let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
            let key = f.rooms.register(&Namespace::main(), id, f.lanes.open());
            f.sockets.push((key, id));
        }
        f
    }

    impl Fixture {
        fn join(&mut self, socket: usize, room: &str) -> bool {
            self.rooms
                .join(self.sockets[socket].0, &Room::from(room), &mut self.changes)
        }

        fn leave(&mut self, socket: usize, room: &str) -> bool {
            self.rooms
                .leave(self.sockets[socket].0, &Room::from(room), &mut self.changes)
        }

        /// Positions in `sockets` of those selected, sorted; panics if one is selected twice.
        fn select(&mut self, rooms: &[&str], except: &[&str]) -> Vec<usize> {
            let selector = Selector {
                namespace: Namespace::main(),
                rooms: rooms.iter().map(|r| Room::from(*r)).collect(),
                except: except.iter().map(|r| Room::from(*r)).collect(),
            };
            let members = self.rooms.selected(&selector);
            let position = |m: &Member| {
                self.sockets
                    .iter()
                    .position(|(key, _)| *key == m.socket)
                    .unwrap()
            };
            let mut selected: Vec<usize> = members.iter().map(position).collect();
            selected.sort_unstable();
            let before = selected.len();
            selected.dedup();
            assert_eq!(before, selected.len(), "a socket was selected twice");
            selected
        }
    }

    #[test]
    fn union_minus_exceptions_each_once() {
        let mut f = fixture(5);
        for (socket, room) in [(0, "a"), (1, "a"), (1, "b"), (2, "b"), (3, "c")] {
            assert!(f.join(socket, room));
        }
        assert!(!f.join(1, "a"));
        let own = f.sockets[1].1.to_string();
        let cases: [(&[&str], &[&str], &[usize]); 9] = [
            (&[], &[], &[0, 1, 2, 3, 4]),
            (&["a"], &[], &[0, 1]),
            (&["a", "b"], &[], &[0, 1, 2]),
            (&["a", "b"], &["c"], &[0, 1, 2]),
            (&["a"], &["b"], &[0]),
            (&[], &["a", "c"], &[2, 4]),
            (&[&own], &[], &[1]),
            (&["a", &own], &[], &[0, 1]),
            (&["b", "nobody"], &[&own], &[2]),
        ];
        for (rooms, except, expected) in cases {
            assert_eq!(
                f.select(rooms, except),
                expected,
                "{rooms:?} except {except:?}"
            );
        }
    }

    #[test]
    fn rooms_appear_and_vanish_once() {
        let mut f = fixture(3);
        f.join(0, "x");
        f.join(1, "x");
        f.leave(0, "x");
        assert!(!f.leave(0, "x"));
        f.rooms.unregister(f.sockets[1].0, &mut f.changes);
        let room = || (Namespace::main(), Room::from("x"));
        let (a, b) = (room(), room());
        assert_eq!(
            f.changes,
            [
                RoomChange::Appeared(a.0, a.1),
                RoomChange::Vanished(b.0, b.1)
            ]
        );
        assert_eq!(f.select(&["x"], &[]), [0usize; 0]);
    }

    /// Random joins, leaves and departures against a naive model.
    #[test]
    fn the_index_agrees_with_a_naive_model() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let mut f = fixture(20);
        let mut model = vec![std::collections::BTreeSet::new(); 20];
        for step in 0..5000 {
            let (socket, room) = (random.random_range(0..20), random.random_range(0..6));
            let name = format!("room{room}");
            if random.random_bool(0.5) {
                assert_eq!(f.join(socket, &name), model[socket].insert(room));
            } else {
                assert_eq!(f.leave(socket, &name), model[socket].remove(&room));
            }
            if step % 50 == 0 {
                f.rooms.unregister(f.sockets[socket].0, &mut f.changes);
                model[socket].clear();
                let id = f.sockets[socket].1;
                f.sockets[socket].0 = f.rooms.register(&Namespace::main(), id, f.lanes.open());
            }
            let expected: Vec<usize> = (0..20).filter(|s| model[*s].contains(&room)).collect();
            assert_eq!(f.select(&[&name], &[]), expected);
            assert_eq!(f.rooms.room_count(f.sockets[socket].0), model[socket].len());
        }
    }

    #[test]
    fn an_empty_namespace_leaves_nothing_behind() {
        let mut f = fixture(0);
        let worker = WorkerIndex::new(0).unwrap();
        for n in 0..100 {
            let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
            let key = f
                .rooms
                .register(&Namespace::from(format!("/n{n}")), id, f.lanes.open());
            f.rooms.join(key, &Room::from("r"), &mut f.changes);
            f.rooms.unregister(key, &mut f.changes);
        }
        assert_eq!(
            (
                f.rooms.namespaces.len(),
                f.rooms.rooms.len(),
                f.rooms.sockets.len()
            ),
            (1, 2, 1)
        );
    }
}
