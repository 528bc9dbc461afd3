//! As a member of a cluster of servers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{dialect_of, hex, msgpack, selector};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{Dialect, Inbound, Outbound};
use crate::config::NodeAdapter;
use crate::model::random::OsRandom;
use crate::model::{
    AckReply, AckToken, Command, Emit, Namespace, NodeId, Payload, Query, QueryAnswer, ReplyTo,
    Room, Selector, SocketDetails, SocketId, Unfit,
};

pub(super) static NO_SOCKETS: QueryAnswer = QueryAnswer::Details {
    total: 0,
    sockets: Vec::new(),
    of_servers: Vec::new(),
};
/// The dialect of the node `abcd`.
pub(super) fn us() -> Arc<dyn Dialect> {
    dialect_of("abcd", NodeAdapter::PubSub)
}

pub(super) fn text(outgoing: &Outgoing) -> &str {
    std::str::from_utf8(&outgoing.payload).unwrap()
}

pub(super) fn request(text: &str) -> Inbound {
    let channel = Channel::from("socket.io-request#/#");
    let message = Bytes::from(text.to_owned());
    us().decode(&channel, &message).unwrap()
}

pub(super) fn responses(outbound: &Outbound<'_>) -> Vec<(String, String)> {
    let messages = us().encode(outbound).unwrap();
    let messages = messages.iter();
    messages
        .map(|message| (message.channel.to_string(), text(message).to_owned()))
        .collect()
}

pub(super) fn socket(node: &str) -> SocketId {
    SocketId::random(NodeId::parse(node).unwrap(), Default::default(), &OsRandom)
}

/// Two sockets of this node, and their details: the first is in the rooms `r1` and `r2`, the second in `r1`.
pub(super) fn found() -> (SocketId, SocketId, QueryAnswer) {
    let (a, b) = (socket("abcd"), socket("abcd"));
    let details = |socket, rooms: &[&str]| SocketDetails {
        socket,
        connected_at: 1,
        rooms: rooms.iter().map(|room| Room::from(*room)).collect(),
        handshake: None,
    };
    let found = QueryAnswer::Details {
        total: 2,
        sockets: vec![details(a, &["r1", "r2"]), details(b, &["r1"])],
        of_servers: Vec::new(),
    };
    (a, b, found)
}

#[test]
fn queries_are_answered_in_the_form_of_their_type() {
    let (a, b, found) = found();
    let mut rooms = [a.as_str(), b.as_str(), "r1", "r2"];
    rooms.sort_unstable();
    let ids = QueryAnswer::Sockets {
        total: 2,
        sockets: vec![a, b],
    };
    for (text, query, answer, expected) in [
        (
            r#"{"uid":"u","requestId":"q","type":0,"rooms":["r1",5]}"#,
            Query::Sockets {
                selector: selector("/", &["r1", "5"], &[]),
                limit: u32::MAX,
            },
            &ids,
            json!({"requestId": "q", "sockets": [a.as_str(), b.as_str()]}),
        ),
        (
            r#"{"uid":"u","requestId":"q","type":1}"#,
            Query::Details {
                selector: selector("/", &[], &[]),
                limit: u32::MAX,
            },
            &found,
            json!({"requestId": "q", "rooms": rooms}),
        ),
    ] {
        let Inbound::ForeignQuery { reply_to, query: q } = request(text) else {
            panic!("{text}");
        };
        assert_eq!(q, query);
        let reply_to = &reply_to;
        let [(channel, response)] = responses(&Outbound::ForeignAnswer { reply_to, answer })
            .try_into()
            .unwrap();
        assert_eq!(channel, "socket.io-response#/#");
        assert_eq!(serde_json::from_str::<Value>(&response).unwrap(), expected);
    }
}

