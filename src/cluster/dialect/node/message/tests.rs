use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::vectors::{RecordedCommand, meaning};
use super::{ClusterMessage, Data, MalformedClusterMessage, MessageBody, decode, decode_data};
use crate::model::{Command, Namespace, Room, Selector, Unfit};

const SHARDED: &str = include_str!("../../../../../tests/vectors/node-sharded.json");
const STREAMS: &str = include_str!("../../../../../tests/vectors/node-streams.json");
const LIMIT: usize = 100_000;

/// The data of a message of this node that means the same; `None` for those that it never publishes.
fn encoded(body: &MessageBody) -> Option<Data> {
    Some(match body {
        MessageBody::Emit {
            emit,
            request,
            timeout,
        } => Data::emit(emit, request.as_deref(), *timeout),
        MessageBody::Change(command) => Data::command(command),
        MessageBody::Count { request, sockets } => Data::count(request, *sockets),
        MessageBody::Ack { request, payload } => {
            Data::ack(request, payload.elements().next(), payload.attachments())
        }
        MessageBody::Fetch { request, selector } => Data::fetch(request, selector),
        MessageBody::ServerEvent { .. }
        | MessageBody::UnreadServerEvent { .. }
        | MessageBody::EmitToNobody { .. }
        | MessageBody::FetchOfNobody { .. }
        | MessageBody::Sockets { .. }
        | MessageBody::Ignored => return None,
    })
}

/// A message that this node responds with.
fn is_response(means: &Value) -> bool {
    ["sockets", "answer"]
        .iter()
        .any(|kind| means["kind"] == **kind)
}

#[test]
fn published_messages_of_stock_servers_are_decoded_and_encoded_with_the_same_bytes() {
    let (mut decoded, mut same) = (0, 0);
    for record in [SHARDED, STREAMS]
        .into_iter()
        .flat_map(RecordedCommand::messages)
    {
        if record.cmd == "XADD" {
            continue;
        }
        let (step, payload) = (
            format!("{}: {}", record.dialect, record.step),
            record.payload(),
        );
        let message = decode(&payload, LIMIT).unwrap_or_else(|error| panic!("{step}: {error}"));
        decoded += 1;
        if record.means()["kind"] == "sockets" {
            let MessageBody::Sockets { sockets, .. } = message.body else {
                panic!("{step}");
            };
            let ids = |list: &[Value]| list.iter().map(|it| it["id"].clone()).collect::<Vec<_>>();
            let found: Vec<&str> = sockets.iter().map(|socket| socket.id.as_str()).collect();
            let means = record.means();
            assert_eq!(found, ids(means["sockets"].as_array().unwrap()), "{step}");
            for socket in &sockets {
                assert_eq!(socket.rooms, [Room::from("r1")], "{step}");
                assert!(socket.connected_at.unwrap() > 1_700_000_000, "{step}");
            }
            continue;
        }
        if is_response(&record.means()) {
            assert_eq!(message.body, MessageBody::Ignored, "{step}");
            continue;
        }
        assert_eq!(meaning(&message.body), record.means(), "{step}");
        let Some(data) = encoded(&message.body).filter(|_| record.is_exact()) else {
            continue;
        };
        same += 1;
        let (uid, namespace) = (&message.uid, &message.namespace);
        if payload.starts_with(b"{") {
            assert!(!data.has_binary(), "{step}");
            let text = data.message_json(uid, namespace);
            assert_eq!(text.as_bytes(), payload, "{step}");
        } else {
            assert!(
                data.has_binary() || record.dialect.starts_with("streams"),
                "{step}"
            );
            assert_eq!(data.message_msgpack(uid, namespace), payload, "{step}");
        }
    }
    assert!(decoded > 100 && same > 100, "{decoded} {same}");
}

