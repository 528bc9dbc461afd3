use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::PubSubDialect;
use crate::bus::link::Channel;
use crate::cluster::dialect::{Dialect, Inbound};
use crate::config::{BusConfig, Config, NodeAdapter};
use crate::model::{Command, Emit, Namespace, NodeId, Payload, Room, Selector, ServerSideEvent};
use crate::msgpack::write_value;

mod nobody;
mod queries;
mod servers;
mod vectors;

fn dialect_of(node: &str, node_adapter: NodeAdapter) -> Arc<dyn Dialect> {
    let config = BusConfig {
        node_adapter,
        channel_prefix: "roomwire:0".to_owned(),
        message_limit: 10_000,
        ..Config::default().bus
    };
    PubSubDialect::configured(&config, NodeId::parse(node).unwrap()).unwrap()
}

fn dialect() -> Arc<dyn Dialect> {
    dialect_of("abcd", NodeAdapter::Emitters)
}

fn hex(text: &str) -> Bytes {
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(byte).collect()
}

fn msgpack(value: &Value) -> Bytes {
    let mut bytes = Vec::new();
    write_value(&value.to_string(), &[], &mut bytes);
    bytes.into()
}

fn decoded(channel: &str, message: &Bytes) -> Inbound {
    let channel = Channel::from(channel);
    assert!(dialect().owns(&channel), "{channel}");
    dialect().decode(&channel, message).unwrap()
}

fn error(channel: &str, message: &Bytes) -> String {
    let error = dialect().decode(&Channel::from(channel), message);
    error.unwrap_err().cause.to_string()
}

fn selector(namespace: &str, rooms: &[&str], except: &[&str]) -> Selector {
    let names = |names: &[&str]| names.iter().map(|name| Room::from(*name)).collect();
    Selector {
        namespace: Namespace::from(namespace),
        rooms: names(rooms),
        except: names(except),
    }
}

fn emit(channel: &str, message: &Bytes) -> Emit {
    match decoded(channel, message) {
        Inbound::Command(Command::Emit(emit)) => emit,
        other => panic!("{other:?}"),
    }
}

/// Recorded from `@socket.io/redis-emitter` 5.1.0.
#[test]
fn emits_of_the_stock_emitter_are_decoded() {
    for (channel, message, to, json, volatile) in [
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746194a568656c6c6f01a13281a13391c3a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            selector("/", &[], &[]),
            r#"["hello",1,"2",{"3":[true]}]"#,
            false,
        ),
        (
            "socket.io#/custom#r1#",
            "93a7656d697474657283a47479706502a46461746192a568656c6c6f01a36e7370a72f637573746f6d83a5726f6f6d7391a27231a5666c61677380a665786365707490",
            selector("/custom", &["r1"], &[]),
            r#"["hello",1]"#,
            false,
        ),
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a568656c6c6f01a36e7370a12f83a5726f6f6d7392a27231a27232a5666c61677380a665786365707491a27233",
            selector("/", &["r1", "r2"], &["r3"]),
            r#"["hello",1]"#,
            false,
        ),
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a17601a36e7370a12f83a5726f6f6d7390a5666c61677382a8766f6c6174696c65c3a8636f6d7072657373c2a665786365707490",
            selector("/", &[], &[]),
            r#"["v",1]"#,
            true,
        ),
    ] {
        let emit = emit(channel, &hex(message));
        assert_eq!(emit.to, to);
        assert_eq!(emit.payload.json(), json);
        assert_eq!(emit.volatile, volatile);
    }
    let binary = "93a7656d697474657283a47479706502a46461746192a362696ec403010203a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490";
    let binary = emit("socket.io#/#", &hex(binary)).payload;
    let placeholder = r#"["bin",{"_placeholder":true,"num":0}]"#;
    assert_eq!(binary.json(), placeholder);
    assert_eq!(binary.attachments(), [Bytes::from_static(&[1, 2, 3])]);
}

