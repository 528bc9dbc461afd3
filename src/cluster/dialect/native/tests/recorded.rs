//! Messages recorded from version 2.0 and later: every version must decode the messages of the ones before.
//!
//! `ROOMWIRE_RECORD=1 cargo test --lib recorded` adds messages that are not recorded yet. A recorded message is
//! never changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use smallvec::smallvec;

use crate::cluster::dialect::native::*;
use crate::history::{BROADCAST, Stamp};
use crate::model::{
    AckToken, ConflationKey, DialectId, Emit, Epoch, Namespace, NodeSummary, Payload, Position,
    Query, QueryAnswer, Random, ReplyTo, Room, Selector, SocketDetails, SocketId, WorkerIndex,
};

const VECTORS: &str = "tests/vectors/native-v2.json";

struct Zeros;

impl Random for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn socket() -> SocketId {
    SocketId::random(
        NodeId::parse("nod1").unwrap(),
        WorkerIndex::default(),
        &Zeros,
    )
}

fn selector() -> Selector {
    Selector {
        namespace: Namespace::from("/chat"),
        rooms: smallvec![Room::from("r1"), Room::from("räume")],
        except: smallvec![Room::from(socket().as_str())],
    }
}

fn payload() -> Payload {
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    Payload::event("news", ["1", placeholder])
        .with_attachments(vec![Bytes::from_static(&[0, 1, 255])])
}

fn emit(volatile: bool, reply_to: Option<ReplyTo>) -> NativeMessage {
    NativeMessage::Command(Command::Emit(Emit {
        to: selector(),
        payload: payload(),
        volatile,
        ack: reply_to.map(|reply_to| AckToken { reply_to, id: 77 }),
        conflate: None,
    }))
}

fn conflated() -> NativeMessage {
    NativeMessage::Command(Command::Emit(Emit {
        to: selector(),
        payload: payload(),
        volatile: false,
        ack: None,
        conflate: ConflationKey::new("curseur:é"),
    }))
}

fn reply(socket: Option<SocketId>, payload: Payload) -> NativeMessage {
    NativeMessage::AckReply(AckReply {
        token: AckToken {
            reply_to: ReplyTo::Node(NodeId::parse("nod2").unwrap()),
            id: 77,
        },
        socket,
        payload,
    })
}