#[test]
fn stream_entries_of_stock_servers_are_decoded_and_encoded_with_the_same_bytes() {
    let mut same = 0;
    for record in RecordedCommand::messages(STREAMS) {
        if record.cmd != "XADD" {
            continue;
        }
        let step = format!("{}: {}", record.dialect, record.step);
        let namespace = Namespace::from(record.field("nsp"));
        let kind = record.field("type").parse().unwrap();
        let field = record.field("data");
        let is_json = field.starts_with('{');
        let data = match is_json {
            true => Bytes::from(field.to_owned()),
            false => BASE64_STANDARD.decode(field).unwrap().into(),
        };
        let body = decode_data(kind, &namespace, &data, LIMIT).unwrap();
        assert_eq!(meaning(&body), record.means(), "{step}");
        let Some(encoded) = encoded(&body).filter(|_| record.is_exact()) else {
            continue;
        };
        same += 1;
        assert_eq!(encoded.kind, kind, "{step}");
        match is_json {
            true => assert_eq!(encoded.json(), field, "{step}"),
            false => assert_eq!(encoded.to_msgpack(), data, "{step}"),
        }
    }
    assert!(same > 40, "{same}");
}

#[test]
fn responses_have_the_bytes_and_the_fields_of_stock_servers() {
    let mut answers = 0;
    for record in RecordedCommand::messages(SHARDED) {
        let payload = record.payload();
        let (step, means) = (
            format!("{}: {}", record.dialect, record.step),
            record.means(),
        );
        if !payload.starts_with(b"{") || !is_response(&means) {
            continue;
        }
        answers += 1;
        let stock: Value = serde_json::from_slice(&payload).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let request = text(&stock["data"]["requestId"]);
        let data = match means["kind"] == "answer" {
            true => Data::server_event_answer(&request, &stock["data"]["packet"].to_string()),
            false => Data::sockets(&request, &[], &[]),
        };
        let ours = data.message_json(&text(&stock["uid"]), "/");
        if means["sockets"] != json!([]) && means["kind"] == "sockets" {
            let ours: Value = serde_json::from_str(&ours).unwrap();
            for name in ["type", "uid", "nsp"] {
                assert_eq!(ours[name], stock[name], "{step}");
            }
            continue;
        }
        assert_eq!(ours.as_bytes(), payload, "{step}");
    }
    assert_eq!(answers, 3 * 3, "two fetches and an answer without binary");
}

fn decoded(message: &Value) -> Result<ClusterMessage, MalformedClusterMessage> {
    let json = Bytes::from(message.to_string());
    let mut msgpack = Vec::new();
    crate::msgpack::write_value(&message.to_string(), &[], &mut msgpack);
    let (of_json, of_msgpack) = (decode(&json, LIMIT), decode(&msgpack.into(), LIMIT));
    match (&of_json, &of_msgpack) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "{message}"),
        (one, other) => assert_eq!(one.is_err(), other.is_err(), "{message}"),
    }
    of_json
}

fn of_type(kind: u64, data: Value) -> Value {
    json!({"type": kind, "data": data, "uid": "u", "nsp": "/a"})
}

#[test]
fn a_room_is_closed_by_a_leave_of_its_members() {
    let close = Command::CloseRoom {
        namespace: Namespace::from("/a"),
        room: Room::from("r"),
    };
    let data = Data::command(&close);
    let json = r#"{"opts":{"rooms":["r"],"except":[],"flags":{}},"rooms":["r"]}"#;
    assert_eq!((data.kind, data.json()), (5, json));
}

#[test]
fn rooms_may_be_numbers_or_missing() {
    let event = json!({"type": 5, "data": ["e"]});
    for (data, rooms) in [
        (json!({"packet": event, "opts": {}}), &[][..]),
        (json!({"packet": event, "opts": {"rooms": null}}), &[]),
        (
            json!({"packet": event, "opts": {"rooms": ["a", 7]}}),
            &["a", "7"],
        ),
    ] {
        let message = decoded(&of_type(3, data)).unwrap();
        let MessageBody::Emit { emit, timeout, .. } = message.body else {
            panic!("{message:?}")
        };
        let expected = Selector {
            rooms: rooms.iter().map(|name| Room::from(*name)).collect(),
            ..Selector::everybody(Namespace::from("/a"))
        };
        assert_eq!((emit.to, timeout), (expected, None));
    }
    let flags = json!({"packet": event, "requestId": "r", "opts": {"flags": {"timeout": 1500}}});
    let MessageBody::Emit { timeout, .. } = decoded(&of_type(3, flags)).unwrap().body else {
        panic!()
    };
    assert_eq!(timeout, Some(Duration::from_millis(1500)));
}

