//! Which sockets a selector means.

use super::Rooms;
use super::entry::{Member, NamespaceEntry, RoomEntry, RoomKey, SocketEntry, SocketKey};
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
        match self.namespaces[socket.namespace as usize].resolve(room, &self.sockets) {
            Some(NamedRoom::OfSocket(own)) => own == key,
            Some(NamedRoom::Joined(room)) => socket.memberships.iter().any(|m| m.room == room),
            None => false,
        }
    }
}

/// The room with some name.
enum NamedRoom {
    /// A socket's own room, which has no entry.
    OfSocket(SocketKey),
    Joined(RoomKey),
}

impl NamespaceEntry {
    fn resolve(&self, room: &str, sockets: &[Option<SocketEntry>]) -> Option<NamedRoom> {
        let own = SocketId::parse(room).and_then(|id| self.sockets.find(id, sockets));
        own.map(NamedRoom::OfSocket)
            .or_else(|| self.rooms.get(room).map(|key| NamedRoom::Joined(*key)))
    }

    fn each_member(
        &self,
        room: &str,
        rooms: &[RoomEntry],
        sockets: &[Option<SocketEntry>],
        mut visit: impl FnMut(Member),
    ) {
        match self.resolve(room, sockets) {
            Some(NamedRoom::OfSocket(key)) => {
                if let Some(socket) = &sockets[key.0 as usize] {
                    visit(Member {
                        socket: key,
                        lane: socket.lane,
                    });
                }
            }
            Some(NamedRoom::Joined(key)) => rooms[key.0 as usize]
                .members
                .iter()
                .copied()
                .for_each(visit),
            None => {}
        }
    }
}