/// Emits to which Redis has appended a position in the logs of their first room and their namespace.
fn logged() -> [(&'static str, NativeMessage); 2] {
    [
        ("emit with a position", emit(false, None)),
        ("emit with a conflation key and a position", conflated()),
    ]
}

fn stamp() -> Stamp {
    Stamp {
        position: Position {
            epoch: Epoch::parse(b"k3Fz9Q").unwrap(),
            n: 1_764_412_345_678_901,
        },
        prevs: smallvec![(0, 1_764_412_345_678_900), (BROADCAST, 0)],
    }
}

fn encoded(message: &NativeMessage) -> Bytes {
    message.encode(NodeId::parse("nod1").unwrap()).unwrap()
}

fn encoded_with_position(message: &NativeMessage) -> Bytes {
    let mut bytes = BytesMut::from(&encoded(message)[..]);
    stamp().write(&mut bytes);
    bytes.freeze()
}

/// A message of every kind and form, by name.
fn messages() -> Vec<(&'static str, NativeMessage)> {
    let mut messages = emits_and_replies();
    messages.extend(changes());
    messages.extend(queries());
    messages.extend([
        ("heartbeat", NativeMessage::Heartbeat(MemberState::Alive)),
        (
            "heartbeat, joined",
            NativeMessage::Heartbeat(MemberState::Joined),
        ),
        (
            "heartbeat, leaving",
            NativeMessage::Heartbeat(MemberState::Leaving),
        ),
    ]);
    messages.push((
        "announcement",
        NativeMessage::Announcement(Announcement {
            topic: "revocation".into(),
            body: Bytes::from_static(b"{}"),
        }),
    ));
    messages.push((
        "forward",
        NativeMessage::Forward(Bytes::from_static(&[3, 1, 2])),
    ));
    messages
}

fn emits_and_replies() -> Vec<(&'static str, NativeMessage)> {
    let node = ReplyTo::Node(NodeId::parse("nod1").unwrap());
    let foreign = ReplyTo::Foreign {
        dialect: DialectId(*b"test"),
        address: Bytes::from_static(b"address"),
    };
    vec![
        ("emit", emit(false, None)),
        ("emit, volatile", emit(true, None)),
        ("emit with a conflation key", conflated()),
        ("emit with ack for a node", emit(false, Some(node))),
        ("emit with ack for a program", emit(true, Some(foreign))),
        ("ack reply", reply(Some(socket()), payload())),
        ("ack reply of no client", reply(None, Payload::none())),
    ]
}

fn changes() -> Vec<(&'static str, NativeMessage)> {
    let rooms = || vec![Room::from("a"), Room::from("")];
    let join = Command::Join {
        selector: selector(),
        rooms: rooms(),
    };
    let leave = Command::Leave {
        selector: selector(),
        rooms: rooms(),
    };
    let close_room = Command::CloseRoom {
        namespace: Namespace::from("/chat"),
        room: Room::from("r1"),
    };
    let disconnect = |close| Command::Disconnect {
        selector: selector(),
        close,
    };
    let commands = [
        ("join", join),
        ("leave", leave),
        ("close room", close_room),
        ("disconnect", disconnect(false)),
        ("disconnect, close", disconnect(true)),
    ];
    commands
        .map(|(name, command)| (name, NativeMessage::Command(command)))
        .into()
}

fn queries() -> Vec<(&'static str, NativeMessage)> {
    let [from, to] = ["nod1", "nod2"].map(|name| NodeId::parse(name).unwrap());
    let query = |query| {
        NativeMessage::Query(QueryRequest {
            from,
            id: 12,
            query,
        })
    };
    let answer = |answer| {
        NativeMessage::QueryAnswer(QueryResponse {
            from,
            to,
            id: 12,
            answer,
            is_shortened: false,
        })
    };
    let details = details();
    let of_sockets = Query::Sockets {
        selector: selector(),
        limit: 100,
    };
    let of_rooms = Query::Rooms {
        namespace: Namespace::from("/chat"),
        socket: socket(),
    };
    let sockets = QueryAnswer::Sockets {
        total: 500,
        sockets: vec![socket()],
    };
    let rooms = QueryAnswer::Rooms(Some(vec![Room::from("a"), Room::from("")]));
    let later = details.into_iter().flat_map(|(names, asked, answered)| {
        let [query_name, answer_name] = names;
        [(query_name, query(asked)), (answer_name, answer(answered))]
    });
    let first = [
        ("query for sockets", query(of_sockets)),
        ("query for rooms", query(of_rooms)),
        ("answer with sockets", answer(sockets)),
        ("answer with rooms", answer(rooms)),
        ("answer without socket", answer(QueryAnswer::Rooms(None))),
    ];
    first.into_iter().chain(later).collect()
}

fn summary(node: NodeId) -> NodeSummary {
    NodeSummary {
        node,
        version: "0.1.0".into(),
        sessions: 1,
        sockets: 2,
        rooms: 3,
    }
}

/// Queries that were added after version 2.0, each with its answer, and the names of both.
fn details() -> Vec<([&'static str; 2], Query, QueryAnswer)> {
    let node = NodeId::parse("nod1").unwrap();
    let room_list = Query::RoomList {
        namespace: Namespace::from("/chat"),
        prefix: "r".into(),
        after: "r1".into(),
        limit: 100,
    };
    let room_counts = Query::RoomCounts {
        namespace: Namespace::from("/chat"),
        rooms: vec![Room::from("r1"), Room::from("r2")],
    };
    let details = Query::Details {
        selector: selector(),
        limit: 100,
    };
    let count = QueryAnswer::Count {
        sockets: 3,
        nodes: vec![node],
    };
    let socket = SocketDetails {
        socket: socket(),
        connected_at: 1_800_000_000,
        rooms: vec![Room::from("a")],
        handshake: None,
    };
    vec![
        (
            ["query for a count", "answer with a count"],
            Query::Count {
                selector: selector(),
            },
            count,
        ),
        (
            ["query for details", "answer with details"],
            details,
            QueryAnswer::Details {
                total: 500,
                sockets: vec![socket],
                of_servers: Vec::new(),
            },
        ),
        (
            ["query for a list of rooms", "answer with a list of rooms"],
            room_list,
            QueryAnswer::RoomList(vec![(Room::from("r2"), 7)]),
        ),
        (
            ["query for rooms by name", "answer with rooms by name"],
            room_counts,
            QueryAnswer::RoomList(vec![(Room::from("r1"), 2)]),
        ),
        (
            ["query for nodes", "answer with nodes"],
            Query::Nodes,
            QueryAnswer::Nodes(vec![summary(node)]),
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The recorded messages by name, in hexadecimal.
static RECORDED: LazyLock<BTreeMap<String, String>> = LazyLock::new(recorded);

fn recorded() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(VECTORS);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_new| "{}".to_owned());
    let mut recorded: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    if std::env::var_os("ROOMWIRE_RECORD").is_some() {
        let plain = messages().into_iter();
        let plain = plain.map(|(name, message)| (name, encoded(&message)));
        let logged = logged().map(|(name, message)| (name, encoded_with_position(&message)));
        for (name, encoded) in plain.chain(logged) {
            recorded
                .entry(name.to_owned())
                .or_insert_with(|| hex(&encoded));
        }
        let text = serde_json::to_string_pretty(&recorded).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    recorded
}

#[test]
fn recorded_messages_of_every_kind_are_decoded_and_encoded_as_recorded() {
    let recorded = &*RECORDED;
    let sender = NodeId::parse("nod1").unwrap();
    for (name, message) in messages() {
        assert_eq!(Some(&hex(&encoded(&message))), recorded.get(name), "{name}");
        let bytes = bytes_of(&recorded[name]);
        assert_eq!(sender_of(&bytes), Ok(sender), "{name}");
        let decoded = NativeMessage::decode(&bytes);
        assert_eq!(decoded, Ok((sender, message)), "{name}");
    }
}

#[test]
fn recorded_positions_are_decoded_and_nodes_without_logs_read_the_same_emits() {
    let recorded = &*RECORDED;
    let sender = NodeId::parse("nod1").unwrap();
    for (name, message) in logged() {
        let bytes = encoded_with_position(&message);
        assert_eq!(Some(&hex(&bytes)), recorded.get(name), "{name}");
        let bytes = bytes_of(&recorded[name]);
        assert_eq!(stamp_of(&bytes), Ok(Some(stamp())), "{name}");
        assert_eq!(
            NativeMessage::decode(&bytes),
            Ok((sender, message)),
            "{name}"
        );
    }
    let plain = bytes_of(&recorded["emit"]);
    assert_eq!(stamp_of(&plain), Ok(None));
}