#[test]
fn heartbeats_responses_and_unknown_types_have_no_effect() {
    for kind in [0, 1, 2, 8, 10, 13, 99] {
        let message = decoded(&of_type(kind, json!({"requestId": "r"}))).unwrap();
        assert_eq!(message.body, MessageBody::Ignored, "{kind}");
    }
    let without_data = json!({"type": 1, "uid": "u", "nsp": "/"});
    assert_eq!(decoded(&without_data).unwrap().body, MessageBody::Ignored);
}

#[test]
fn what_is_malformed_or_would_break_clients_is_rejected() {
    let event = |data: Value| json!({"packet": {"type": 2, "data": data}, "opts": {}});
    for message in [
        of_type(3, event(json!({"a": 1}))),
        of_type(3, event(json!([]))),
        of_type(3, event(json!([null]))),
        of_type(3, event(json!("e"))),
        of_type(3, json!({"packet": {"type": 3, "data": ["e"]}})),
        of_type(3, json!({"packet": ["e"]})),
        of_type(3, json!({"opts": {}})),
        of_type(
            3,
            json!({"packet": {"type": 2, "data": ["e"]}, "opts": {"rooms": "r"}}),
        ),
        of_type(
            3,
            json!({"packet": {"type": 2, "data": ["e"]}, "opts": {"except": "r"}}),
        ),
        // Without options, these would concern all sockets.
        of_type(3, json!({"packet": {"type": 2, "data": ["e"]}})),
        of_type(4, json!({"rooms": ["r"]})),
        of_type(6, json!({"opts": null, "close": true})),
        of_type(6, json!({"opts": [], "close": true})),
        of_type(7, json!({"requestId": "r"})),
        of_type(4, json!({"opts": {}})),
        of_type(7, json!({"opts": {}})),
        of_type(7, json!({"opts": {}, "requestId": "r".repeat(257)})),
        json!({"type": 6, "data": {"opts": {}}, "uid": "u".repeat(257), "nsp": "/"}),
        of_type(9, json!({"packet": {}})),
        of_type(11, json!({"requestId": "r", "clientCount": -1})),
        of_type(12, json!({"packet": 1})),
        json!({"type": 3, "data": {}, "uid": "u"}),
        json!([3]),
        json!(null),
    ] {
        assert!(decoded(&message).is_err(), "{message}");
    }
    let whole = Data::command(&Command::Disconnect {
        selector: Selector::everybody(Namespace::main()),
        close: true,
    });
    let whole: Bytes = whole.message_msgpack("u", "/").into();
    assert!(decode(&whole, LIMIT).is_ok());
    for length in 0..whole.len() {
        assert!(decode(&whole.slice(..length), LIMIT).is_err(), "{length}");
    }
    let longer: Bytes = [&whole[..], &[0]].concat().into();
    assert!(decode(&longer, LIMIT).is_err());
    assert!(decode(&vec![0x93; 10_000].into(), LIMIT).is_err(), "depth");
    assert!(decode(&whole, 20).is_err(), "size");
}

