//! Records of sessions as `@socket.io/redis-streams-adapter` writes them: base64 of msgpack
//! (`docs/node-servers.md#shared-sessions`).
//!
//! Servers read and write `sid`, `pid`, `rooms` and `data`. Nodes add `roomwire`, which servers ignore and do not keep.

use base64::Engine;
use bytes::Bytes;
use hashbrown::HashSet;
use rmp::Marker;
use rmp::encode::{write_array_len, write_map_len, write_nil, write_uint};

use super::pid::Pid;
use super::record::{FORMER_IDS, SessionRecord};
use crate::model::base64::{BASE64, decode_lenient};
use crate::model::{Epoch, Namespace, Room, SocketId};
use crate::msgpack::{Reader, ValueError, string, written};

/// Maximum size of a record in bytes.
const MAX_RECORD: usize = 1024 * 1024;
/// Maximum size of the data of a session (`socket.data` of servers) in bytes of msgpack.
const MAX_DATA: usize = 16 * 1024;
/// Maximum number of rooms in a record, far above `socket.max_rooms`: servers have no limit, and may let clients join rooms
/// of any name.
const MAX_ROOMS: u32 = 10_000;
/// What servers write for a socket without data: an empty object.
const NO_DATA: &[u8] = &[0x80];

/// A record of a shared session, written by a server in Node or by a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    pub record: SessionRecord,
    /// Whether a node has written it, so that namespace, user and positions are those of the session.
    pub is_of_roomwire: bool,
}

/// Why a session cannot be continued from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableRecord {
    Malformed,
    /// The record exceeds `MAX_RECORD` or `MAX_ROOMS`, or its data `MAX_DATA`.
    TooLarge,
}

impl From<ValueError> for UnusableRecord {
    fn from(_: ValueError) -> Self {
        Self::Malformed
    }
}

/// The member `roomwire` of a record.
#[derive(Default)]
struct RoomwireMember {
    namespace: Option<Namespace>,
    user: Option<String>,
    start: u64,
    received: u64,
    /// For each room, the number after which the session receives its events.
    joined: Vec<u64>,
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

impl RoomwireMember {
    fn read(reader: &mut Reader<'_>) -> Result<Self, UnusableRecord> {
        let mut part = Self::default();
        for _ in 0..map(reader)? {
            match text(reader)? {
                "nsp" => part.namespace = Some(Namespace::from(text(reader)?)),
                "user" => part.user = optional_text(reader)?,
                "start" => part.start = number(reader)?,
                "received" => part.received = number(reader)?,
                "joined" => {
                    let length = array_length(reader)?;
                    let numbers = (0..length).map(|_| number(reader));
                    part.joined = numbers.collect::<Result<_, _>>()?;
                }
                _ => drop(reader.raw()?),
            }
        }
        match part.namespace {
            Some(_) => Ok(part),
            None => Err(UnusableRecord::Malformed),
        }
    }

