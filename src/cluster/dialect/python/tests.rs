//! The recorded messages of stock managers, and unusual forms.

mod rejected;

use serde_json::Value;

use super::*;
use crate::cluster::dialect;
use crate::model::{AckToken, Emit, Namespace, Payload, ReplyTo, Room, Selector};

const VECTORS: &str = include_str!("../../../../tests/vectors/python-bus.json");

fn codec() -> PythonCodec {
    PythonCodec::new("main", NodeId::parse("nod1").unwrap())
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Publishes recorded in the given encoding.
fn recorded(encoding: &str) -> Vec<Vec<u8>> {
    let records: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let published = records.iter().filter(|record| record["enc"] == encoding);
    published
        .map(|record| bytes_of(record["hex"].as_str().unwrap()))
        .collect()
}

fn command(json: &str) -> Command {
    match codec().decode(json.as_bytes()) {
        Ok(Decoded::Command(command)) => command,
        other => panic!("{json}: {other:?}"),
    }
}

fn emit(json: &str) -> Emit {
    match command(json) {
        Command::Emit(emit) => emit,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn every_recorded_json_message_is_decoded_and_encoded_again() {
    let messages = recorded("json");
    assert_eq!(messages.len(), 40);
    let mut callbacks = 0;
    for message in messages {
        let text = String::from_utf8_lossy(&message).into_owned();
        let fields: Value = serde_json::from_str(&text).unwrap();
        match codec().decode(&message).unwrap() {
            // Recordings that name sockets which did not exist, by texts that are no ids.
            Decoded::Command(Command::Emit(emit))
                if emit
                    .to
                    .except
                    .iter()
                    .any(|room| ["SIDX", "S1"].contains(&&**room)) =>
            {
                let first = emit.to.except[0].clone();
                let rejected = codec().encode(&Command::Emit(emit));
                assert_eq!(rejected, Err(Unsupported::ExceptRoom(first)));
            }
            Decoded::Command(command) => {
                let again = codec().encode(&command).unwrap();
                assert_eq!(again.len(), 1);
                let again: Value = serde_json::from_slice(&again[0]).unwrap();
                for (name, value) in fields.as_object().unwrap() {
                    if name != "host_id" {
                        assert_eq!(&again[name], value, "{name} of {text}");
                    }
                }
            }
            Decoded::Ignored(Ignored::ForeignReply) => callbacks += 1,
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(callbacks, 4);
}

#[test]
fn pickle_is_rejected_without_decoding() {
    let messages = recorded("pickle");
    assert_eq!(messages.len(), 20);
    for message in messages {
        let rejected = codec().decode(&message);
        assert!(matches!(rejected, Err(DecodeError::Pickle)));
    }
}

#[test]
fn data_of_every_release_is_decoded() {
    for (data, payload) in [
        (
            r#""data":[1,"two",[3]],"binary":false"#,
            r#"["e",1,"two",[3]]"#,
        ),
        (r#""data":[null],"binary":false"#, r#"["e"]"#),
        (r#""data":[],"binary":false"#, r#"["e"]"#),
        (r#""data":[null,1],"binary":false"#, r#"["e",null,1]"#),
        (r#""data":[[1,2]],"binary":false"#, r#"["e",[1,2]]"#),
        (r#""data":{"a": 1},"binary":false"#, r#"["e",{"a": 1}]"#),
        (r#""data":null"#, r#"["e"]"#),
        (r#""data":"raw""#, r#"["e","raw"]"#),
        (r#""data":"[x]""#, r#"["e","[x]"]"#),
        (r#""data": [1, 2] "#, r#"["e",1, 2]"#),
        (r#""data":0"#, r#"["e",0]"#),
        (r#""binary":null"#, r#"["e"]"#),
    ] {
        let json = format!(r#"{{"method":"emit","event":"e","namespace":"/",{data}}}"#);
        assert_eq!(emit(&json).payload, Payload::text(payload), "{data}");
    }
}

#[test]
fn binary_of_every_release_is_decoded() {
    const ZERO: &str = r#"{"_placeholder":true,"num":0}"#;
    for (data, json, attachments) in [
        (
            format!(r#"[[{ZERO}],"AQL/"]"#),
            format!(r#"["e",{ZERO}]"#),
            1,
        ),
        // 5.14.2 to 5.15.0: the payload itself, not a list of arguments
        (format!(r#"[{ZERO},"AQL/"]"#), format!(r#"["e",{ZERO}]"#), 1),
        (
            format!(r#"[{{"k":{ZERO}}},"AQL/"]"#),
            format!(r#"["e",{{"k":{ZERO}}}]"#),
            1,
        ),
        (r#"[["none"]]"#.to_owned(), r#"["e","none"]"#.to_owned(), 0),
        (
            format!(r#"[[{ZERO}],"AQI"]"#),
            format!(r#"["e",{ZERO}]"#),
            1,
        ),
        // Lines wrapped as in MIME, and the URL-safe alphabet.
        (
            format!(r#"[[{ZERO}],"AQL_\r\nAQ==\n"]"#),
            format!(r#"["e",{ZERO}]"#),
            1,
        ),
    ] {
        let message = format!(
            r#"{{"method":"emit","event":"e","data":{data},"binary":true,"namespace":"/"}}"#
        );
        let payload = emit(&message).payload;
        assert_eq!(
            (payload.json(), payload.attachments().len()),
            (&*json, attachments)
        );
        if let Some(attachment) = payload.attachments().first() {
            assert_eq!(attachment[..2], [1, 2]);
        }
    }
}

#[test]
fn every_form_of_room_and_skip_sid_is_decoded() {
    let names = |text: &str| -> Vec<String> {
        let json = format!(
            r#"{{"method":"emit","event":"e","data":[],"namespace":"/a","room":{text},"skip_sid":{text}}}"#
        );
        let selector = emit(&json).to;
        assert_eq!(
            (&*selector.namespace, &selector.rooms),
            ("/a", &selector.except)
        );
        selector.rooms.iter().map(Room::to_string).collect()
    };
    assert_eq!(names("null"), [""; 0]);
    assert_eq!(names(r#""r1""#), ["r1"]);
    assert_eq!(names(r#""ä\n""#), ["ä\n"]);
    assert_eq!(names(r#"["r1", "r2"]"#), ["r1", "r2"]);
    assert_eq!(names("17"), ["17"]);
}

#[test]
fn a_message_without_recipients_is_ignored() {
    for (json, why) in [
        (
            r#"{"method":"emit","event":"e","data":[],"namespace":null}"#,
            Ignored::NoNamespace,
        ),
        (
            r#"{"method":"close_room","room":"r"}"#,
            Ignored::NoNamespace,
        ),
        (
            r#"{"method":"emit","event":"e","data":[],"namespace":"/","room":[]}"#,
            Ignored::NoRooms,
        ),
        (
            r#"{"method":"dance","namespace":"/"}"#,
            Ignored::UnknownMethod,
        ),
        (
            r#"{"method":"callback","host_id":"H","sid":"s","namespace":"/","id":1,"args":[]}"#,
            Ignored::ForeignReply,
        ),
        (
            r#"{"method":"callback","host_id":"roomwire:main:toolong","id":1,"args":[]}"#,
            Ignored::ForeignReply,
        ),
    ] {
        let decoded = codec().decode(json.as_bytes()).unwrap();
        assert_eq!(decoded, Decoded::Ignored(why), "{json}");
    }
}

#[test]
fn malformed_messages_are_errors() {
    let deep = format!(
        r#"{{"method":"emit","event":"e","namespace":"/","binary":true,"data":[{}{}]}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for json in [
        "",
        "null",
        "[]",
        "{\"method\":",
        r#"{"host_id":"roomwire:main:no"#,
        r#"{"method":5}"#,
        r#"{"method":"emit","event":[5],"data":[],"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[NaN],"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[],"namespace":"/","room":{}}"#,
        r#"{"method":"emit","event":"e","data":[],"namespace":"/","skip_sid":[{}]}"#,
        r#"{"method":"emit","event":"e","data":5,"binary":true,"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[],"binary":true,"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[[],"?"],"binary":true,"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[{"_placeholder":true,"num":0}],"binary":true,"namespace":"/"}"#,
        r#"{"method":"emit","event":"e","data":[{"_placeholder":true,"num":-1},"AA=="],"binary":true,"namespace":"/"}"#,
        r#"{"method":"disconnect","namespace":"/"}"#,
        r#"{"method":"enter_room","sid":"s","namespace":"/"}"#,
        r#"{"method":"callback","host_id":"roomwire:main:nod1","id":-1,"args":[]}"#,
        r#"{"method":"callback","host_id":"roomwire:main:nod1","id":1,"args":{}}"#,
        &deep,
    ] {
        assert!(codec().decode(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn messages_of_the_own_cluster_are_recognised_by_their_first_bytes() {
    let own = r#"{"host_id":"roomwire:main:nod2","#;
    assert_eq!(codec().decode(own.as_bytes()).unwrap(), Decoded::Own);
    for foreign in [
        "roomwire:main:sub:nod2",
        "roomwire:mai:nod2",
        "roomwire:main:nod22",
        "x",
    ] {
        let json = format!(
            r#"{{"host_id":"{foreign}","method":"close_room","namespace":"/","room":"r"}}"#
        );
        assert!(
            matches!(command(&json), Command::CloseRoom { .. }),
            "{foreign}"
        );
    }
    let quoted = PythonCodec::new("a\"b", NodeId::parse("nod1").unwrap());
    let close = Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("r"),
    };
    let message = quoted.encode(&close).unwrap().remove(0);
    assert_eq!(quoted.decode(&message).unwrap(), Decoded::Own);
}

#[test]
fn an_emit_with_ack_is_published_and_its_callback_is_decoded() {
    let node = NodeId::parse("nod1").unwrap();
    let question = Emit {
        to: Selector::room(Namespace::main(), Room::from("r1")),
        payload: Payload::event("ask", ["7"]),
        volatile: false,
        ack: Some(AckToken {
            reply_to: ReplyTo::Node(node),
            id: 5,
        }),
        conflate: None,
    };
    let message = codec()
        .encode(&Command::Emit(question.clone()))
        .unwrap()
        .remove(0);
    let message: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(message["callback"], serde_json::json!(["r1", "/", 5]));
    // The callback of a stock process:
    let callback = format!(
        r#"{{"method": "callback", "host_id": {}, "sid": "r1", "namespace": "/", "id": 5, "args": ["ret", 1]}}"#,
        message["host_id"]
    );
    let reply = AckReply {
        token: question.ack.unwrap(),
        socket: None,
        payload: Payload::text(r#"["ret", 1]"#),
    };
    assert_eq!(
        codec().decode(callback.as_bytes()).unwrap(),
        Decoded::AckReply(reply)
    );
}

#[test]
fn the_reply_to_a_stock_emit_has_the_form_that_its_manager_requires() {
    let requesting = emit(
        r#"{"method": "emit", "event": "ask", "data": [7], "binary": false, "namespace": "/", "room": "9hXUJ8XOaibBZPrfAAAB", "skip_sid": null, "callback": ["9hXUJ8XOaibBZPrfAAAB", "/", 1], "host_id": "H"}"#,
    );
    let mut reply = AckReply {
        token: requesting.ack.unwrap(),
        socket: None,
        payload: Payload::text(r#"["ret",1]"#),
    };
    assert_eq!(
        PythonCodec::encode_reply(&reply).unwrap(),
        r#"{"method":"callback","host_id":"H","sid":"9hXUJ8XOaibBZPrfAAAB","namespace":"/","id":1,"args":["ret",1]}"#
    );
    reply.payload = reply.payload.with_attachments(vec!["x".into()]);
    assert_eq!(
        PythonCodec::encode_reply(&reply),
        Err(Unsupported::BinaryReply)
    );
    reply.token.reply_to = ReplyTo::Node(NodeId::parse("nod1").unwrap());
    assert_eq!(
        PythonCodec::encode_reply(&reply),
        Err(Unsupported::ForeignRecipient)
    );
}

#[test]
fn the_dialect_owns_the_channels_of_rooms() {
    let channels = PythonChannels::default();
    let room = channels.room(&Namespace::main(), &Room::from("channel:7"));
    assert_eq!(room, "socketio#/#channel:7");
    for (channel, ours) in [
        ("socketio", true),
        (&*room, true),
        ("socketio2", false),
        ("x", false),
    ] {
        assert_eq!(channels.contains(channel), ours, "{channel}");
    }
}

/// A server in Node emits numbers as names of events, and stock clients accept them.
#[test]
fn an_event_can_have_a_number_as_its_name() {
    let named = emit(r#"{"method":"emit","event":7,"data":["x"],"namespace":"/","room":"r"}"#);
    assert_eq!(named.payload.json(), r#"[7,"x"]"#);
    let other = PythonCodec::new("other", NodeId::parse("nod2").unwrap());
    let encoded = other.encode(&Command::Emit(named.clone())).unwrap();
    let read = codec().decode(&encoded[0]).unwrap();
    assert_eq!(read, Decoded::Command(Command::Emit(named)));
    for event in ["null", "[7]", "true", "{}"] {
        let json = format!(r#"{{"method":"emit","event":{event},"namespace":"/"}}"#);
        assert!(codec().decode(json.as_bytes()).is_err(), "{event}");
    }
}

#[test]
fn commands_of_nodes_of_any_cluster_are_recognized() {
    let node = NodeId::parse("nod2").unwrap();
    for cluster in ["main", "other:0"] {
        let command = command(r#"{"method":"close_room","namespace":"/","room":"r"}"#);
        let [message] = PythonCodec::new(cluster, node)
            .encode(&command)
            .unwrap()
            .try_into()
            .unwrap();
        assert!(PythonCodec::is_of_roomwire(&message), "{message:?}");
    }
    for message in recorded("json").into_iter().chain([Vec::new()]) {
        assert!(!PythonCodec::is_of_roomwire(&message), "{message:?}");
    }
    // What a client can choose is not at the start.
    let nested = r#"{"method":"emit","event":"e","data":{"host_id":"roomwire:other:0:nod2"}}"#;
    assert!(!PythonCodec::is_of_roomwire(nested.as_bytes()));
}