#[test]
fn ports_write_what_is_empty_in_their_own_ways() {
    let packet = json!({"type": 5, "data": ["e", 1], "nsp": "/"});
    for options in [
        json!({}),
        json!([]),
        json!(null),
        json!({"rooms": "", "flags": ""}),
        json!({"rooms": [], "flags": []}),
        json!({"rooms": null, "flags": {}, "except": {}}),
    ] {
        for message in [
            json!(["emitter", packet, options]),
            json!([packet, options]),
        ] {
            let emit = emit("socket.io#/#", &msgpack(&message));
            assert_eq!(emit.to, selector("/", &[], &[]), "{message}");
        }
    }
    let message = json!([{"type": 2, "data": ["e"], "nsp": "/a"}, {"rooms": ["r", 7]}]);
    let of_first_emitters = emit("socket.io#emitter", &msgpack(&message));
    assert_eq!(of_first_emitters.to, selector("/a", &["r", "7"], &[]));
    // The main namespace, if it is not named.
    let message = json!(["x", {"type": 2, "data": ["e"]}, {"rooms": ["a#b"]}]);
    let to = emit("socket.io#/#a#b#", &msgpack(&message)).to;
    assert_eq!(to, selector("/", &["a#b"], &[]));
}

#[test]
fn messages_for_another_namespace_than_that_of_their_channel_have_no_effect() {
    let message = json!(["x", {"type": 2, "data": ["e"], "nsp": "/b"}, {}]);
    assert_eq!(
        decoded("socket.io#/a#", &msgpack(&message)),
        Inbound::Ignored
    );
}

#[test]
fn what_would_break_clients_or_is_malformed_is_rejected() {
    const NO_NAME: &str = "the data of an event is not a list that begins with its name";
    let with_data = |data| json!(["x", {"type": 2, "data": data, "nsp": "/"}, {}]);
    for (message, expected) in [
        (with_data(json!({"a": 1})), NO_NAME),
        (with_data(json!([])), NO_NAME),
        (with_data(json!([null])), NO_NAME),
        (
            json!(["x", {"type": 3, "data": ["e"]}, {}]),
            "field type is missing or malformed",
        ),
        (json!(["x", 1, {}]), "field packet is missing or malformed"),
        (
            json!(["x", {"type": 2, "data": ["e"]}, {"rooms": "r"}]),
            "field rooms is missing or malformed",
        ),
        (
            json!(["x", {"type": 2, "data": ["e"]}, {"except": "r"}]),
            "field except is missing or malformed",
        ),
        (
            json!(["x", {"type": 2, "data": ["e"]}, 5]),
            "field opts is missing or malformed",
        ),
        (
            json!(["x", {"type": 2, "data": ["e"]}, "text"]),
            "field opts is missing or malformed",
        ),
        (json!({"type": 2}), "not a list of packet and options"),
        (json!(["x"]), "not a list of packet and options"),
        (
            with_data(json!(["e", "x".repeat(10_000)])),
            "not msgpack: JSON of more than 10000 bytes",
        ),
    ] {
        assert_eq!(error("socket.io#/#", &msgpack(&message)), expected);
    }
    let whole = msgpack(&with_data(json!(["e"])));
    let longer: Bytes = [&whole[..], &[0]].concat().into();
    assert_eq!(error("socket.io#/#", &longer), "bytes after the message");
    for length in 0..whole.len() {
        error("socket.io#/#", &whole.slice(..length));
    }
    let deep: Bytes = vec![0x93; 10_000].into();
    error("socket.io#/#", &deep);
}