    fn write(record: &SessionRecord, out: &mut Vec<u8>) {
        written(write_map_len(out, 5));
        string("nsp", out);
        string(record.namespace.as_str(), out);
        string("user", out);
        match &record.user {
            Some(user) => string(user, out),
            None => written(write_nil(out)),
        }
        string("start", out);
        written(write_uint(out, record.start));
        string("received", out);
        written(write_uint(out, record.received));
        string("joined", out);
        array(record.rooms.len(), out);
        for (_, after) in &record.rooms {
            written(write_uint(out, *after));
        }
    }
}

fn array(length: usize, out: &mut Vec<u8>) {
    // The number of rooms is limited far below this.
    written(write_array_len(
        out,
        u32::try_from(length).unwrap_or(u32::MAX),
    ));
}

fn map(reader: &mut Reader<'_>) -> Result<u32, UnusableRecord> {
    let marker = reader.marker()?;
    reader.map_length(marker)?.ok_or(UnusableRecord::Malformed)
}

fn array_length(reader: &mut Reader<'_>) -> Result<u32, UnusableRecord> {
    let marker = reader.marker()?;
    let length = reader.array_length(marker)?;
    length.ok_or(UnusableRecord::Malformed)
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, UnusableRecord> {
    let marker = reader.marker()?;
    reader.text(marker)?.ok_or(UnusableRecord::Malformed)
}

fn optional_text(reader: &mut Reader<'_>) -> Result<Option<String>, UnusableRecord> {
    let marker = reader.marker()?;
    match marker {
        Marker::Null => Ok(None),
        _ => Ok(reader.text(marker)?.map(str::to_owned)),
    }
}

/// Servers also have rooms whose names are numbers.
fn room_names(reader: &mut Reader<'_>) -> Result<Vec<Room>, UnusableRecord> {
    let length = array_length(reader)?;
    if length > MAX_ROOMS {
        return Err(UnusableRecord::TooLarge);
    }
    (0..length).map(|_| room_name(reader)).collect()
}

fn room_name(reader: &mut Reader<'_>) -> Result<Room, UnusableRecord> {
    let marker = reader.marker()?;
    if let Some(number) = reader.integer(marker)? {
        return Ok(Room::from(number.to_string()));
    }
    let name = reader.text(marker)?;
    name.map(Room::from).ok_or(UnusableRecord::Malformed)
}

fn number(reader: &mut Reader<'_>) -> Result<u64, UnusableRecord> {
    let marker = reader.marker()?;
    let number = reader.integer(marker)?;
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or(UnusableRecord::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Attachments, NodeId};

    /// What `persistSession` of the stock adapter wrote.
    const STOCK: &str = include_str!("../../tests/vectors/node-sessions.json");

    fn socket() -> SocketId {
        SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom)
    }

    fn record(sockets: Vec<SocketId>) -> SessionRecord {
        SessionRecord {
            namespace: Namespace::from("/chat"),
            user: Some("ada".to_owned()),
            sockets,
            epoch: Some(Epoch::STREAM),
            start: 7,
            rooms: vec![(Room::from("a"), 9), (Room::from("ü\n"), u64::MAX)],
            received: 8,
            data: Some([0x81, 0xa1, b'k', 0xc4, 1, 7][..].into()),
        }
    }

    fn decode(value: &[u8]) -> Result<NodeRecord, UnusableRecord> {
        NodeRecord::decode(value, &Namespace::from("/here"))
    }

    fn json_of(value: &[u8]) -> Value {
        let message = Bytes::from(decode_lenient(value).unwrap());
        let json = Reader::new(&message).json(&mut Attachments::new(), 10_000);
        serde_json::from_slice(&json.unwrap()).unwrap()
    }

    #[test]
    fn a_record_of_a_node_is_read_as_it_is_written_and_has_what_servers_expect() {
        let ids = vec![socket(), socket(), socket()];
        let pid = Pid::random_for_node_js(&OsRandom);
        let plain = SessionRecord {
            user: None,
            rooms: Vec::new(),
            data: None,
            ..record(vec![socket()])
        };
        for record in [record(ids.clone()), plain] {
            let written = NodeRecord::encode(&record, pid);
            let is_of_roomwire = true;
            let expected = NodeRecord {
                record,
                is_of_roomwire,
            };
            assert_eq!(decode(&written), Ok(expected));
        }
        let mut json = json_of(&NodeRecord::encode(&record(ids.clone()), pid));
        json.as_object_mut().unwrap().remove("roomwire");
        let [first, second, third] = [0, 1, 2].map(|at: usize| ids[at].as_str());
        let rooms = [third, second, first, "a", "ü\n"];
        let data = json!({"k": {"_placeholder": true, "num": 0}});
        let expected = json!({"sid": third, "pid": pid.as_str(), "rooms": rooms, "data": data});
        assert_eq!(json, expected);
    }

    #[test]
    fn records_of_stock_servers_are_read_and_their_data_written_back_unchanged() {
        let recorded: Vec<Value> = serde_json::from_str(STOCK).unwrap();
        assert!(recorded.len() >= 3);
        for entry in recorded {
            let value = entry["value"].as_str().unwrap();
            let NodeRecord {
                mut record,
                is_of_roomwire,
            } = decode(value.as_bytes()).unwrap();
            assert!(!is_of_roomwire);
            assert_eq!(record.namespace, Namespace::from("/here"));
            let of_server = json_of(value.as_bytes());
            let rooms: Vec<&str> = record.rooms.iter().map(|(room, _)| &**room).collect();
            assert_eq!(json!(rooms), of_server["rooms"]);
            assert!(rooms.contains(&of_server["sid"].as_str().unwrap()));
            let pid: Pid = of_server["pid"].as_str().unwrap().parse().unwrap();
            record.continue_as(socket());
            let written = json_of(&NodeRecord::encode(&record, pid));
            assert_eq!(written["data"], of_server["data"]);
            let back = decode(&NodeRecord::encode(&record, pid)).unwrap();
            assert_eq!(
                back.record,
                SessionRecord {
                    namespace: back.record.namespace.clone(),
                    ..record
                }
            );
        }
    }

    #[test]
    fn ids_of_nodes_in_the_rooms_of_a_server_are_former_ids() {
        let [old, new] = [socket(), socket()];
        let [old, new] = [old.as_str(), new.as_str()];
        let base64id = "Xa-2vT1Y_0hJqVbGAAAB";
        for (sid, rooms, expected) in [
            (new, vec![new, "r", old], (vec![old, new], vec!["r"])),
            // It has left its own room, which the next server joins again.
            (new, vec!["r"], (vec![new], vec!["r"])),
            (
                base64id,
                vec![base64id, new, "r"],
                (vec![new], vec![base64id, "r"]),
            ),
            (
                new,
                vec!["r", "s", "r", new, "s"],
                (vec![new], vec!["r", "s"]),
            ),
        ] {
            let session = json!({"rooms": rooms, "data": {}, "pid": "p", "sid": sid});
            let mut bytes = Vec::new();
            crate::msgpack::write_value(&session.to_string(), &[], &mut bytes);
            let record = decode(BASE64.encode(bytes).as_bytes()).unwrap().record;
            let ids: Vec<&str> = record.sockets.iter().map(SocketId::as_str).collect();
            let rooms: Vec<&str> = record.rooms.iter().map(|(room, _)| &**room).collect();
            assert_eq!((ids, rooms), expected);
            assert_eq!((record.data, record.start), (None, 0));
        }
    }

    #[test]
    fn malformed_and_large_records_are_rejected() {
        let encoded = |json: Value| {
            let mut bytes = Vec::new();
            crate::msgpack::write_value(&json.to_string(), &[], &mut bytes);
            BASE64.encode(bytes)
        };
        for (value, expected) in [
            (String::new(), UnusableRecord::Malformed),
            ("!".to_owned(), UnusableRecord::Malformed),
            (encoded(json!([])), UnusableRecord::Malformed),
            (encoded(json!({"sid": "a"})), UnusableRecord::Malformed),
            (
                encoded(json!({"sid": 1, "rooms": []})),
                UnusableRecord::Malformed,
            ),
            (
                encoded(json!({"sid": "a", "rooms": [], "roomwire": {}})),
                UnusableRecord::Malformed,
            ),
            (
                encoded(json!({"sid": "a", "rooms": [], "data": "x".repeat(MAX_DATA)})),
                UnusableRecord::TooLarge,
            ),
            ("A".repeat(MAX_RECORD + 1), UnusableRecord::TooLarge),
            (
                encoded(json!({"sid": "a", "rooms": vec!["r"; MAX_ROOMS as usize + 1]})),
                UnusableRecord::TooLarge,
            ),
            (
                encoded(json!({"sid": "a", "rooms": ["r", null]})),
                UnusableRecord::Malformed,
            ),
        ] {
            assert_eq!(decode(value.as_bytes()), Err(expected));
        }
        let data = "x".repeat(MAX_DATA - 3);
        let fits = encoded(json!({"sid": "a", "rooms": [], "data": data}));
        assert!(decode(fits.as_bytes()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_record_is_rejected_or_written_as_it_is_read(
            which in 0_usize..4,
            changes in proptest::collection::vec((0_usize..400, proptest::num::u8::ANY), 0..4),
        ) {
            let recorded: Vec<Value> = serde_json::from_str(STOCK).unwrap();
            let own = NodeRecord::encode(&record(vec![socket()]), Pid::random(&OsRandom));
            let value = match recorded.get(which) {
                Some(entry) if which > 0 => entry["value"].as_str().unwrap().as_bytes(),
                _ => &own,
            };
            let mut bytes = decode_lenient(value).unwrap();
            for (at, byte) in changes {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            if let Ok(NodeRecord { mut record, .. }) = decode(BASE64.encode(bytes).as_bytes()) {
                record.continue_as(socket());
                let written = NodeRecord::encode(&record, Pid::random(&OsRandom));
                proptest::prop_assert_eq!(decode(&written).map(|it| it.record), Ok(record));
            }
        }
    }

    #[test]
    fn rooms_whose_names_are_numbers_have_the_names_that_events_for_them_have() {
        let session = json!({"sid": "s", "rooms": ["s", 7, -1, 5_000_000_000_u64]});
        let mut bytes = Vec::new();
        crate::msgpack::write_value(&session.to_string(), &[], &mut bytes);
        let record = decode(BASE64.encode(bytes).as_bytes()).unwrap().record;
        let rooms: Vec<&str> = record.rooms.iter().map(|(room, _)| &**room).collect();
        assert_eq!(rooms, ["s", "7", "-1", "5000000000"]);
    }
}
