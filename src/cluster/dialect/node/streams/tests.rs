use bytes::Bytes;
use serde_json::json;

use super::StreamsDialect;
use crate::bus::entry;
use crate::bus::link::Channel;
use crate::cluster::dialect::node::message::vectors::RecordedCommand;
use crate::cluster::dialect::{
    Dialect, EntryNumber, Inbound, Outbound, StreamSender, StreamedCommand,
};
use crate::config::{BusConfig, Config};
use crate::model::{
    AckReply, AckToken, Command, ConflationKey, Emit, Namespace, NodeId, Payload, Position,
    ReplyTo, Room, Selector,
};
use crate::msgpack::{Reader, write_value};

const VECTORS: &str = include_str!("../../../../../tests/vectors/node-streams.json");

fn dialect_of(node: &str, streams: usize) -> StreamsDialect {
    let config = BusConfig {
        node_streams: streams,
        message_limit: 100_000,
        channel_prefix: "roomwire:0".to_owned(),
        ..Config::default().bus
    };
    StreamsDialect::new(&config, NodeId::parse(node).unwrap())
}

const NUMBER: EntryNumber = EntryNumber {
    sender: 0xabcd,
    number: 7,
};

/// A dialect whose main namespace is shared.
fn sharing(node: &str) -> StreamsDialect {
    let config = BusConfig {
        channel_prefix: "roomwire:0".to_owned(),
        shared_namespaces: vec!["/".to_owned()],
        ..Config::default().bus
    };
    StreamsDialect::new(&config, NodeId::parse(node).unwrap())
}

/// What a node reads of the entry that another one, or the same, adds for a command.
fn streamed(command: &Command, dialect: &StreamsDialect) -> Inbound {
    let encoded = sharing("abcd").encode_in_stream(command, NUMBER).unwrap();
    let [message] = &encoded.unwrap()[..] else {
        panic!("one entry")
    };
    let mut parts = vec![Bytes::from("1764412345678-3")];
    parts.extend(entry::parts(&message.payload).unwrap());
    let payload = entry::encode(parts.iter().map(|part| &part[..]));
    dialect.decode(&message.channel, &payload).unwrap()
}

fn entry_of(fields: &[&str]) -> Bytes {
    entry::encode(fields.iter().map(|field| field.as_bytes()))
}

