//! Round trips of queries and their answers.

use crate::cluster::dialect::native::*;
use crate::model::random::OsRandom;
use crate::model::{
    Namespace, NodeSummary, Query, QueryAnswer, Room, Selector, SocketDetails, SocketId,
    WorkerIndex,
};

fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

/// Checks that a query and its answer are decoded as they were encoded, and that no part of them is.
fn assert_decoded(query: Query, answer: QueryAnswer) {
    assert_response_decoded(query.clone(), answer.clone(), false);
    assert_response_decoded(query, answer, true);
}

fn assert_response_decoded(query: Query, answer: QueryAnswer, is_shortened: bool) {
    let (requester, responder) = (node("nod1"), node("nod2"));
    let query = NativeMessage::Query(QueryRequest {
        from: requester,
        id: 7,
        query,
    });
    let answer = NativeMessage::QueryAnswer(QueryResponse {
        from: responder,
        to: requester,
        id: 7,
        answer,
        is_shortened,
    });
    for (sender, message) in [(requester, query), (responder, answer)] {
        let encoded = message.encode(sender).unwrap();
        assert_eq!(NativeMessage::decode(&encoded), Ok((sender, message)));
        for end in 0..encoded.len() {
            assert!(
                NativeMessage::decode(&encoded.slice(..end)).is_err(),
                "{end}"
            );
        }
    }
}

#[test]
fn queries_and_their_answers_are_decoded_as_they_were_encoded() {
    let socket = SocketId::random(node("nod2"), WorkerIndex::default(), &OsRandom);
    let namespace = Namespace::main();
    assert_decoded(
        Query::Sockets {
            selector: Selector::room(namespace.clone(), Room::from("r")),
            limit: 70_000,
        },
        QueryAnswer::Sockets {
            total: 3,
            sockets: vec![socket; 2],
        },
    );
    for rooms in [Some(vec![Room::from("r")]), None] {
        let namespace = namespace.clone();
        assert_decoded(
            Query::Rooms { namespace, socket },
            QueryAnswer::Rooms(rooms),
        );
    }
}

#[test]
fn queries_for_counts_and_details_are_decoded_as_they_were_encoded() {
    let socket = SocketId::random(node("nod2"), WorkerIndex::default(), &OsRandom);
    let namespace = Namespace::main();
    assert_decoded(
        Query::Count {
            selector: Selector::everybody(namespace.clone()),
        },
        QueryAnswer::Count {
            sockets: 3,
            nodes: vec![node("nod1"), node("nod2")],
        },
    );
    assert_decoded(
        Query::Details {
            selector: Selector::socket(namespace.clone(), socket),
            limit: 7,
        },
        QueryAnswer::Details {
            total: 9,
            sockets: vec![SocketDetails {
                socket,
                connected_at: 1_700_000_000,
                rooms: vec![Room::from("r")],
                handshake: None,
            }],
            of_servers: Vec::new(),
        },
    );
    assert_decoded(
        Query::Nodes,
        QueryAnswer::Nodes(vec![NodeSummary {
            node: node("nod2"),
            version: "0.1.0".into(),
            sessions: 1,
            sockets: 2,
            rooms: 3,
        }]),
    );
}

#[test]
fn queries_for_rooms_are_decoded_as_they_were_encoded() {
    let rooms = || vec![(Room::from("r"), 3), (Room::from("s"), 1)];
    assert_decoded(
        Query::RoomList {
            namespace: Namespace::main(),
            prefix: "a".into(),
            after: "ab".into(),
            limit: 9,
        },
        QueryAnswer::RoomList(rooms()),
    );
    assert_decoded(
        Query::RoomCounts {
            namespace: Namespace::main(),
            rooms: vec![Room::from("r"), Room::from("t")],
        },
        QueryAnswer::RoomList(rooms()),
    );
}
