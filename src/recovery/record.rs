//! What the store keeps of a session, so that any node can recover it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::history::LogName;
use crate::model::{Epoch, Namespace, Room, SocketId};

/// Maximum number of former socket ids under which a session still receives events.
pub(super) const FORMER_IDS: usize = 8;

/// The record of a session, independent of its form in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    pub namespace: Namespace,
    pub user: Option<String>,
    /// The ids of its sockets, newest last.
    pub sockets: Vec<SocketId>,
    /// The epoch of the positions here; `None` if nothing had ever been logged.
    pub epoch: Option<Epoch>,
    /// The session receives what was emitted to all sockets, or to one of its own, after this number.
    pub start: u64,
    /// The rooms that it is in, each with the number after which it receives the events of that room.
    pub rooms: Vec<(Room, u64)>,
    /// The number up to which the client has received everything: it responded to a later ping.
    pub received: u64,
    /// The `socket.data` that a server in Node has stored with a shared session, as msgpack; `None` if it is empty.
    pub data: Option<Arc<[u8]>>,
}

/// A room that a session has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinedRoom {
    pub room: Room,
    /// The number after which the session receives its events; `None` for the present end of its log.
    pub after: Option<u64>,
}

/// The form in the store.
#[derive(Serialize, Deserialize)]
struct EncodedSession<'a> {
    #[serde(borrow)]
    namespace: std::borrow::Cow<'a, str>,
    user: Option<String>,
    sockets: Vec<String>,
    epoch: Option<String>,
    start: u64,
    rooms: Vec<(String, u64)>,
    received: u64,
}

impl SessionRecord {
    /// The record as the store keeps it.
    pub fn encode(&self) -> Bytes {
        let encoded = EncodedSession {
            namespace: self.namespace.as_str().into(),
            user: self.user.clone(),
            sockets: self
                .sockets
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
            epoch: self.epoch.map(|epoch| epoch.as_str().to_owned()),
            start: self.start,
            rooms: self
                .rooms
                .iter()
                .map(|(room, n)| (room.as_str().to_owned(), *n))
                .collect(),
            received: self.received,
        };
        serde_json::to_vec(&encoded).unwrap_or_default().into()
    }

    /// A record of the store; `None` if it is none, as that of a session that has ended.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let encoded: EncodedSession<'_> = serde_json::from_slice(bytes).ok()?;
        let sockets: Option<Vec<_>> = encoded
            .sockets
            .iter()
            .map(|it| SocketId::parse(it))
            .collect();
        let epoch = match encoded.epoch {
            Some(epoch) => Some(Epoch::parse(epoch.as_bytes())?),
            None => None,
        };
        let rooms = encoded.rooms.into_iter();
        Some(Self {
            namespace: Namespace::from(&*encoded.namespace),
            user: encoded.user,
            sockets: sockets?,
            epoch,
            start: encoded.start,
            rooms: rooms.map(|(room, n)| (Room::from(room), n)).collect(),
            received: encoded.received,
            data: None,
        })
    }

    /// Adds the id of the socket that continues the session.
    pub fn continue_as(&mut self, socket: SocketId) {
        self.sockets.push(socket);
        if self.sockets.len() > FORMER_IDS + 1 {
            self.sockets.remove(0);
        }
    }

    /// The logs of the session, each with the number after which it receives what they hold.
    pub fn logs(&self) -> Vec<(LogName, u64)> {
        let namespace = || self.namespace.clone();
        let all = (LogName::of_namespace(namespace()), self.start);
        let own = self.sockets.iter().map(|socket| {
            let room = Room::from(socket.as_str());
            (LogName::of_room(namespace(), room), self.start)
        });
        let rooms = self.rooms.iter();
        let rooms = rooms.map(|(room, n)| (LogName::of_room(namespace(), room.clone()), *n));
        std::iter::once(all).chain(own).chain(rooms).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn socket() -> SocketId {
        SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom)
    }

    fn record() -> SessionRecord {
        SessionRecord {
            namespace: Namespace::from("/chat"),
            user: Some("ada \"1\"".to_owned()),
            sockets: vec![socket()],
            epoch: Some(Epoch::random(&OsRandom)),
            start: 7,
            rooms: vec![(Room::from("a"), 9), (Room::from("ü\n"), u64::MAX)],
            received: 1_764_412_345_678_901,
            data: None,
        }
    }

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let plain = SessionRecord {
            user: None,
            epoch: None,
            rooms: Vec::new(),
            ..record()
        };
        for record in [record(), plain] {
            assert_eq!(SessionRecord::decode(&record.encode()), Some(record));
        }
        for bytes in [&b""[..], b"{}", b"[]", b"null"] {
            assert_eq!(SessionRecord::decode(bytes), None);
        }
    }

    #[test]
    fn the_oldest_ids_of_a_session_are_dropped() {
        let mut record = record();
        let ids: Vec<_> = (0..12).map(|_| socket()).collect();
        ids.iter().for_each(|id| record.continue_as(*id));
        assert_eq!(record.sockets, ids[3..]);
    }
}
