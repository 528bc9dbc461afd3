//! The layout byte by byte, round trips, and malformed messages.

mod positions;
mod queries;
mod recorded;

use bytes::Bytes;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::model::random::OsRandom;
use crate::model::{
    AckToken, ConflationKey, DialectId, Emit, Namespace, Payload, ReplyTo, Room, Selector,
    SocketId, WorkerIndex,
};

fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

fn emit_to(selector: Selector) -> Command {
    Command::Emit(Emit {
        to: selector,
        payload: Payload::text("[\"e\"]"),
        volatile: true,
        ack: None,
        conflate: None,
    })
}

#[test]
fn an_emit_has_the_documented_layout() {
    let emit = Emit {
        to: Selector::room(Namespace::main(), Room::from("r")).except(Room::from("x")),
        payload: Payload::text("[\"e\"]").with_attachments(vec![Bytes::from_static(b"\xff")]),
        volatile: true,
        ack: Some(AckToken {
            reply_to: ReplyTo::Node(node("nod2")),
            id: 258,
        }),
        conflate: None,
    };
    let encoded = encode_command(node("nod1"), &Command::Emit(emit)).unwrap();
    let expected: &[&[u8]] = &[
        b"\x02\0\x01\x03nod1",
        b"\x2a\0\0\0",
        b"\x02\x01\0\0\0\0\0\0\0nod2",
        b"\x01\0/",
        b"\x01\0\x01\0r",
        b"\x01\0\x01\0x",
        b"\x05\0\0\0[\"e\"]",
        b"\x01\0\x01\0\0\0\xff",
    ];
    assert_eq!(encoded, expected.concat());
    assert_eq!(sender_of(&encoded), Ok(node("nod1")));
}

#[test]
fn a_decoded_payload_shares_the_memory_of_the_message() {
    let command = emit_to(Selector::everybody(Namespace::main()));
    let encoded = encode_command(node("nod1"), &command).unwrap();
    let (_, message) = NativeMessage::decode(&encoded).unwrap();
    let NativeMessage::Command(Command::Emit(emit)) = message else {
        panic!("no emit")
    };
    let shared = emit.payload.json().as_bytes().as_ptr_range();
    let whole = encoded.as_ptr_range();
    assert!(whole.contains(&shared.start) && shared.end <= whole.end);
}

fn is_rejected(message: Vec<u8>, error: DecodeError) {
    let decoded = NativeMessage::decode(&Bytes::from(message.clone()));
    assert_eq!(decoded, Err(error), "{message:?}");
}

#[test]
fn malformed_messages_are_rejected_with_the_cause() {
    let head = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&[2, 0, kind, 0], b"nod1".as_slice(), &length, body].concat()
    };
    for (message, error) in [
        (Vec::new(), DecodeError::Short("version")),
        (b"\x03\0\x01\0nod1".to_vec(), DecodeError::UnknownVersion(3)),
        (b"\x01\x01nod1".to_vec(), DecodeError::UnknownVersion(1)),
        (b"\0".to_vec(), DecodeError::UnknownVersion(0)),
        (b"\x02\0\x01\0nod".to_vec(), DecodeError::Short("sender")),
        (b"\x02\0\x01\0no !".to_vec(), DecodeError::Invalid("node")),
        (
            b"\x02\0\x01\0nod1\0\0\0".to_vec(),
            DecodeError::Short("head"),
        ),
        (
            b"\x02\0\x01\0nod1\x01\0\0\0".to_vec(),
            DecodeError::Short("body"),
        ),
        (
            b"\x02\0\x01\0nod1\xff\xff\xff\xff".to_vec(),
            DecodeError::Short("body"),
        ),
        (head(0x63, b""), DecodeError::UnknownKind(0x63)),
        (head(1, b""), DecodeError::Short("namespace")),
        (head(2, b"\x01\0/\xff\xff"), DecodeError::Short("room")),
        (head(4, b"\x01\0\xff"), DecodeError::Invalid("namespace")),
        (
            head(7, b"\xff\xff\xff\xff"),
            DecodeError::Short("forwarded message"),
        ),
        (
            head(8, b"\0\0\0\0\0\0\0\0\x63"),
            DecodeError::UnknownQuery(0x63),
        ),
    ] {
        is_rejected(message, error);
    }
}

#[test]
fn malformed_extensions_are_rejected_with_the_cause() {
    let forward = encode_forward(node("nod1"), b"body").unwrap();
    let mut longer = forward.to_vec();
    longer.push(0);
    let extended = |extension: &[u8]| [&forward, extension].concat();
    for (message, error) in [
        (longer, DecodeError::Short("extension")),
        (
            extended(b"\x03\0\0\0\0\0"),
            DecodeError::Invalid("conflation key"),
        ),
        (
            extended(b"\x03\0\x01\0\0\0\xff"),
            DecodeError::Invalid("conflation key"),
        ),
        (
            extended(b"\x01\0\x02\0\0\0x"),
            DecodeError::Short("extension"),
        ),
        (
            extended(b"\x01\0\0\0\0\0\x01\x80\0\0\0\0"),
            DecodeError::CriticalExtension(0x8001),
        ),
    ] {
        is_rejected(message, error);
    }
}

