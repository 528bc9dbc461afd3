//! Which sockets a selector means.

use super::Rooms;
use super::entry::{Member, NamespaceEntry, RoomEntry, SocketEntry, SocketKey};
use crate::model::{Selector, SocketId};

impl Rooms {
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

    /// Marks sockets that are excepted or have been visited, so that none is visited twice.
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

    /// The selected sockets, as a list that may be used to change rooms.
    pub fn selected(&mut self, selector: &Selector) -> Vec<Member> {
        let mut members = Vec::new();
        self.select(selector, |member| members.push(member));
        members
    }

    /// Whether the socket is in the room, which may be its own.
    pub fn is_member(&self, key: SocketKey, room: &str) -> bool {
        let Some(socket) = &self.sockets[key.0 as usize] else {
            return false;
        };
        let namespace = &self.namespaces[socket.namespace as usize];
        let joined = namespace.rooms.get(room);
        namespace.own(room, &self.sockets) == Some(key)
            || joined.is_some_and(|room| socket.memberships.iter().any(|m| m.room == *room))
    }
}

impl NamespaceEntry {
    /// The socket with the name of a room as its id: its own room, which has no entry.
    fn own(&self, room: &str, sockets: &[Option<SocketEntry>]) -> Option<SocketKey> {
        SocketId::parse(room).and_then(|id| self.sockets.find(id, sockets))
    }

    /// The room of a socket can have an entry too: of those that have recovered its session while it is not gone.
    fn each_member(
        &self,
        room: &str,
        rooms: &[RoomEntry],
        sockets: &[Option<SocketEntry>],
        mut visit: impl FnMut(Member),
    ) {
        let own = self.own(room, sockets);
        if let Some(key) = own
            && let Some(socket) = &sockets[key.0 as usize]
        {
            let (socket, lane) = (key, socket.lane);
            visit(Member { socket, lane });
        }
        if let Some(joined) = self.rooms.get(room) {
            let members = rooms[joined.0 as usize].members.iter().copied();
            members
                .filter(|member| Some(member.socket) != own)
                .for_each(visit);
        }
    }
}
