//! Nodes in one cluster with servers in Node that use the pub/sub adapter: responses and queries.

use std::collections::BTreeSet;

use roomwire::metrics::labels::BusDrop;
use serde_json::{Value, json};

use crate::support::api::{WITH_API, request};
use crate::support::log::logged_with;
use crate::support::node_server::NodeServer;
use crate::support::{TestCluster, WebsocketClient, eventually};

/// The lowest `bus.message_limit`, and payloads that fit.
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

/// Clients of a node in rooms whose names have 4 kB in total.
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
async fn an_answer_over_the_limit_is_shortened_and_completes_the_request_of_a_server() {
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
    logged_with("response shortened").await;
}

#[actix_rt::test]
async fn a_query_with_an_answer_over_the_limit_ends_and_names_the_node_as_missing() {
    let (cluster, mut server) = cluster::<2>(&SMALL).await;
    let _members = members_of_long_rooms(&cluster, &server).await;
    let body = r#"{"everybody":true,"limit":3}"#;
    let (limited, _) = answered(&cluster, &mut server, ("sockets", body), json!([])).await;
    assert_eq!(
        (&limited["total"], &limited["missing"]),
        (&json!(20), &json!([]))
    );
    let body = r#"{"everybody":true,"limit":1000}"#;
    let (answer, _) = answered(&cluster, &mut server, ("sockets", body), json!([])).await;
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

/// Two sockets of a server, as it reports them.
fn sockets_of_server() -> [Value; 2] {
    let socket = |id: &str, rooms: &[&str]| {
        let handshake = json!({"headers": {"cookie": "secret"}, "issued": 1_700_000_000_123_u64});
        json!({"id": id, "handshake": handshake, "rooms": rooms, "data": {"a": 1}})
    };
    let ids = ["socketOfServer000001", "socketOfServer000002"];
    [
        socket(ids[0], &[ids[0], "r", "user:ada"]),
        socket(ids[1], &[ids[1], "r", "s"]),
    ]
}

/// Sends an API request to the first node, and responds as the server to the query that it causes.
async fn answered<const N: usize>(
    cluster: &TestCluster<N>,
    server: &mut NodeServer,
    (verb, body): (&str, &str),
    sockets: Value,
) -> (Value, Value) {
    let respond = async {
        let (query, _) = server.receive().await;
        server.respond(&json!({"requestId": query["requestId"], "sockets": sockets}));
        query
    };
    tokio::join!(request(&cluster.nodes[0], verb, body), respond)
}

#[actix_rt::test]
async fn queries_of_the_api_include_the_sockets_of_servers() {
    let (cluster, mut server) = cluster::<2>(&[]).await;
    let mut members = [
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    ];
    for member in &mut members {
        member.join("r").await;
    }
    let list = Value::from(sockets_of_server().to_vec());
    let body = r#"{"rooms":["r"],"limit":10}"#;
    let (answer, query) = answered(&cluster, &mut server, ("sockets", body), list.clone()).await;
    assert_eq!(query["type"], 5);
    assert_eq!(query["opts"], json!({"rooms": ["r"], "except": []}));
    assert_eq!(
        (&answer["total"], &answer["missing"]),
        (&json!(4), &json!([]))
    );
    let sockets = answer["sockets"].as_array().unwrap();
    let of_servers: Vec<&Value> = sockets.iter().filter(|it| it["node"].is_null()).collect();
    assert_eq!(sockets.len(), 4);
    let expected = json!([
        {"socket": "socketOfServer000001", "node": null, "user": "ada", "connected_at": 1_700_000_000, "rooms": ["r", "user:ada"]},
        {"socket": "socketOfServer000002", "node": null, "user": null, "connected_at": 1_700_000_000, "rooms": ["r", "s"]},
    ]);
    assert_eq!(json!(of_servers), expected);

    let (answer, _) = answered(&cluster, &mut server, ("rooms", "{}"), list.clone()).await;
    let rooms = json!([
        {"room": "r", "sockets": 4}, {"room": "s", "sockets": 1}, {"room": "user:ada", "sockets": 1}
    ]);
    assert_eq!(answer, json!({"rooms": rooms, "next": null, "missing": []}));
    let body = r#"{"users":["ada","bob"]}"#;
    let (answer, query) = answered(&cluster, &mut server, ("users", body), list.clone()).await;
    assert_eq!(query["opts"]["rooms"], json!(["user:ada", "user:bob"]));
    let online = answer["users"].as_array().unwrap().iter();
    let online: Vec<&Value> = online.map(|user| &user["sockets"]).collect();
    assert_eq!(online, [1, 0]);
    let body = r#"{"room":"s"}"#;
    let (answer, _) = answered(&cluster, &mut server, ("members", body), json!([list[1]])).await;
    let members = json!([{"user": null, "sockets": ["socketOfServer000002"]}]);
    assert_eq!(
        answer,
        json!({"total": 1, "members": members, "missing": []})
    );
}

#[actix_rt::test]
async fn counts_of_the_api_include_the_sockets_of_servers_by_their_ids() {
    let (cluster, mut server) = cluster::<2>(&[]).await;
    let mut member = cluster.nodes[1].member().await;
    member.join("r").await;
    let ids = json!(["socketOfServer000001", "socketOfServer000002"]);
    let emit = r#"{"rooms":["r"],"event":"e","counts":true}"#;
    let (answer, query) = answered(&cluster, &mut server, ("emit", emit), ids.clone()).await;
    assert_eq!(
        (&query["type"], &query["rooms"]),
        (&json!(0), &json!(["r"]))
    );
    assert_eq!(answer, json!({"sockets": 3, "nodes": 1, "missing": []}));
    member.expect(r#"42["e"]"#).await;
}

#[actix_rt::test]
async fn a_server_that_does_not_respond_is_missing_in_the_answer() {
    let (cluster, mut server) = cluster::<1>(&[]).await;
    let mut member = cluster.nodes[0].member().await;
    member.join("r").await;
    let body = r#"{"room":"r"}"#;
    let silent = request(&cluster.nodes[0], "members", body).await;
    assert_eq!(
        (&silent["total"], &silent["missing"]),
        (&json!(1), &json!(["servers"]))
    );
    let (query, _) = server.receive().await;
    // A late response, and one more than the server was requested for.
    for _ in 0..2 {
        server.respond(&json!({"requestId": query["requestId"], "sockets": ["a"]}));
    }
    let (answer, _) = answered(&cluster, &mut server, ("members", body), json!([])).await;
    assert_eq!(
        (&answer["total"], &answer["missing"]),
        (&json!(1), &json!([]))
    );
    cluster.cut(0);
    cluster.nodes[0].readyz("degraded").await;
    let alone = request(&cluster.nodes[0], "members", body).await;
    assert_eq!(
        (&alone["total"], &alone["missing"]),
        (&json!(1), &json!(["servers"]))
    );
}

#[actix_rt::test]
async fn a_call_for_all_acks_waits_for_the_sockets_of_servers() {
    let (cluster, mut server) = cluster::<2>(&[]).await;
    let mut member = cluster.nodes[1].member().await;
    // A socket connects to the server after the query.
    let server_side = async {
        let (query, _) = server.receive().await;
        server.respond(&json!({"requestId": query["requestId"], "sockets": ["a"]}));
        let (emit, _) = server.receive().await;
        assert_eq!(
            (&emit["type"], &emit["packet"]["data"]),
            (&json!(7), &json!(["ask"]))
        );
        let request = &emit["requestId"];
        server.respond(&json!({"type": 8, "requestId": request, "clientCount": 2}));
        for ack in ["of a", "of b"] {
            server.acknowledge(request, ack);
        }
    };
    let client_side = async {
        let question = member.text().await;
        let id = question
            .strip_prefix("42")
            .and_then(|rest| rest.strip_suffix(r#"["ask"]"#));
        member
            .send(&format!(r#"43{}["of a node"]"#, id.unwrap()))
            .await;
    };
    let body = r#"{"everybody":true,"event":"ask","acks":"all","timeout_ms":15000}"#;
    let call = request(&cluster.nodes[0], "call", body);
    let start = std::time::Instant::now();
    let (answer, (), ()) = tokio::join!(call, server_side, client_side);
    assert!(start.elapsed().as_secs() < 10, "no ack is missing");
    let acks = answer["acks"].as_array().unwrap().iter();
    let acks: BTreeSet<&str> = acks.map(|ack| ack["args"][0].as_str().unwrap()).collect();
    assert_eq!(acks, BTreeSet::from(["of a", "of a node", "of b"]));
    assert_eq!(
        (&answer["sockets"], &answer["unanswered"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(answer["missing"], json!([]));
}