#[test]
fn a_name_that_is_too_long_is_rejected_with_its_field() {
    let command = Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("x".repeat(65_536)),
    };
    let rejected = TooLong {
        field: "room",
        length: 65_536,
    };
    assert_eq!(encode_command(node("nod1"), &command), Err(rejected));
}

#[test]
fn commands_go_to_the_channel_of_their_socket_room_or_all() {
    let socket = SocketId::random(node("nod3"), WorkerIndex::default(), &OsRandom);
    let id = Room::from(socket.as_str());
    let room_of_id = format!("roomwire:2:room:/#{id}");
    let one = Selector::socket(Namespace::main(), socket);
    let room = Selector::room(Namespace::from("/a"), Room::from("r"));
    let mut two = room.clone();
    two.rooms.push(Room::from("s"));
    let channels = NativeChannels::new("roomwire:2");
    for (command, expected) in [
        (
            emit_to(one),
            &["roomwire:2:node:nod3", room_of_id.as_str()][..],
        ),
        (
            emit_to(room.clone().except(Room::from("x"))),
            &["roomwire:2:room:/a#r"],
        ),
        (
            emit_to(Selector::room(
                Namespace::main(),
                Room::from("general-announcement"),
            )),
            &["roomwire:2:room:/#general-announcement"],
        ),
        (emit_to(two), &["roomwire:2:all"]),
        (
            emit_to(Selector::everybody(Namespace::main())),
            &["roomwire:2:all"],
        ),
        (
            Command::CloseRoom {
                namespace: Namespace::main(),
                room: id.clone(),
            },
            &["roomwire:2:all"],
        ),
        (
            Command::Join {
                selector: room,
                rooms: Vec::new(),
            },
            &["roomwire:2:room:/a#r"],
        ),
    ] {
        let channels = channels.of(&command);
        let names: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
        assert_eq!(names, expected);
    }
    assert!(!NativeChannels::has_channel(&id, node("nod3")));
    assert!(NativeChannels::has_channel(&id, node("nod1")));
    let like_an_id = Room::from("nod3-announcements-1");
    assert!(NativeChannels::has_channel(&like_an_id, node("nod3")));
    assert!(NativeChannels::has_channel(&Room::from("r"), node("nod1")));
}

fn room() -> impl Strategy<Value = Room> {
    "\\PC{0,12}".prop_map(Room::from)
}

fn namespace() -> impl Strategy<Value = Namespace> {
    "/[a-z]{0,5}".prop_map(Namespace::from)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    "[A-Za-z0-9_-]{4}".prop_map(|name| node(&name))
}

