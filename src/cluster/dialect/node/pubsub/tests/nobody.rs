//! Requests that concern no socket, whose sender awaits a response all the same.

use bytes::Bytes;
use serde_json::{Value, json};

use super::servers::{NO_SOCKETS, request, responses, us};
use super::{decoded, error, msgpack};
use crate::bus::link::Channel;
use crate::cluster::dialect::{Inbound, Outbound};
use crate::metrics::labels::BusDrop;
use crate::model::Unfit;

/// An emit with acks to these rooms.
fn emit_with_acks(data: &Value, rooms: &Value) -> Inbound {
    let message = json!({
        "uid": "u", "requestId": "q", "type": 7,
        "packet": {"type": 2, "data": data, "nsp": "/"},
        "opts": {"rooms": rooms, "except": [], "flags": {}},
    });
    let channel = Channel::from("socket.io-request#/#");
    us().decode(&channel, &msgpack(&message)).unwrap()
}

fn published(outbound: &Outbound<'_>) -> String {
    let [(_, response)] = responses(outbound).try_into().unwrap();
    response
}

#[test]
fn what_names_no_room_selects_nobody_and_is_responded_to() {
    for item in ["null", "true", r#"{"a":1}"#, "[]"] {
        let rooms: Value = serde_json::from_str(&format!("[{item}]")).unwrap();
        let packet = json!({"type": 2, "data": ["e"], "nsp": "/"});
        let message = msgpack(&json!(["u", packet, {"rooms": rooms, "except": []}]));
        assert_eq!(decoded("socket.io#/#null#", &message), Inbound::Ignored);
        for text in [
            format!(r#"{{"uid":"u","requestId":"q","type":0,"rooms":[{item}]}}"#),
            format!(r#"{{"uid":"u","requestId":"q","type":5,"opts":{{"rooms":[{item}]}}}}"#),
        ] {
            let Inbound::FetchOfNobody { reply_to } = request(&text) else {
                panic!("{text}");
            };
            let (reply_to, answer) = (&reply_to, &NO_SOCKETS);
            let response = published(&Outbound::ForeignAnswer { reply_to, answer });
            assert_eq!(response, r#"{"requestId":"q","sockets":[]}"#);
        }
        for text in [
            format!(r#"{{"uid":"u","type":2,"opts":{{"rooms":[{item}]}},"rooms":["x"]}}"#),
            format!(r#"{{"uid":"u","type":3,"opts":{{"rooms":[]}},"rooms":[{item}]}}"#),
            format!(r#"{{"uid":"u","type":4,"opts":{{"rooms":[{item}]}},"close":true}}"#),
        ] {
            assert_eq!(request(&text), Inbound::Ignored, "{text}");
        }
        let inbound = emit_with_acks(&json!(["e"]), &rooms);
        let Inbound::UnreachedEmit { token, unfit: None } = inbound else {
            panic!("{inbound:?}");
        };
        let (token, sockets) = (&token, 0);
        let counted = published(&Outbound::Reached { token, sockets });
        assert_eq!(counted, r#"{"type":8,"requestId":"q","clientCount":0}"#);
    }
}

#[test]
fn events_without_a_name_are_counted_as_received_by_none_or_answered_with_null() {
    for data in [json!([null, 1]), json!([true]), json!([["e"]]), json!({})] {
        let inbound = emit_with_acks(&data, &json!(["r"]));
        let Inbound::UnreachedEmit { unfit, .. } = inbound else {
            panic!("{inbound:?}");
        };
        assert_eq!(unfit, Some(Unfit::NoName), "{data}");
    }
    let Inbound::UnreadServerEvent { reply_to, unfit } =
        request(r#"{"uid":"u","requestId":"q","type":6,"data":[null,1]}"#)
    else {
        panic!();
    };
    assert_eq!(unfit, Unfit::NoName);
    let (reply_to, answer) = (&reply_to, "null");
    let answered = published(&Outbound::ServerEventAnswer { reply_to, answer });
    assert_eq!(answered, r#"{"type":6,"requestId":"q","data":null}"#);
    let unanswered = Bytes::from_static(br#"{"uid":"u","type":6,"data":[null,1]}"#);
    error("socket.io-request#/#", &unanswered);
}

#[test]
fn what_clients_cannot_receive_is_counted_as_such() {
    let reason = |data: Value| {
        let message = json!(["u", {"type": 2, "data": data, "nsp": "/"}, {"rooms": ["r"]}]);
        let channel = Channel::from("socket.io#/#r#");
        let error = us().decode(&channel, &msgpack(&message)).unwrap_err();
        error.reason
    };
    assert_eq!(reason(json!({"a": 1})), BusDrop::Unfit);
    assert_eq!(reason(json!([null])), BusDrop::Unfit);
    assert_eq!(reason(json!(["e", "x".repeat(10_000)])), BusDrop::Unfit);
    let truncated = Bytes::from_static(&[0x93, 0xa1]);
    let error = us().decode(&Channel::from("socket.io#/#"), &truncated);
    assert_eq!(error.unwrap_err().reason, BusDrop::Unreadable);
}
