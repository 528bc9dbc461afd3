//! Queries of nodes for the sockets of servers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::dialect_of;
use super::servers::{NO_SOCKETS, found, request, responses, socket, text, us};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{Inbound, Outbound};
use crate::config::NodeAdapter;
use crate::model::{Namespace, NodeId, Query, QueryRequest, Room, Selector, ServerSocket};

/// A query of this node, as it publishes it.
fn own_query(query: Query) -> Vec<Outgoing> {
    let request = QueryRequest {
        from: NodeId::parse("abcd").unwrap(),
        id: 0x1f4,
        query,
    };
    us().encode(&Outbound::Query(&request)).unwrap()
}

#[test]
fn queries_of_this_node_request_sockets_of_servers_or_only_their_ids() {
    let to_r = || Selector::room(Namespace::from("/a"), Room::from("r"));
    let limit = 5;
    let request = r#""uid":"roomwire:roomwire:0:abcd","requestId":"roomwire:roomwire:0:abcd:00000000000001f4""#;
    for (query, expected) in [
        (
            Query::Count { selector: to_r() },
            r#""type":0,"rooms":["r"]"#,
        ),
        (
            Query::Count {
                selector: to_r().except(Room::from("s")),
            },
            r#""type":5,"opts":{"rooms":["r"],"except":["s"]}"#,
        ),
        (
            Query::Details {
                selector: to_r(),
                limit,
            },
            r#""type":5,"opts":{"rooms":["r"],"except":[]}"#,
        ),
        (
            Query::RoomList {
                namespace: Namespace::from("/a"),
                prefix: "p".to_owned(),
                after: String::new(),
                limit,
            },
            r#""type":5,"opts":{"rooms":[],"except":[]}"#,
        ),
    ] {
        let [message] = own_query(query).try_into().unwrap();
        assert_eq!(message.channel.as_str(), "socket.io-request#/a#");
        assert_eq!(text(&message), format!("{{{request},{expected}}}"));
    }
    assert!(own_query(Query::Nodes).is_empty());
    let selector = Selector::socket(Namespace::main(), socket("abcd"));
    assert!(own_query(Query::Count { selector }).is_empty());
}

#[test]
fn queries_of_nodes_are_answered_by_servers_with_sockets_and_by_nodes_with_none() {
    let everybody = Selector::everybody(Namespace::main());
    for query in [
        Query::Count {
            selector: everybody.clone(),
        },
        Query::Details {
            selector: everybody.clone(),
            limit: 1,
        },
    ] {
        let [message] = own_query(query).try_into().unwrap();
        let decode = |node: &str| {
            let dialect = dialect_of(node, NodeAdapter::PubSub);
            dialect.decode(&message.channel, &message.payload).unwrap()
        };
        let own = Inbound::Own {
            gather: Some(0x1f4),
        };
        assert_eq!(decode("abcd"), own);
        let Inbound::FetchOfNobody { reply_to } = decode("efgh") else {
            panic!();
        };
        let answer = dialect_of("efgh", NodeAdapter::PubSub).encode(&Outbound::ForeignAnswer {
            reply_to: &reply_to,
            answer: &NO_SOCKETS,
        });
        let [answer] = answer.unwrap().try_into().unwrap();
        // No server receives it.
        let channel = "socket.io-response#/#roomwire:roomwire:0:abcd#";
        assert_eq!(answer.channel.as_str(), channel);
        let request = "roomwire:roomwire:0:abcd:00000000000001f4";
        let of_server =
            json!({"requestId": request, "sockets": ["a", {"id": "b", "rooms": ["b", "r"]}]});
        let sockets =
            [("a", vec![]), ("b", vec![Room::from("r")])].map(|(id, rooms)| ServerSocket {
                id: Room::from(id),
                connected_at: None,
                rooms,
            });
        for (response, sockets) in [
            (answer.payload, Vec::new()),
            (Bytes::from(of_server.to_string()), sockets.to_vec()),
        ] {
            let decoded = us().decode(&Channel::from(channel), &response).unwrap();
            assert_eq!(decoded, Inbound::ServerSockets { id: 0x1f4, sockets });
        }
    }
}

#[test]
fn fetched_sockets_have_their_ids_and_rooms() {
    let (_, b, found) = found();
    let fetch = r#"{"uid":"u","requestId":"q","type":5,"opts":{"rooms":[],"except":["r"]}}"#;
    let Inbound::ForeignQuery { reply_to, .. } = request(fetch) else {
        panic!();
    };
    let [(_, response)] = responses(&Outbound::ForeignAnswer {
        reply_to: &reply_to,
        answer: &found,
    })
    .try_into()
    .unwrap();
    let response: Value = serde_json::from_str(&response).unwrap();
    assert_eq!(response["sockets"][1]["id"], b.as_str());
    assert_eq!(response["sockets"][1]["rooms"], json!([b.as_str(), "r1"]));
}
