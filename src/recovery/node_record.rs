//! Records of sessions as `@socket.io/redis-streams-adapter` writes them: base64 of msgpack
//! (`docs/node-servers.md#shared-sessions`).
//!
//! Servers read and write `sid`, `pid`, `rooms` and `data`. Nodes add `roomwire`, which servers ignore and do not keep.

use base64::Engine;
use bytes::Bytes;
use hashbrown::HashSet;
use rmp::encode::write_map_len;

use super::pid::Pid;
use super::record::{FORMER_IDS, SessionRecord};
use super::record_members::{RoomwireMember, UnusableRecord, array, map, room_names, text};
use crate::model::base64::{BASE64, decode_lenient};
use crate::model::{Epoch, Namespace, Room, SocketId};
use crate::msgpack::{Reader, string, written};

/// Maximum size of a record in bytes.
const MAX_RECORD: usize = 1024 * 1024;
/// Maximum size of the data of a session (`socket.data` of servers) in bytes of msgpack.
const MAX_DATA: usize = 16 * 1024;
/// What servers write for a socket without data: an empty object.
const NO_DATA: &[u8] = &[0x80];

/// A record of a shared session, written by a server in Node or by a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    pub record: SessionRecord,
    /// Whether a node has written it, so that namespace, user and positions are those of the session.
    pub is_of_roomwire: bool,
}

impl NodeRecord {
    /// Decodes a record. `namespace` is used if the record has none, because a server has written it.
    ///
    /// # Errors
    /// The record is malformed or too large.
    pub fn decode(value: &[u8], namespace: &Namespace) -> Result<Self, UnusableRecord> {
        if value.len() > MAX_RECORD {
            return Err(UnusableRecord::TooLarge);
        }
        let decoded = decode_lenient(value).map_err(|_| UnusableRecord::Malformed)?;
        let message = Bytes::from(decoded);
        let mut reader = Reader::new(&message);
        let (mut sid, mut rooms, mut data, mut own) = (None, None, NO_DATA, None);
        for _ in 0..map(&mut reader)? {
            match text(&mut reader)? {
                "sid" => sid = Some(text(&mut reader)?),
                "rooms" => rooms = Some(room_names(&mut reader)?),
                "data" => data = reader.raw()?,
                "roomwire" => own = Some(RoomwireMember::read(&mut reader)?),
                _ => drop(reader.raw()?),
            }
        }
        let (Some(sid), Some(rooms)) = (sid, rooms) else {
            return Err(UnusableRecord::Malformed);
        };
        if data.len() > MAX_DATA {
            return Err(UnusableRecord::TooLarge);
        }
        let is_of_roomwire = own.is_some();
        let mut record = assemble(sid, rooms, namespace, own.unwrap_or_default());
        record.data = (data != NO_DATA).then(|| data.into());
        Ok(Self {
            record,
            is_of_roomwire,
        })
    }

    /// Encodes the record of a session of this node.
    pub fn encode(record: &SessionRecord, pid: Pid) -> Bytes {
        let mut out = Vec::with_capacity(256 + 32 * record.rooms.len());
        written(write_map_len(&mut out, 5));
        // The newest id is the first: a server continues with it.
        let mut sockets = record.sockets.iter().rev();
        string("sid", &mut out);
        let sid = sockets.clone().next().map(SocketId::as_str);
        string(sid.unwrap_or_default(), &mut out);
        string("pid", &mut out);
        string(pid.as_str(), &mut out);
        string("rooms", &mut out);
        array(record.sockets.len() + record.rooms.len(), &mut out);
        sockets
            .by_ref()
            .for_each(|id| string(id.as_str(), &mut out));
        record
            .rooms
            .iter()
            .for_each(|(room, _)| string(room, &mut out));
        string("data", &mut out);
        out.extend_from_slice(record.data.as_deref().unwrap_or(NO_DATA));
        string("roomwire", &mut out);
        RoomwireMember::write(record, &mut out);
        BASE64.encode(out).into()
    }
}

/// Rooms that are ids of sockets of nodes are former ids of the session. All others, among them the id of its socket at
/// a server, are ordinary rooms.
fn assemble(
    sid: &str,
    rooms: Vec<Room>,
    namespace: &Namespace,
    own: RoomwireMember,
) -> SessionRecord {
    let mut record = SessionRecord {
        namespace: own.namespace.unwrap_or_else(|| namespace.clone()),
        user: own.user,
        sockets: Vec::new(),
        epoch: Some(Epoch::STREAM),
        start: own.start,
        rooms: Vec::new(),
        received: own.received,
        data: None,
    };
    let has_sid = rooms.iter().any(|room| **room == *sid);
    let first = (!has_sid).then(|| Room::from(sid));
    let mut joined = own.joined.into_iter();
    let mut known = HashSet::new();
    for room in first.into_iter().chain(rooms) {
        match SocketId::parse(&room) {
            Some(id) if record.sockets.len() > FORMER_IDS || record.sockets.contains(&id) => {}
            Some(id) => record.sockets.push(id),
            None => {
                let after = joined.next().unwrap_or(own.start);
                if known.insert(room.clone()) {
                    record.rooms.push((room, after));
                }
            }
        }
    }
    record.sockets.reverse();
    record
}

#[cfg(test)]
mod tests;