#[test]
fn requests_that_are_malformed_or_would_concern_all_sockets_are_rejected() {
    error("socket.io-request#/#", &Bytes::from_static(b"{"));
    for message in [
        json!({"uid": "u".repeat(257), "type": 5, "requestId": "q"}),
        json!({"uid": "u", "type": 5, "requestId": "q".repeat(257), "opts": {}}),
        // Without options, these would concern all sockets.
        json!({"uid": "u", "type": 5, "requestId": "q"}),
        json!({"uid": "u", "type": 2, "rooms": ["x"]}),
        json!({"uid": "u", "type": 4, "opts": [], "close": true}),
    ] {
        error("socket.io-request#/#", &message.to_string().into());
    }
    for uid in [256, 257] {
        let emit = json!({"uid": "u".repeat(uid), "type": 7, "requestId": "q", "packet": {"type": 2, "data": ["e"]}, "opts": {}});
        let inbound = servers::us().decode(&Channel::from("socket.io-request#/#"), &msgpack(&emit));
        assert_eq!(inbound.is_err(), uid > 256);
    }
}

#[test]
fn requests_change_rooms_and_disconnect() {
    let request = |text: &'static str| decoded("socket.io-request#/a#", &Bytes::from(text));
    let rooms = |names: &[&str]| {
        names
            .iter()
            .map(|name| Room::from(*name))
            .collect::<Vec<_>>()
    };
    for (text, expected) in [
        (
            r#"{"type":2,"opts":{"rooms":["r1"],"except":["r2"]},"rooms":["x","y"]}"#,
            Command::Join {
                selector: selector("/a", &["r1"], &["r2"]),
                rooms: rooms(&["x", "y"]),
            },
        ),
        (
            r#"{"type":3,"opts":{"rooms":[],"except":[]},"rooms":["x"]}"#,
            Command::Leave {
                selector: selector("/a", &[], &[]),
                rooms: rooms(&["x"]),
            },
        ),
        (
            r#"{"type":4,"opts":{"rooms":["r1"],"except":[]},"close":true}"#,
            Command::Disconnect {
                selector: selector("/a", &["r1"], &[]),
                close: true,
            },
        ),
        (
            r#"{"requestId":"q","type":2,"sid":"s1","room":"x"}"#,
            Command::Join {
                selector: selector("/a", &["s1"], &[]),
                rooms: rooms(&["x"]),
            },
        ),
    ] {
        assert_eq!(request(text), Inbound::Command(expected), "{text}");
    }
}

#[test]
fn requests_without_effect_are_ignored_and_those_of_old_servers_rejected() {
    let request = |text: &'static str| decoded("socket.io-request#/a#", &Bytes::from(text));
    for text in [
        r#"{"uid":"a","requestId":"b","type":5,"opts":{"rooms":[],"except":[]}}"#,
        r#"{"type":2,"opts":{},"rooms":[]}"#,
    ] {
        assert_eq!(request(text), Inbound::Ignored, "{text}");
    }
    let event = r#"{"uid":"emitter","type":6,"data":["ev",1]}"#;
    let expected = ServerSideEvent {
        namespace: Namespace::from("/a"),
        payload: Payload::text(r#"["ev",1]"#),
        expects_answer: false,
    };
    assert_eq!(
        request(event),
        Inbound::ServerEvent {
            event: expected,
            reply_to: None
        }
    );
    let of_old_server = Bytes::from_static(br#"{"requestid":"b","type":3,"sid":"s","room":"r"}"#);
    let rejected = "request of socket.io-redis 5 or older, whose types have other numbers";
    assert_eq!(error("socket.io-request#/a#", &of_old_server), rejected);
    let binary = Bytes::from_static(&[0x80]);
    assert_eq!(decoded("socket.io-request#/a#", &binary), Inbound::Ignored);
}

#[test]
fn channels_of_others_are_not_owned() {
    for channel in [
        "socket.io",
        "socket.io#",
        "socket.io#x",
        "socketio#/#",
        "socket.io-response",
        "socket.io-response#/",
        "roomwire:0:all",
    ] {
        assert!(!dialect().owns(&Channel::from(channel)), "{channel}");
    }
}
