//! Records of nodes, of stock servers, and damaged ones.

use serde_json::{Value, json};

use super::*;
use crate::model::random::OsRandom;
use crate::model::{Attachments, NodeId};
use crate::recovery::record_members::MAX_ROOMS;

/// What `persistSession` of the stock adapter wrote.
const STOCK: &str = include_str!("../../../tests/vectors/node-sessions.json");

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
