use bytes::Bytes;
use serde_json::{Value, json};

use super::ShardedDialect;
use crate::bus::link::Channel;
use crate::cluster::dialect::node::message::vectors::RecordedCommand;
use crate::cluster::dialect::{Dialect, Inbound, Outbound};
use crate::config::{BusConfig, Config, RoomChannels};
use crate::model::{
    AckReply, AckToken, Command, Emit, Namespace, NodeId, Payload, Query, QueryAnswer,
    QueryRequest, ReplyTo, Room, Selector, ServerSocket,
};

const VECTORS: &str = include_str!("../../../../../tests/vectors/node-sharded.json");

fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

fn dialect_of(name: &str, rooms: RoomChannels) -> ShardedDialect {
    let config = BusConfig {
        node_room_channels: rooms,
        message_limit: 100_000,
        channel_prefix: "roomwire:0".to_owned(),
        ..Config::default().bus
    };
    ShardedDialect::new(&config, node(name))
}

fn dialect() -> ShardedDialect {
    dialect_of("abcd", RoomChannels::Rooms)
}

fn emit(rooms: &[&str], ack: Option<AckToken>) -> Command {
    let to = Selector {
        rooms: rooms.iter().map(|room| Room::from(*room)).collect(),
        ..Selector::everybody(Namespace::main())
    };
    Command::Emit(Emit {
        to,
        payload: Payload::text(r#"["e"]"#),
        volatile: false,
        ack,
        conflate: None,
    })
}

fn own_ack() -> AckToken {
    AckToken {
        reply_to: ReplyTo::Node(node("abcd")),
        id: 0xabc,
    }
}

fn published(dialect: &ShardedDialect, outbound: &Outbound<'_>) -> (String, Value) {
    let mut messages = dialect.encode(outbound).unwrap();
    let message = messages.pop().unwrap();
    assert!(messages.is_empty());
    let json = serde_json::from_slice(&message.payload).unwrap();
    (message.channel.to_string(), json)
}

#[test]
fn emits_are_published_where_stock_servers_publish_them() {
    let mut checked = 0;
    for record in RecordedCommand::messages(VECTORS) {
        let rooms = match record.dialect.as_str() {
            "sharded-static" => RoomChannels::None,
            "sharded-dynamic" => RoomChannels::Rooms,
            _ => RoomChannels::All,
        };
        let dialect = dialect_of("abcd", rooms);
        let channel = Channel::from(record.channel.as_deref().unwrap());
        assert!(dialect.owns(&channel), "{channel}");
        let Ok(Inbound::Command(command)) = dialect.decode(&channel, &record.payload()) else {
            continue;
        };
        let message = dialect.encode(&Outbound::Command(&command)).unwrap();
        assert_eq!(message[0].channel, channel, "{}", record.step);
        checked += 1;
    }
    assert!(checked > 70, "{checked}");
}

#[test]
fn nodes_subscribe_to_rooms_as_servers_in_the_same_mode() {
    let namespace = Namespace::from("/a");
    let channel = |mode, room: &str| {
        let channel = dialect_of("abcd", mode).room_channel(&namespace, &Room::from(room));
        channel.map(|channel| channel.to_string())
    };
    let long = "a-room-as-long-as-id";
    assert_eq!(channel(RoomChannels::None, "r"), None);
    assert_eq!(
        channel(RoomChannels::Rooms, "r").unwrap(),
        "socket.io#/a#r#"
    );
    assert_eq!(channel(RoomChannels::Rooms, long), None);
    assert_eq!(
        channel(RoomChannels::All, long).unwrap(),
        format!("socket.io#/a#{long}#")
    );
    let subscriptions = [RoomChannels::None, RoomChannels::Rooms, RoomChannels::All].map(|mode| {
        let subscriptions = dialect_of("abcd", mode).subscriptions();
        (subscriptions.per_room, subscriptions.per_socket)
    });
    assert_eq!(subscriptions, [(false, false), (true, false), (true, true)]);
    let channels = dialect().namespace_channels(&namespace);
    let names: Vec<&str> = channels.iter().map(Channel::as_str).collect();
    let own = "socket.io#/a#roomwire:roomwire:0:abcd#";
    assert_eq!(names, ["socket.io#/a#", own]);
}

/// A message of the server `u1`, decoded.
fn inbound(kind: u64, data: &Value) -> Inbound {
    let message = json!({"type": kind, "data": data, "uid": "u1", "nsp": "/"});
    let channel = Channel::from("socket.io#/#");
    let message = Bytes::from(message.to_string());
    dialect().decode(&channel, &message).unwrap()
}

/// A response to it, and its channel.
fn response(kind: u64, data: &Value) -> (String, Value) {
    let message =
        json!({"type": kind, "data": data, "uid": "roomwire:roomwire:0:abcd", "nsp": "/"});
    ("socket.io#/#u1#".to_owned(), message)
}

#[test]
fn emits_with_acks_of_servers_are_responded_to_on_their_channel() {
    let dialect = dialect();
    let options = json!({"rooms": ["r"], "except": [], "flags": {"timeout": 400}});
    let packet = json!({"type": 2, "data": ["ask"]});
    let data = json!({"packet": packet, "requestId": "q1", "opts": options});
    let Inbound::CountedEmit { emit, timeout } = inbound(3, &data) else {
        panic!()
    };
    assert_eq!(timeout.unwrap().as_millis(), 400);
    let token = emit.ack.unwrap();
    let outbound = Outbound::Reached {
        token: &token,
        sockets: 2,
    };
    let expected = response(11, &json!({"requestId": "q1", "clientCount": 2}));
    assert_eq!(published(&dialect, &outbound), expected);
    let ack = AckReply {
        token: token.clone(),
        socket: None,
        payload: Payload::text(r#"[{"a":1},2]"#),
    };
    let expected = response(12, &json!({"requestId": "q1", "packet": {"a": 1}}));
    assert_eq!(published(&dialect, &Outbound::Reply(&ack)), expected);
    let none = AckReply::no_recipient(token);
    assert!(dialect.encode(&Outbound::Reply(&none)).unwrap().is_empty());
}

#[test]
fn queries_and_events_of_servers_are_responded_to_on_their_channel() {
    let dialect = dialect();
    let options = json!({"rooms": ["r"], "except": [], "flags": {"timeout": 400}});
    let fetch = inbound(7, &json!({"requestId": "q2", "opts": options}));
    let Inbound::ForeignQuery { reply_to, query } = fetch else {
        panic!()
    };
    let selector = Selector::room(Namespace::main(), Room::from("r"));
    let limit = u32::MAX;
    assert_eq!(query, Query::Details { selector, limit });
    let answer = QueryAnswer::Details {
        total: 0,
        sockets: Vec::new(),
        of_servers: Vec::new(),
    };
    let outbound = Outbound::ForeignAnswer {
        reply_to: &reply_to,
        answer: &answer,
    };
    let expected = response(8, &json!({"requestId": "q2", "sockets": []}));
    assert_eq!(published(&dialect, &outbound), expected);

    let event = inbound(9, &json!({"requestId": "q3", "packet": ["ev", 1]}));
    let Inbound::ServerEvent { event, reply_to } = event else {
        panic!()
    };
    assert_eq!(event.payload, Payload::text(r#"["ev",1]"#));
    assert!(event.expects_answer);
    let outbound = Outbound::ServerEventAnswer {
        reply_to: &reply_to.unwrap(),
        answer: "null",
    };
    let expected = response(10, &json!({"requestId": "q3", "packet": null}));
    assert_eq!(published(&dialect, &outbound), expected);
    let event = inbound(9, &json!({"packet": ["ev", 1]}));
    assert!(matches!(event, Inbound::ServerEvent { reply_to: None, .. }));
}

#[test]
fn an_emit_of_this_node_with_acks_is_counted_by_every_subscriber_once() {
    let dialect = dialect();
    let call = emit(&["r"], Some(own_ack()));
    let (channel, json) = published(&dialect, &Outbound::Command(&call));
    assert_eq!(channel, "socket.io#/#", "all servers respond");
    assert_eq!(json["data"]["requestId"], "0000000000000abc");
    let (channel, message) = (Channel::from(channel), Bytes::from(json.to_string()));
    assert_eq!(
        dialect.decode(&channel, &message).unwrap(),
        Inbound::Own {
            gather: Some(0xabc)
        }
    );
    // Another node of the cluster responds with 0: its sockets receive the emit in the first dialect.
    let other = dialect_of("efgh", RoomChannels::Rooms);
    let Inbound::UnreachedEmit { token, unfit: None } = other.decode(&channel, &message).unwrap()
    else {
        panic!()
    };
    let sockets = 0;
    let reached = Outbound::Reached {
        token: &token,
        sockets,
    };
    let (channel, response) = published(&other, &reached);
    assert_eq!(channel, "socket.io#/#roomwire:roomwire:0:abcd#");
    let received = |response: &Value| {
        let message = Bytes::from(response.to_string());
        dialect.decode(&Channel::from(channel.as_str()), &message)
    };
    let token = own_ack();
    let expected = Inbound::Reached { token, sockets };
    assert_eq!(received(&response).unwrap(), expected);
    let ack = json!({"type": 12, "data": {"requestId": "0000000000000abc", "packet": [7]}, "uid": "u", "nsp": "/"});
    let expected = Inbound::Reply(AckReply {
        token: own_ack(),
        socket: None,
        payload: Payload::text("[[7]]"),
    });
    assert_eq!(received(&ack).unwrap(), expected);
    let unknown =
        json!({"type": 11, "data": {"requestId": "x", "clientCount": 1}, "uid": "u", "nsp": "/"});
    assert_eq!(received(&unknown).unwrap(), Inbound::Ignored);
}

#[test]
fn messages_of_other_nodes_of_the_cluster_and_for_other_namespaces_have_no_effect() {
    let other = dialect_of("efgh", RoomChannels::Rooms);
    let command = emit(&["r"], None);
    let message = other.encode(&Outbound::Command(&command)).unwrap();
    let inbound = dialect().decode(&message[0].channel, &message[0].payload);
    assert_eq!(inbound.unwrap(), Inbound::Own { gather: None });
    let elsewhere = Channel::from("socket.io#/b#");
    let inbound = dialect().decode(&elsewhere, &message[0].payload);
    assert_eq!(inbound.unwrap(), Inbound::Ignored);
    for channel in ["socket.io", "socket.io#/", "socket.io#/#r", "socketio#/#"] {
        assert!(!dialect().owns(&Channel::from(channel)), "{channel}");
    }
}

/// A query of node `abcd` for the sockets of the room `r`.
fn details_query() -> QueryRequest {
    QueryRequest {
        from: node("abcd"),
        id: 0xabc,
        query: Query::Details {
            selector: Selector::room(Namespace::main(), Room::from("r")),
            limit: 1,
        },
    }
}

#[test]
fn queries_of_this_node_fetch_the_sockets_of_servers_and_none_of_the_cluster() {
    let dialect = dialect();
    let request = details_query();
    let outbound = Outbound::Query(&request);
    let (channel, message) = published(&dialect, &outbound);
    assert_eq!(channel, "socket.io#/#");
    let options = json!({"rooms": ["r"], "except": [], "flags": {}});
    let uid = "roomwire:roomwire:0:abcd";
    let data = json!({"opts": options, "requestId": "0000000000000abc"});
    let expected = json!({"type": 7, "data": data, "uid": uid, "nsp": "/"});
    assert_eq!(message, expected);

    let bytes = dialect.encode(&outbound).unwrap()[0].payload.clone();
    let decoded = |name| {
        let dialect = dialect_of(name, RoomChannels::Rooms);
        dialect
            .decode(&Channel::from("socket.io#/#"), &bytes)
            .unwrap()
    };
    let own = Inbound::Own {
        gather: Some(0xabc),
    };
    assert_eq!(decoded("abcd"), own);
    let Inbound::FetchOfNobody { reply_to } = decoded("efgh") else {
        panic!()
    };
    let none = QueryAnswer::Details {
        total: 0,
        sockets: Vec::new(),
        of_servers: Vec::new(),
    };
    let (channel, empty) = published(
        &dialect_of("efgh", RoomChannels::Rooms),
        &Outbound::ForeignAnswer {
            reply_to: &reply_to,
            answer: &none,
        },
    );
    assert_eq!(channel, format!("socket.io#/#{uid}#"));
    let channel = Channel::from(channel);
    let response = |message: &Value| {
        dialect
            .decode(&channel, &message.to_string().into())
            .unwrap()
    };
    let sockets = |sockets| Inbound::ServerSockets { id: 0xabc, sockets };
    assert_eq!(response(&empty), sockets(Vec::new()));
    let handshake = json!({"headers": {"cookie": "c"}, "issued": 1_700_000_000_123_u64});
    let socket =
        json!({"id": "s1", "handshake": handshake, "rooms": ["s1", "r"], "data": {"a": 1}});
    let data = json!({"requestId": "0000000000000abc", "sockets": [socket]});
    let of_server = json!({"type": 8, "data": data, "uid": "u1", "nsp": "/"});
    let expected = ServerSocket {
        id: Room::from("s1"),
        connected_at: Some(1_700_000_000),
        rooms: vec![Room::from("r")],
    };
    assert_eq!(response(&of_server), sockets(vec![expected]));
}
