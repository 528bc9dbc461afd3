//! Nodes in one cluster with servers in Node that use the pub/sub adapter: responses and queries.

use std::collections::BTreeSet;

use roomwire::metrics::labels::BusDrop;
use serde_json::json;

use crate::support::api::{WITH_API, request};
use crate::support::log::logged_with;
use crate::support::node_server::NodeServer;
use crate::support::{TestCluster, WebsocketClient, eventually};

/// The least limit of messages, and payloads of clients that fit.
const SMALL: [(&str, &str); 2] = [
    ("ENGINE__MAX_PAYLOAD", "30000"),
    ("BUS__MESSAGE_LIMIT", "46384"),
];
const LIMIT: usize = 46_384;

async fn cluster<const N: usize>(more: &[(&str, &str)]) -> (TestCluster<N>, NodeServer) {
    let servers = [("BUS__NODE_ADAPTER", "pubsub")];
    let cluster = TestCluster::with(&[&servers, &WITH_API[..], more].concat()).await;
    let server = NodeServer::join(&cluster.hub, "abcdef");
    (cluster, server)
}

/// Members of a node, in rooms whose names have 4 kB together.
async fn members_of_long_rooms(
    cluster: &TestCluster<2>,
    server: &NodeServer,
) -> Vec<WebsocketClient> {
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(cluster.nodes[1].member().await);
    }
    let rooms: Vec<String> = (0..20).map(|room| format!("{room:0200}")).collect();
    let all = json!({"rooms": [], "except": []});
    server.request(&json!({"type": 2, "opts": all, "rooms": rooms}));
    members
}

fn shortened<const N: usize>(cluster: &TestCluster<N>, node: usize) -> u64 {
    let dropped = &cluster.nodes[node].metrics().bus_dropped_total;
    assert_eq!(dropped.of(BusDrop::Oversized).get(), 0);
    dropped.of(BusDrop::Shortened).get()
}

#[actix_rt::test]
async fn an_answer_over_the_limit_completes_the_request_of_a_server_with_what_fits() {
    let (cluster, mut server) = cluster::<2>(&SMALL).await;
    let members = members_of_long_rooms(&cluster, &server).await;
    let ids: BTreeSet<&str> = members.iter().map(|member| &*member.socket).collect();
    server.request(&json!({"type": 5, "requestId": "r1", "opts": {"rooms": [], "except": []}}));
    let (response, bytes) = server.receive().await;
    assert_eq!(response["requestId"], "r1");
    let sockets = response["sockets"].as_array().unwrap();
    assert!(
        (5..20).contains(&sockets.len()) && bytes <= LIMIT,
        "{}",
        sockets.len()
    );
    for socket in sockets {
        assert!(ids.contains(socket["id"].as_str().unwrap()));
        assert_eq!(socket["rooms"].as_array().unwrap().len(), 21);
    }
    assert_eq!(shortened(&cluster, 1), 1);
    logged_with("response published without what does not fit").await;
}

#[actix_rt::test]
async fn an_answer_over_the_limit_completes_the_query_of_a_node_which_names_the_other_as_missing() {
    let (cluster, server) = cluster::<2>(&SMALL).await;
    let _members = members_of_long_rooms(&cluster, &server).await;
    let limited = request(
        &cluster.nodes[0],
        "sockets",
        r#"{"everybody":true,"limit":3}"#,
    )
    .await;
    assert_eq!(
        (&limited["total"], &limited["missing"]),
        (&json!(20), &json!([]))
    );
    let answer = request(
        &cluster.nodes[0],
        "sockets",
        r#"{"everybody":true,"limit":1000}"#,
    )
    .await;
    let listed = answer["sockets"].as_array().unwrap().len();
    assert!((5..20).contains(&listed), "{listed}");
    assert_eq!(answer["total"], 20);
    assert_eq!(answer["missing"], json!([cluster.nodes[1].node()]));
    assert_eq!(shortened(&cluster, 1), 1);
}

#[actix_rt::test]
async fn an_ack_over_the_limit_reaches_a_server_as_an_empty_one() {
    let (cluster, mut server) = cluster::<1>(&SMALL).await;
    let mut member = cluster.nodes[0].member().await;
    eventually("the subscription of the namespace", || {
        cluster.nodes[0].metrics().bus_subscriptions.get() > 0
    })
    .await;
    server.emit_with_ack("r1", "question");
    let (count, _) = server.receive().await;
    assert_eq!(
        count,
        json!({"type": 8, "requestId": "r1", "clientCount": 1})
    );
    let id = member.text().await;
    let id = id
        .strip_prefix("42")
        .and_then(|rest| rest.strip_suffix(r#"["question"]"#));
    // A number of msgpack has 9 bytes.
    let numbers = vec!["1.5"; 7000].join(",");
    member
        .send(&format!("43{}[[{numbers}]]", id.unwrap()))
        .await;
    let (ack, _) = server.receive().await;
    assert_eq!(ack, json!({"type": 9, "requestId": "r1"}));
    assert_eq!(shortened(&cluster, 0), 1);
}