fn emit(ack: Option<AckToken>) -> Command {
    Command::Emit(Emit {
        to: Selector::room(Namespace::main(), Room::from("r")),
        payload: Payload::text(r#"["e",1]"#),
        volatile: false,
        ack,
        conflate: None,
    })
}

fn json_of(message: &Bytes) -> serde_json::Value {
    let json = Reader::new(message).json(&mut Default::default(), 10_000);
    serde_json::from_slice(&json.unwrap()).unwrap()
}

#[test]
fn entries_are_written_as_stock_servers_write_them() {
    let mut checked = 0;
    for record in RecordedCommand::messages(VECTORS) {
        let channel = Channel::from(record.channel.as_deref().unwrap());
        let streams = if record.dialect == "streams" { 1 } else { 3 };
        let dialect = dialect_of("abcd", streams);
        assert!(dialect.owns(&channel), "{channel}");
        if record.cmd != "XADD" {
            continue;
        }
        assert_eq!(record.options, ["MAXLEN", "~", "10000"]);
        let fields = record.fields.iter();
        let mut parts = vec!["1-0"];
        parts.extend(fields.flat_map(|(name, value)| [name.as_str(), value]));
        let inbound = dialect.decode(&channel, &entry_of(&parts)).unwrap();
        let Inbound::Command(command) = inbound else {
            panic!("{inbound:?}")
        };
        let written = dialect.encode(&Outbound::Command(&command)).unwrap();
        assert_eq!(written[0].channel, channel);
        if record.is_exact() {
            // The uid is that of the node.
            parts.remove(0);
            parts[1] = "roomwire:roomwire:0:abcd";
            assert_eq!(written[0].payload, entry_of(&parts), "{}", record.step);
        }
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

/// In the form of `@socket.io/redis-streams-emitter` 0.1.1, which repeats the namespace in packets.
#[test]
fn entries_of_the_emitter_are_read() {
    let stream = Channel::from("socket.io");
    let decoded = |kind: &str, data: &str| {
        let fields = [
            "1-0", "uid", "emitter", "nsp", "/a", "type", kind, "data", data,
        ];
        dialect_of("abcd", 1)
            .decode(&stream, &entry_of(&fields))
            .unwrap()
    };
    let packet = r#"{"packet":{"type":2,"data":["hello",1],"nsp":"/a"},"opts":{"rooms":["r"],"flags":{},"except":[]}}"#;
    let Inbound::Command(Command::Emit(emit)) = decoded("3", packet) else {
        panic!()
    };
    let room = Room::from("r");
    assert_eq!(emit.to, Selector::room(Namespace::from("/a"), room));
    assert_eq!(emit.payload.json(), r#"["hello",1]"#);
    let event = decoded("9", r#"{"packet":["ev",1]}"#);
    assert!(matches!(event, Inbound::ServerEvent { reply_to: None, .. }));
}

#[test]
fn entries_without_a_namespace_or_of_nodes_have_no_effect_and_malformed_ones_are_rejected() {
    let stream = Channel::from("socket.io");
    let decode = |fields: &[&str]| dialect_of("abcd", 1).decode(&stream, &entry_of(fields));
    for fields in [
        &["1-0", "uid", "u", "type", "3", "data", "{}"][..],
        &["1-0", "x", "y"],
        &["1-0"],
        &["1-0", "uid", "u", "nsp", "/", "type", "2"],
    ] {
        assert_eq!(decode(fields).unwrap(), Inbound::Ignored, "{fields:?}");
    }
    let other = dialect_of("efgh", 1);
    let written = other.encode(&Outbound::Command(&emit(None))).unwrap();
    let received = dialect_of("abcd", 1).decode(&written[0].channel, &written[0].payload);
    assert_eq!(received.unwrap(), Inbound::Own { gather: None });
    for fields in [
        &["1-0", "nsp", "/", "type", "x", "data", "{}"][..],
        &["1-0", "nsp", "/", "type", "3", "data", "{}"],
        &["1-0", "nsp", "/", "type", "3", "data", "!"],
        &["1-0", "nsp", "/", "type", "3", "data", "AAAA"],
    ] {
        assert!(decode(fields).is_err(), "{fields:?}");
    }
    let malformed = Bytes::from_static(b"\xff");
    assert!(dialect_of("abcd", 1).decode(&stream, &malformed).is_err());
}

#[test]
fn requests_and_responses_are_published_as_msgpack_and_not_written_to_the_stream() {
    let dialect = dialect_of("abcd", 1);
    let token = AckToken {
        reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
        id: 7,
    };
    let call = dialect.encode(&Outbound::Command(&emit(Some(token.clone()))));
    let call = &call.unwrap()[0];
    assert_eq!(call.channel.as_str(), "socket.io#/#");
    let request = "0000000000000007";
    let expected = json!({
        "type": 3,
        "data": {
            "packet": {"type": 2, "data": ["e", 1]},
            "requestId": request,
            "opts": {"rooms": ["r"], "except": [], "flags": {}},
        },
        "uid": "roomwire:roomwire:0:abcd",
        "nsp": "/",
    });
    assert_eq!(json_of(&call.payload), expected);
    let received = dialect.decode(&call.channel, &call.payload).unwrap();
    assert_eq!(received, Inbound::Own { gather: Some(7) });
    let message = |kind: u64, data| {
        let message = json!({"type": kind, "data": data, "uid": "u1", "nsp": "/"});
        let mut bytes = Vec::new();
        write_value(&message.to_string(), &[], &mut bytes);
        let own = Channel::from("socket.io#/#roomwire:roomwire:0:abcd#");
        dialect.decode(&own, &bytes.into()).unwrap()
    };
    let ack = message(12, json!({"requestId": request, "packet": null}));
    let expected = AckReply {
        token,
        socket: None,
        payload: Payload::text("[null]"),
    };
    assert_eq!(ack, Inbound::Reply(expected));
    let asked = json!({"packet": {"type": 2, "data": ["q"]}, "requestId": "q1", "opts": {}});
    let Inbound::CountedEmit { emit, .. } = message(3, asked) else {
        panic!()
    };
    let reached = Outbound::Reached {
        token: &emit.ack.unwrap(),
        sockets: 3,
    };
    let response = &dialect.encode(&reached).unwrap()[0];
    assert_eq!(response.channel.as_str(), "socket.io#/#u1#");
    let data = json!({"requestId": "q1", "clientCount": 3});
    assert_eq!(json_of(&response.payload)["data"], data);
}

#[test]
fn commands_of_nodes_of_any_cluster_are_recognized() {
    let dialect = dialect_of("abcd", 1);
    let token = AckToken {
        reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
        id: 7,
    };
    for ack in [None, Some(token)] {
        let messages = dialect.encode(&Outbound::Command(&emit(ack))).unwrap();
        let [message] = messages.try_into().unwrap();
        let is_of_roomwire = |payload: Bytes| dialect.is_of_roomwire(&message.channel, &payload);
        assert!(is_of_roomwire(message.payload.clone()));
        let replaced = |from: &[u8], to: &[u8]| {
            let mut bytes = message.payload.to_vec();
            let at = bytes.windows(from.len()).position(|part| part == from);
            let at = at.unwrap();
            bytes[at..at + from.len()].copy_from_slice(to);
            Bytes::from(bytes)
        };
        assert!(is_of_roomwire(replaced(b"roomwire:0:", b"roomwire:1:")));
        assert!(!is_of_roomwire(replaced(
            b"roomwire:roomwire",
            b"01234567:roomwire"
        )));
        assert!(!is_of_roomwire(Bytes::new()));
    }
    let without_uid = entry_of(&["1-0", "nsp", "/", "data", "roomwire:"]);
    assert!(!dialect.is_of_roomwire(&Channel::from("socket.io"), &without_uid));
}

#[test]
fn commands_that_nodes_add_for_nodes_have_a_place_in_the_order_of_the_stream() {
    let position = Position::of_entry(b"1764412345678-3");
    let Command::Emit(plain) = emit(None) else {
        panic!()
    };
    let conflated = Emit {
        conflate: ConflationKey::new("price"),
        payload: Payload::text(r#"["e",{"_placeholder":true,"num":0}]"#)
            .with_attachments(vec![Bytes::from_static(b"\0\xff")]),
        ..plain.clone()
    };
    for emit in [plain, conflated] {
        let command = Command::Emit(emit);
        for (dialect, position, sender) in [
            (sharing("abcd"), position, StreamSender::ThisNode),
            (sharing("efgh"), position, StreamSender::OtherNode),
            // A node without shared sessions.
            (dialect_of("efgh", 1), None, StreamSender::OtherNode),
        ] {
            let expected = StreamedCommand {
                command: command.clone(),
                position,
                sender,
                number: Some(NUMBER),
            };
            assert_eq!(streamed(&command, &dialect), Inbound::Streamed(expected));
        }
    }
}

#[test]
fn changes_that_nodes_add_for_nodes_are_for_the_others() {
    let change = Command::Join {
        selector: Selector::everybody(Namespace::main()),
        rooms: vec![Room::from("r")],
    };
    let own = streamed(&change, &sharing("abcd"));
    assert_eq!(own, Inbound::Own { gather: None });
    let expected = StreamedCommand {
        command: change.clone(),
        position: None,
        sender: StreamSender::OtherNode,
        number: Some(NUMBER),
    };
    let others = streamed(&change, &sharing("efgh"));
    assert_eq!(others, Inbound::Streamed(expected));
}

#[test]
fn events_of_servers_have_positions_in_shared_namespaces_unless_they_are_volatile() {
    let stream = Channel::from("socket.io");
    let decode = |id: &str, namespace: &str, flags: &str| {
        let data = format!(
            r#"{{"packet":{{"type":2,"data":["e"]}},"opts":{{"rooms":[],"except":[],"flags":{flags}}}}}"#
        );
        let fields = [id, "uid", "u", "nsp", namespace, "type", "3", "data", &data];
        sharing("abcd").decode(&stream, &entry_of(&fields)).unwrap()
    };
    let id = "1764412345678-3";
    let Inbound::Streamed(shared) = decode(id, "/", "{}") else {
        panic!()
    };
    assert_eq!(shared.position, Position::of_entry(id.as_bytes()));
    assert_eq!(shared.sender, StreamSender::Foreign);
    assert_eq!(shared.number, None);
    for (id, namespace, flags) in [
        (id, "/other", "{}"),
        (id, "/", r#"{"volatile":true}"#),
        // A number that a position cannot express.
        ("1764412345678-4194304", "/", "{}"),
    ] {
        let inbound = decode(id, namespace, flags);
        assert!(matches!(inbound, Inbound::Command(_)), "{inbound:?}");
    }
}

#[test]
fn an_entry_with_a_conflation_key_that_no_node_writes_is_rejected() {
    let stream = Channel::from("socket.io");
    let data = r#"{"packet":{"type":2,"data":["e"]},"opts":{"rooms":[],"except":[],"flags":{}}}"#;
    let uid = "roomwire:roomwire:0:efgh";
    let fields = [
        "1-0", "uid", uid, "nsp", "/", "type", "3", "data", data, "roomwire", "1", "conflate", "",
    ];
    let decoded = sharing("abcd").decode(&stream, &entry_of(&fields));
    assert!(decoded.unwrap_err().cause.to_string().contains("conflate"));
}