fn selector() -> impl Strategy<Value = Selector> {
    let rooms = || prop::collection::vec(room(), 0..4);
    (namespace(), rooms(), rooms()).prop_map(|(namespace, rooms, except)| Selector {
        namespace,
        rooms: SmallVec::from_vec(rooms),
        except: SmallVec::from_vec(except),
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let attachments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3);
    ("\\PC{0,30}", attachments).prop_map(|(name, attachments)| {
        let attachments: Vec<_> = attachments.into_iter().map(Bytes::from).collect();
        Payload::event(&name, ["1"]).with_attachments(attachments)
    })
}

fn token() -> impl Strategy<Value = AckToken> {
    let address = prop::collection::vec(any::<u8>(), 0..20);
    let reply_to = prop_oneof![
        node_id().prop_map(ReplyTo::Node),
        (any::<[u8; 4]>(), address).prop_map(|(dialect, address)| ReplyTo::Foreign {
            dialect: DialectId(dialect),
            address: Bytes::from(address),
        }),
    ];
    (reply_to, any::<u64>()).prop_map(|(reply_to, id)| AckToken { reply_to, id })
}

fn command() -> impl Strategy<Value = Command> {
    let rooms = || prop::collection::vec(room(), 0..4);
    prop_oneof![
        (
            selector(),
            payload(),
            any::<bool>(),
            prop::option::of(token()),
            prop::option::of("[a-zä]{1,40}")
        )
            .prop_map(|(to, payload, volatile, ack, key)| Command::Emit(Emit {
                to,
                payload,
                volatile,
                ack,
                conflate: key.and_then(|key| ConflationKey::new(&key)),
            })),
        (selector(), rooms()).prop_map(|(selector, rooms)| Command::Join { selector, rooms }),
        (selector(), rooms()).prop_map(|(selector, rooms)| Command::Leave { selector, rooms }),
        (namespace(), room()).prop_map(|(namespace, room)| Command::CloseRoom { namespace, room }),
        (selector(), any::<bool>())
            .prop_map(|(selector, close)| Command::Disconnect { selector, close }),
    ]
}

fn message() -> impl Strategy<Value = NativeMessage> {
    let socket =
        node_id().prop_map(|node| SocketId::random(node, WorkerIndex::default(), &OsRandom));
    prop_oneof![
        5 => command().prop_map(NativeMessage::Command),
        2 => (token(), prop::option::of(socket), payload()).prop_map(
            |(token, socket, payload)| NativeMessage::AckReply(AckReply { token, socket, payload })
        ),
        1 => prop_oneof![
            Just(MemberState::Alive), Just(MemberState::Joined), Just(MemberState::Leaving)
        ].prop_map(NativeMessage::Heartbeat),
        1 => prop::collection::vec(any::<u8>(), 0..50)
            .prop_map(|body| NativeMessage::Forward(Bytes::from(body))),
    ]
}

proptest! {
    #[test]
    fn messages_are_decoded_as_they_were_encoded(sender in node_id(), message in message()) {
        let encoded = message.encode(sender).unwrap();
        prop_assert_eq!(NativeMessage::decode(&encoded), Ok((sender, message)));
    }

    #[test]
    fn truncated_messages_are_rejected(message in message(), share in 0.0..1.0_f64) {
        let encoded = message.encode(node("nod1")).unwrap();
        // Extensions are optional: without them, the message is complete.
        let body = u32::from_le_bytes(encoded[8..12].try_into().unwrap()) as usize;
        let end = ((12 + body) as f64 * share) as usize;
        prop_assert!(NativeMessage::decode(&encoded.slice(..end)).is_err());
    }

    #[test]
    fn arbitrary_bodies_do_not_panic(kind in 0..11_u8, flags in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut message = vec![MAJOR, MINOR, kind, flags];
        message.extend_from_slice(b"nod1");
        message.extend_from_slice(&(body.len() as u32).to_le_bytes());
        message.extend(body);
        let _ = NativeMessage::decode(&Bytes::from(message));
    }
}

#[test]
fn a_long_room_name_is_hashed_in_the_channel_name() {
    let channels = NativeChannels::new("roomwire:0");
    let room = |name: &str| {
        let room = Room::from(name.to_owned());
        channels.room(&Namespace::main(), &room).to_string()
    };
    let longest = "x".repeat(63);
    assert_eq!(room(&longest), format!("roomwire:0:room:/#{longest}"));
    // The first half of SHA-256 of `/#xxx…`: every node must derive the same name.
    let long = "x".repeat(252);
    assert_eq!(
        room(&long),
        "roomwire:0:room:~b97a2905fe3b3474dfa60497bb994981"
    );
    assert_ne!(room(&long), room(&"y".repeat(252)));
}

#[test]
fn an_empty_reply_is_decoded_and_an_empty_emit_is_rejected() {
    let node = NodeId::parse("abcd").unwrap();
    let token = AckToken {
        reply_to: ReplyTo::Node(node),
        id: 7,
    };
    let reply = AckReply::no_recipient(token.clone());
    let message = encode_reply(node, &reply).unwrap();
    let read = NativeMessage::decode(&message).unwrap();
    assert_eq!(read, (node, NativeMessage::AckReply(reply)));
    let emit = |json: &str, ack| {
        let command = Command::Emit(Emit {
            to: Selector::room(Namespace::main(), Room::from("r")),
            payload: Payload::text(json),
            volatile: false,
            ack,
            conflate: None,
        });
        encode_command(node, &command).unwrap()
    };
    assert!(NativeMessage::decode(&emit("", None)).is_err());
    let with_and_without_ack = [Some(token), None].map(|ack| requests_response(&emit("[]", ack)));
    assert_eq!(with_and_without_ack, [true, false]);
    assert!(!requests_response(&message));
}

proptest! {
    #[test]
    fn additions_of_a_newer_minor_version_are_skipped(
        message in message(),
        fields in prop::collection::vec(any::<u8>(), 0..20),
        extensions in prop::collection::vec((CONFLATION_TAG + 1..CRITICAL, prop::collection::vec(any::<u8>(), 0..20)), 0..3),
    ) {
        let sender = node("nod1");
        let encoded = message.encode(sender).unwrap();
        let length = encoded[BODY_LENGTH_AT..HEAD_LENGTH].try_into().unwrap();
        let end = HEAD_LENGTH + u32::from_le_bytes(length) as usize;
        let length = end + fields.len() - HEAD_LENGTH;
        let mut newer = [&encoded[..end], &fields[..], &encoded[end..]].concat();
        newer[1] = MINOR + 1;
        // The flags in use are the lowest.
        newer[FLAGS_AT] |= 0xf0;
        newer[BODY_LENGTH_AT..HEAD_LENGTH].copy_from_slice(&(length as u32).to_le_bytes());
        for (tag, value) in extensions {
            newer.extend(tag.to_le_bytes());
            newer.extend((value.len() as u32).to_le_bytes());
            newer.extend(value);
        }
        let newer = Bytes::from(newer);
        prop_assert_eq!(requests_response(&newer), requests_response(&encoded));
        prop_assert_eq!(NativeMessage::decode(&newer), Ok((sender, message)));
    }
}