#[test]
fn changes_of_one_socket_are_confirmed_by_its_owner_alone() {
    for (node, is_ours) in [("abcd", true), ("efgh", false)] {
        let id = socket(node);
        let text = format!(r#"{{"uid":"u","requestId":"q","type":2,"sid":"{id}","room":"r"}}"#);
        let expected = Command::Join {
            selector: selector("/", &[id.as_str()], &[]),
            rooms: vec![Room::from("r")],
        };
        match request(&text) {
            Inbound::ForeignChange { command, reply_to } if is_ours => {
                assert_eq!(command, expected);
                let done = responses(&Outbound::ForeignChangeDone {
                    reply_to: &reply_to,
                });
                let confirmation = r#"{"requestId":"q"}"#.to_owned();
                assert_eq!(done, [("socket.io-response#/#".to_owned(), confirmation)]);
            }
            Inbound::Command(command) if !is_ours => assert_eq!(command, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn events_for_servers_are_answered_on_the_common_channel() {
    let Inbound::ServerEvent { reply_to, event } =
        request(r#"{"uid":"u","requestId":"q","type":6,"data":["ask",{"a":[1]}]}"#)
    else {
        panic!();
    };
    assert_eq!(event.payload.json(), r#"["ask",{"a":[1]}]"#);
    assert!(event.expects_answer);
    let answer = responses(&Outbound::ServerEventAnswer {
        reply_to: &reply_to.unwrap(),
        answer: "null",
    });
    let expected = r#"{"type":6,"requestId":"q","data":null}"#.to_owned();
    assert_eq!(answer, [("socket.io-response#/#".to_owned(), expected)]);
}

#[test]
fn emits_with_acks_are_counted_and_acknowledged_with_the_first_argument() {
    let message = json!({
        "uid": "u", "requestId": "q", "type": 7,
        "packet": {"type": 2, "data": ["ask", 1], "nsp": "/"},
        "opts": {"rooms": ["r"], "except": [], "flags": {"timeout": 250, "volatile": true}},
    });
    let channel = Channel::from("socket.io-request#/#");
    let Inbound::CountedEmit { emit, timeout } = us().decode(&channel, &msgpack(&message)).unwrap()
    else {
        panic!();
    };
    assert_eq!(timeout, Some(std::time::Duration::from_millis(250)));
    assert!(emit.volatile);
    let token = emit.ack.unwrap();
    let counted = responses(&Outbound::Reached {
        token: &token,
        sockets: 3,
    });
    let expected = r#"{"type":8,"requestId":"q","clientCount":3}"#.to_owned();
    assert_eq!(counted, [("socket.io-response#/#".to_owned(), expected)]);
    let binary = Payload::text(r#"[{"_placeholder":true,"num":0},2]"#)
        .with_attachments(vec![Bytes::from_static(&[9, 8])]);
    for (payload, expected) in [
        (
            Payload::text(r#"["yes",2]"#),
            "83a47479706509a9726571756573744964a171a67061636b6574a3796573",
        ),
        (
            Payload::text("[]"),
            "82a47479706509a9726571756573744964a171",
        ),
        (
            binary,
            "83a47479706509a9726571756573744964a171a67061636b6574c4020908",
        ),
    ] {
        let reply = AckReply {
            token: token.clone(),
            socket: None,
            payload,
        };
        let messages = us().encode(&Outbound::Reply(&reply)).unwrap();
        assert_eq!(messages[0].payload, hex(expected));
    }
    let other_namespace = Channel::from("socket.io-request#/other#");
    let ignored = us().decode(&other_namespace, &msgpack(&message)).unwrap();
    assert_eq!(ignored, Inbound::Ignored);
}

#[test]
fn an_emit_with_acks_that_clients_cannot_receive_is_counted_as_received_by_none() {
    let mut message = hex(
        "85a3756964a175a9726571756573744964a171a47479706507a67061636b657483a47479706502a464617461",
    )
    .to_vec();
    message.push(0x9c);
    message.extend_from_slice(b"\xa1e");
    message.extend(b"\xc4\x01x".repeat(11));
    message.extend_from_slice(b"\xa3nsp\xa1/\xa4opts\x80");
    let inbound = us().decode(&Channel::from("socket.io-request#/#"), &message.into());
    let Ok(Inbound::UnreachedEmit { token, unfit }) = inbound else {
        panic!("{inbound:?}");
    };
    assert_eq!(unfit, Some(Unfit::TooManyAttachments(11)));
    let counted = responses(&Outbound::Reached {
        token: &token,
        sockets: 0,
    });
    assert_eq!(
        counted[0].1,
        r#"{"type":8,"requestId":"q","clientCount":0}"#
    );
}

/// An emit of this node that requests acks, as it publishes it.
fn call() -> (AckToken, Outgoing) {
    let token = AckToken {
        reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
        id: 0x1f4,
    };
    let call = Command::Emit(Emit {
        to: Selector::room(Namespace::main(), Room::from("r")),
        payload: Payload::text(r#"["ask"]"#),
        volatile: false,
        ack: Some(token.clone()),
        conflate: None,
    });
    let messages = us().encode(&Outbound::Command(&call)).unwrap();
    let [outgoing] = messages.try_into().unwrap();
    (token, outgoing)
}

#[test]
fn calls_of_this_node_collect_counts_and_acks_of_servers_and_none_of_the_cluster() {
    let (token, outgoing) = call();
    assert_eq!(outgoing.channel.as_str(), "socket.io-request#/#");
    let decode = |node: &str, message: &Bytes| {
        let dialect = dialect_of(node, NodeAdapter::PubSub);
        dialect.decode(&outgoing.channel, message).unwrap()
    };
    assert_eq!(
        decode("abcd", &outgoing.payload),
        Inbound::Own {
            gather: Some(0x1f4)
        }
    );
    let Inbound::UnreachedEmit { token: peer, unfit } = decode("efgh", &outgoing.payload) else {
        panic!();
    };
    assert_eq!(unfit, None);
    let peer = dialect_of("efgh", NodeAdapter::PubSub)
        .encode(&Outbound::Reached {
            token: &peer,
            sockets: 0,
        })
        .unwrap();
    let request = "roomwire:roomwire:0:abcd:00000000000001f4";
    let ack = msgpack(&json!({"type": 9, "requestId": request, "packet": {"a": 1}}));
    for (response, expected) in [
        (
            peer[0].payload.clone(),
            Inbound::Reached {
                token: token.clone(),
                sockets: 0,
            },
        ),
        (
            ack.clone(),
            Inbound::Reply(AckReply {
                token: token.clone(),
                socket: None,
                payload: Payload::text(r#"[{"a":1}]"#),
            }),
        ),
    ] {
        let channels = us().namespace_channels(&Namespace::main());
        for channel in &channels[2..] {
            assert!(channel.as_str().starts_with("socket.io-response#/#"));
            assert_eq!(us().decode(channel, &response).unwrap(), expected);
            let other = dialect_of("efgh", NodeAdapter::PubSub);
            assert_eq!(other.decode(channel, &response).unwrap(), Inbound::Ignored);
        }
    }
}

#[test]
fn messages_of_the_cluster_are_recognised_and_those_of_another_cluster_are_not() {
    let emit = Command::Emit(Emit {
        to: Selector::everybody(Namespace::main()),
        payload: Payload::text(r#"["e"]"#),
        volatile: false,
        ack: None,
        conflate: None,
    });
    let close = Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("r"),
    };
    for command in [&emit, &close] {
        let [message] = us()
            .encode(&Outbound::Command(command))
            .unwrap()
            .try_into()
            .unwrap();
        for node in ["abcd", "efgh"] {
            let dialect = dialect_of(node, NodeAdapter::PubSub);
            let inbound = dialect.decode(&message.channel, &message.payload).unwrap();
            assert_eq!(inbound, Inbound::Own { gather: None });
        }
        let of_other = String::from_utf8_lossy(&message.payload);
        let other = of_other.contains("roomwire:0:abcd");
        assert!(other, "{of_other}");
        let bytes = message.payload.to_vec();
        let at = bytes
            .windows(3)
            .position(|window| window == b":0:")
            .unwrap();
        let mut bytes = bytes;
        bytes[at + 1] = b'1';
        let inbound = us().decode(&message.channel, &bytes.into()).unwrap();
        assert!(matches!(inbound, Inbound::Command(_)), "{inbound:?}");
    }
    assert_eq!(
        text(&us().encode(&Outbound::Command(&close)).unwrap()[0]),
        r#"{"uid":"roomwire:roomwire:0:abcd","type":3,"opts":{"rooms":["r"],"except":[]},"rooms":["r"]}"#
    );
}

#[test]
fn a_room_that_is_named_twice_is_published_once() {
    let mut to = Selector::room(Namespace::from("/a"), Room::from("r"));
    to.publish_to_all_nodes();
    let emit = Command::Emit(Emit {
        to,
        payload: Payload::text(r#"["e"]"#),
        volatile: true,
        ack: None,
        conflate: None,
    });
    let [message] = us()
        .encode(&Outbound::Command(&emit))
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(message.channel.as_str(), "socket.io#/a#r#");
    assert!(message.volatile);
}

#[test]
fn responses_go_to_their_recipient_alone_if_configured() {
    let config = crate::config::BusConfig {
        node_adapter: NodeAdapter::PubSub,
        node_specific_responses: true,
        message_limit: 10_000,
        ..crate::config::Config::default().bus
    };
    let node = NodeId::parse("abcd").unwrap();
    let dialect = super::PubSubDialect::configured(&config, node).unwrap();
    let channel_of = |request: &'static str, outbound: fn(&ReplyTo) -> Outbound<'_>| {
        let channel = Channel::from("socket.io-request#/#");
        let inbound = dialect.decode(&channel, &Bytes::from(request)).unwrap();
        let (Inbound::ForeignQuery { reply_to, .. }
        | Inbound::ServerEvent {
            reply_to: Some(reply_to),
            ..
        }) = inbound
        else {
            panic!("{inbound:?}");
        };
        dialect.encode(&outbound(&reply_to)).unwrap()[0]
            .channel
            .to_string()
    };
    let rooms = channel_of(r#"{"uid":"u-1","requestId":"q","type":1}"#, |reply_to| {
        Outbound::ForeignAnswer {
            reply_to,
            answer: &NO_SOCKETS,
        }
    });
    assert_eq!(rooms, "socket.io-response#/#u-1#");
    let event = r#"{"uid":"u-1","requestId":"q","type":6,"data":["ask"]}"#;
    let event = channel_of(event, |reply_to| Outbound::ServerEventAnswer {
        reply_to,
        answer: "null",
    });
    assert_eq!(event, "socket.io-response#/#");
}

#[test]
fn commands_of_nodes_of_any_cluster_are_recognized() {
    let close = Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("r"),
    };
    let emit = Command::Emit(Emit {
        to: Selector::everybody(Namespace::main()),
        payload: Payload::text(r#"["roomwire:e"]"#),
        volatile: false,
        ack: None,
        conflate: None,
    });
    let encoded = |command| us().encode(&Outbound::Command(command)).unwrap().remove(0);
    for message in [encoded(&emit), encoded(&close), call().1] {
        let replaced = |from: &[u8], to: &[u8]| {
            let mut bytes = message.payload.to_vec();
            let at = bytes.windows(from.len()).position(|part| part == from);
            let at = at.unwrap();
            bytes[at..at + from.len()].copy_from_slice(to);
            us().is_of_roomwire(&message.channel, &bytes.into())
        };
        assert!(replaced(b":0:abcd", b":0:abcd"), "{message:?}");
        assert!(replaced(b":0:abcd", b":1:efgh"), "{message:?}");
        assert!(
            !replaced(b"roomwire:roomwire", b"01234567:roomwire"),
            "{message:?}"
        );
        let responses = Channel::from("socket.io-response#/#");
        assert!(!us().is_of_roomwire(&responses, &message.payload));
        assert!(!us().is_of_roomwire(&message.channel, &Bytes::new()));
    }
    let emitter = msgpack(&json!(["emitter", {"type": 2, "data": ["roomwire:"], "nsp": "/"}, {}]));
    assert!(!us().is_of_roomwire(&Channel::from("socket.io#/#"), &emitter));
    // Of the first emitters, without a sender.
    let emitter = msgpack(&json!([{"type": 2, "data": ["e"], "nsp": "/"}, {}]));
    assert!(!us().is_of_roomwire(&Channel::from("socket.io#emitter"), &emitter));
}