#[test]
fn requests_for_rooms_that_no_socket_is_in_concern_nobody() {
    let request = || "r".to_owned();
    let event = json!({"type": 2, "data": ["e"]});
    for item in [json!(null), json!(true), json!({"a": 1}), json!([])] {
        let opts = json!({"rooms": [item], "except": []});
        for (kind, data, expected) in [
            (
                3,
                json!({"packet": event, "opts": opts}),
                MessageBody::Ignored,
            ),
            (
                3,
                json!({"packet": event, "opts": opts, "requestId": "r"}),
                MessageBody::EmitToNobody {
                    request: request(),
                    unfit: None,
                },
            ),
            (
                4,
                json!({"opts": opts, "rooms": ["x"]}),
                MessageBody::Ignored,
            ),
            (
                5,
                json!({"opts": {"rooms": []}, "rooms": [item]}),
                MessageBody::Ignored,
            ),
            (
                6,
                json!({"opts": opts, "close": true}),
                MessageBody::Ignored,
            ),
            (
                7,
                json!({"opts": opts, "requestId": "r"}),
                MessageBody::FetchOfNobody { request: request() },
            ),
        ] {
            let message = of_type(kind, data);
            assert_eq!(decoded(&message).unwrap().body, expected, "{message}");
        }
    }
}

#[test]
fn what_clients_cannot_receive_is_responded_to_if_its_sender_waits() {
    let binary = |kind: u64, data: &str, values: usize| {
        let values = vec![r#"{"_placeholder":true,"num":0}"#; values].join(",");
        let data = data.replace("VALUES", &values);
        let message = format!(r#"{{"type":{kind},"data":{data},"uid":"u","nsp":"/a"}}"#);
        let mut bytes = Vec::new();
        crate::msgpack::write_value(&message, &[Bytes::from_static(&[1])], &mut bytes);
        decode(&bytes.into(), LIMIT)
    };
    let options = r#""opts":{"rooms":["r"],"except":[],"flags":{}}"#;
    let emit = |data: &str, request: &str| {
        format!(r#"{{"packet":{{"type":2,"data":{data}}},{options}{request}}}"#)
    };
    let deep = format!("[\"e\",{}1,VALUES{}]", "[".repeat(1100), "]".repeat(1100));
    for (data, values, unfit) in [
        (r#"["e",VALUES]"#, 11, Unfit::TooManyAttachments(11)),
        (&deep, 1, Unfit::TooDeep(1024)),
        ("[null,VALUES]", 1, Unfit::NoName),
        (
            r#"["e",VALUES,{"_placeholder":true,"num":"x"}]"#,
            1,
            Unfit::Placeholder,
        ),
    ] {
        let message = binary(3, &emit(data, r#","requestId":"r""#), values).unwrap();
        let expected = MessageBody::EmitToNobody {
            request: "r".into(),
            unfit: Some(unfit.clone()),
        };
        let from = (message.uid.as_str(), message.namespace.as_str());
        assert_eq!((from, message.body), (("u", "/a"), expected));
        let without_request = binary(3, &emit(data, ""), values).unwrap_err();
        assert_eq!(without_request.unfit(), Some(unfit));
    }
    let event = r#"{"packet":["ev",VALUES],"requestId":"r"}"#;
    let expected = MessageBody::UnreadServerEvent {
        request: "r".into(),
        unfit: Unfit::TooManyAttachments(11),
    };
    assert_eq!(binary(9, event, 11).unwrap().body, expected);
    let nameless = json!({"packet": [null], "requestId": "r"});
    let expected = MessageBody::UnreadServerEvent {
        request: "r".into(),
        unfit: Unfit::NoName,
    };
    assert_eq!(decoded(&of_type(9, nameless)).unwrap().body, expected);
}

#[test]
fn binary_values_outside_of_an_event_are_rejected() {
    let options =
        json!({"rooms": [], "except": [], "flags": {"x": {"_placeholder": true, "num": 0}}});
    let message = of_type(
        3,
        json!({"packet": {"type": 2, "data": ["e"]}, "opts": options}),
    );
    let mut bytes = Vec::new();
    let attachment = [Bytes::from_static(&[1])];
    crate::msgpack::write_value(&message.to_string(), &attachment, &mut bytes);
    assert!(matches!(
        decode(&bytes.into(), LIMIT),
        Err(MalformedClusterMessage::Placeholder)
    ));
}
