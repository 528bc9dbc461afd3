//! The HTTP API: every verb, from either of two nodes.

use std::time::{Duration, Instant};

use roomwire::bus::memory::Hub;
use serde_json::{Value, json};

use crate::acks::event_with_ack;
use crate::support::api::{WITH_API, post, rejection, request};
use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{DEADLINE, TestCluster, TestServer, WebsocketClient};

async fn cluster() -> TestCluster<2> {
    TestCluster::extended(&config(&WITH_API), Hub::default(), &users()).await
}

/// Waits until a request is answered so.
async fn becomes(node: &TestServer, verb: &str, body: &str, holds: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = request(node, verb, body).await;
        if holds(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{verb} {body}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn an_emit_reaches_rooms_users_and_sockets_of_all_nodes_with_counts_when_requested() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.user("ada").await, second.user("bob").await);
    let mut c = second.member().await;
    a.join("r").await;
    b.join("r").await;
    c.join("s").await;
    let plain = request(
        first,
        "emit",
        r#"{"rooms":["r"],"event":"news","args":[{"n":1}]}"#,
    )
    .await;
    assert_eq!(plain, json!({}));
    a.expect(r#"42["news",{"n":1}]"#).await;
    b.expect(r#"42["news",{"n":1}]"#).await;
    let body = r#"{"rooms":["r","s"],"users":["ada"],"event":"all","counts":true}"#;
    let counted = request(first, "emit", body).await;
    assert_eq!(counted, json!({"sockets": 3, "nodes": 2, "missing": []}));
    for client in [&mut a, &mut b, &mut c] {
        client.expect(r#"42["all"]"#).await;
    }
    let body = r#"{"everybody":true,"except":["r"],"event":"e","counts":true}"#;
    let counted = request(second, "emit", body).await;
    assert_eq!(counted, json!({"sockets": 1, "nodes": 1, "missing": []}));
    c.expect(r#"42["e"]"#).await;
    let body = format!(r#"{{"sockets":["{}"],"event":"one"}}"#, c.socket);
    request(first, "emit", &body).await;
    c.expect(r#"42["one"]"#).await;
    request(second, "emit", r#"{"users":["ada"],"event":"to ada"}"#).await;
    a.expect(r#"42["to ada"]"#).await;
    b.quiet().await;
}

#[actix_rt::test]
async fn binary_values_of_an_emit_are_attachments() {
    let server = TestServer::with(&WITH_API).await;
    let mut client = server.member().await;
    let body = r#"{"everybody":true,"event":"file","args":[{"_placeholder":true,"num":0}],"attachments":["AQID"]}"#;
    request(&server, "emit", body).await;
    client
        .expect(r#"451-["file",{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(&[1, 2, 3]).await;
}

#[actix_rt::test]
async fn an_emit_names_a_node_that_does_not_respond() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut a = first.member().await;
    let _b = second.member().await;
    cluster.silence(1);
    let body = r#"{"everybody":true,"event":"e","counts":true}"#;
    let counted = request(first, "emit", body).await;
    assert_eq!(
        counted,
        json!({"sockets": 1, "nodes": 1, "missing": [second.node()]})
    );
    a.expect(r#"42["e"]"#).await;
}

#[actix_rt::test]
async fn a_call_reports_who_answered_what_and_who_did_not() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    a.join("r").await;
    b.join("r").await;
    let answers = async {
        let (id, event) = event_with_ack(&mut a).await;
        assert_eq!(event, r#"["who",7]"#);
        a.send(&format!(r#"43{id}["me",{{"n":1}}]"#)).await;
        let _ = event_with_ack(&mut b).await;
    };
    let body = r#"{"rooms":["r"],"event":"who","args":[7],"timeout_ms":5000}"#;
    let (answer, ()) = tokio::join!(request(second, "call", body), answers);
    let expected = json!({
        "acks": [{"socket": a.socket, "args": ["me", {"n": 1}]}],
        "unanswered": [b.socket],
        "sockets": 2,
        "missing": [],
    });
    assert_eq!(answer, expected);
    let answers = async {
        for client in [&mut a, &mut b] {
            let (id, _) = event_with_ack(client).await;
            client.send(&format!("43{id}[]")).await;
        }
    };
    let started = Instant::now();
    let body = r#"{"rooms":["r"],"event":"who","timeout_ms":20000}"#;
    let (answer, ()) = tokio::join!(request(first, "call", body), answers);
    assert_eq!(answer["acks"].as_array().unwrap().len(), 2);
    assert_eq!(answer["unanswered"], json!([]));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[actix_rt::test]
async fn a_call_ends_with_the_first_ack_and_at_once_without_sockets() {
    let server = TestServer::with(&WITH_API).await;
    let (mut a, _b) = (server.member().await, server.member().await);
    let answers = async {
        let (id, _) = event_with_ack(&mut a).await;
        a.send(&format!("43{id}[1]")).await;
    };
    let body = r#"{"everybody":true,"event":"who","acks":"first","timeout_ms":20000}"#;
    let (answer, ()) = tokio::join!(request(&server, "call", body), answers);
    assert_eq!(answer["acks"].as_array().unwrap().len(), 1);
    assert_eq!(answer["unanswered"].as_array().unwrap().len(), 1);
    let body = r#"{"rooms":["empty"],"event":"who","timeout_ms":20000}"#;
    let answer = request(&server, "call", body).await;
    assert_eq!(
        answer,
        json!({"acks": [], "unanswered": [], "sockets": 0, "missing": []})
    );
}

#[actix_rt::test]
async fn a_call_names_a_node_that_dies_meanwhile_in_time() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    a.join("r").await;
    b.join("r").await;
    let answers = async {
        let (id, _) = event_with_ack(&mut a).await;
        let _ = event_with_ack(&mut b).await;
        cluster.silence(1);
        cluster.deafen(1, true);
        a.send(&format!("43{id}[1]")).await;
    };
    let started = Instant::now();
    let body = r#"{"rooms":["r"],"event":"who","timeout_ms":5000}"#;
    let (answer, ()) = tokio::join!(request(first, "call", body), answers);
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(answer["missing"], json!([second.node()]));
    assert_eq!(answer["unanswered"], json!([b.socket]));
    assert_eq!(answer["acks"][0]["socket"], json!(a.socket));
}

#[actix_rt::test]
async fn a_call_names_a_node_that_dies_between_its_query_and_its_emit() {
    let cluster = TestCluster::<3>::extended(&config(&WITH_API), Hub::default(), &users()).await;
    let [first, second, third] = &cluster.nodes;
    let mut b = second.member().await;
    b.join("r").await;
    // The query waits for it until its time limit.
    cluster.silence(2);
    let death = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.cut(1);
    };
    let body = r#"{"rooms":["r"],"event":"who","timeout_ms":6000}"#;
    let (answer, ()) = tokio::join!(request(first, "call", body), death);
    let mut missing = [second.node(), third.node()];
    missing.sort();
    assert_eq!(
        answer,
        json!({"acks": [], "unanswered": [b.socket], "sockets": 1, "missing": missing})
    );
}

#[actix_rt::test]
async fn sockets_join_leave_and_are_disconnected_from_another_node() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut a = second.user("ada").await;
    let mut b = second.member().await;
    let members = r#"{"room":"r"}"#;
    request(first, "join", r#"{"rooms":["r"],"users":["ada"]}"#).await;
    let body = format!(r#"{{"rooms":["r"],"sockets":["{}"]}}"#, b.socket);
    request(first, "join", &body).await;
    becomes(first, "members", members, |answer| answer["total"] == 2).await;
    let expected = json!({
        "total": 2,
        "members": [
            {"user": "ada", "sockets": [a.socket]},
            {"user": null, "sockets": [b.socket]},
        ],
        "missing": [],
    });
    assert_eq!(request(second, "members", members).await, expected);
    request(first, "leave", r#"{"rooms":["r"],"users":["ada"]}"#).await;
    becomes(first, "members", members, |answer| answer["total"] == 1).await;
    request(first, "join", r#"{"rooms":["s"],"members_of":["r"]}"#).await;
    becomes(first, "members", r#"{"room":"s"}"#, |answer| {
        answer["total"] == 1
    })
    .await;
    request(first, "close_room", r#"{"room":"r"}"#).await;
    becomes(first, "members", members, |answer| answer["total"] == 0).await;
    request(first, "disconnect", r#"{"users":["ada"]}"#).await;
    a.expect("41").await;
    request(first, "disconnect", r#"{"rooms":["s"],"close":true}"#).await;
    b.expect("41").await;
    second.sessions(1).await;
}

fn names(answer: &Value) -> Vec<&str> {
    let rooms = answer["rooms"].as_array().unwrap().iter();
    rooms.map(|room| room["room"].as_str().unwrap()).collect()
}

#[actix_rt::test]
async fn rooms_are_listed_by_name_in_pages() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    for room in ["t:1", "t:2", "u"] {
        a.join(room).await;
    }
    for room in ["t:2", "t:3"] {
        b.join(room).await;
    }
    let answer = request(first, "rooms", r#"{"prefix":"t:","limit":2}"#).await;
    let expected = json!({
        "rooms": [{"room": "t:1", "sockets": 1}, {"room": "t:2", "sockets": 2}],
        "next": "t:2",
        "missing": [],
    });
    assert_eq!(answer, expected);
    let answer = request(
        second,
        "rooms",
        r#"{"prefix":"t:","after":"t:2","limit":2}"#,
    )
    .await;
    assert_eq!(
        (names(&answer), &answer["next"]),
        (vec!["t:3"], &Value::Null)
    );
}

#[actix_rt::test]
async fn users_are_online_or_were_last_seen() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (_a, _a2) = (first.user("ada").await, second.user("ada").await);
    let b: WebsocketClient = second.user("bob").await;
    becomes(first, "users", "{}", |answer| {
        answer["users"].as_array().unwrap().len() == 2
    })
    .await;
    drop(b);
    becomes(first, "users", r#"{"users":["bob"]}"#, |answer| {
        answer["users"][0]["last_seen"].is_u64() && answer["users"][0]["online"] == false
    })
    .await;
    let mut answer = request(first, "users", r#"{"users":["ada","bob","eve"]}"#).await;
    let users = answer["users"].as_array_mut().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for user in &mut users[..2] {
        let seen = user["last_seen"].take().as_u64().unwrap();
        assert!(now - seen < 60, "{seen}");
    }
    let expected = json!([
        {"user": "ada", "online": true, "sockets": 2, "last_seen": null},
        {"user": "bob", "online": false, "sockets": 0, "last_seen": null},
        {"user": "eve", "online": false, "sockets": 0, "last_seen": null},
    ]);
    assert_eq!(answer["users"], expected);
    let listed = request(second, "users", r#"{"prefix":"a"}"#).await;
    assert_eq!(listed["users"][0]["user"], "ada");
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
}

#[actix_rt::test]
async fn sockets_and_nodes_are_described() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut a = second.user("ada").await;
    a.join("r").await;
    let answer = request(first, "sockets", r#"{"rooms":["r"]}"#).await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let socket = &answer["sockets"][0];
    assert_eq!(socket["socket"], json!(a.socket));
    assert_eq!(socket["node"], json!(second.node()));
    assert_eq!(socket["user"], "ada");
    assert!(now - socket["connected_at"].as_u64().unwrap() < 60);
    let mut rooms: Vec<&str> = socket["rooms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room.as_str().unwrap())
        .collect();
    rooms.sort_unstable();
    assert_eq!(
        (rooms, &answer["total"]),
        (vec!["r", "user:ada"], &json!(1))
    );
    let count = request(first, "sockets", r#"{"everybody":true,"limit":0}"#).await;
    assert_eq!(count, json!({"total": 1, "sockets": [], "missing": []}));
    let info = request(first, "info", "{}").await;
    assert_eq!(info["node"], json!(first.node()));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let nodes = info["nodes"].as_array().unwrap();
    let sockets = |node: &str| {
        let found = nodes.iter().find(|summary| summary["node"] == node);
        found.map(|summary| (summary["sessions"].clone(), summary["sockets"].clone()))
    };
    assert_eq!(nodes.len(), 2);
    assert_eq!(sockets(&second.node()), Some((json!(1), json!(1))));
    assert_eq!(sockets(&first.node()), Some((json!(0), json!(0))));
}

#[actix_rt::test]
async fn a_batch_is_executed_in_order_with_one_answer_for_each_item() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut a = first.member().await;
    let body = json!({"items": [
        {"join": {"sockets": [a.socket], "rooms": ["r"]}},
        {"emit": {"rooms": ["r"], "event": "one"}},
        {"emit": {"rooms": ["r"], "event": "two", "counts": true}},
        {"leave": {"everybody": true, "rooms": ["r"]}},
        {"emit": {"rooms": ["r"], "event": "nobody"}},
        {"members": {"room": "r"}},
        {"emit": {"everybody": true, "event": "three"}},
    ]});
    let answer = request(first, "batch", &body.to_string()).await;
    let expected = json!({"answers": [
        {}, {}, {"sockets": 1, "nodes": 1, "missing": []}, {}, {},
        {"total": 0, "members": [], "missing": []}, {},
    ]});
    assert_eq!(answer, expected);
    for event in ["one", "two", "three"] {
        a.expect(&format!(r#"42["{event}"]"#)).await;
    }
    let wrong = json!({"items": [
        {"emit": {"everybody": true, "event": "never"}},
        {"emit": {"event": "untargeted"}},
    ]});
    let response = post(second, "batch", &wrong.to_string()).await;
    assert_eq!(rejection(&response), (400, "target_missing".to_owned()));
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["error"]["item"], 1);
    a.quiet().await;
}

#[actix_rt::test]
async fn an_event_after_a_join_of_its_batch_reaches_the_new_members_of_all_nodes() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    let body = json!({"items": [
        {"join": {"sockets": [a.socket, b.socket], "rooms": ["new"]}},
        {"emit": {"rooms": ["new"], "event": "one"}},
        {"emit": {"rooms": ["new"], "event": "two", "counts": true}},
    ]});
    let answer = request(first, "batch", &body.to_string()).await;
    let expected = json!({"answers": [{}, {}, {"sockets": 2, "nodes": 2, "missing": []}]});
    assert_eq!(answer, expected);
    for client in [&mut a, &mut b] {
        client.expect(r#"42["one"]"#).await;
        client.expect(r#"42["two"]"#).await;
        client.quiet().await;
    }
}

#[actix_rt::test]
async fn a_room_is_closed_for_members_who_joined_just_before() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (a, b) = (first.member().await, second.member().await);
    let join = json!({"sockets": [a.socket, b.socket], "rooms": ["new"]});
    let (close, members) = (json!({"room": "new"}), json!({"room": "new", "limit": 0}));
    let items = json!([{"join": join}, {"close_room": close}, {"members": members}]);
    let body = json!({"items": items}).to_string();
    let answer = request(first, "batch", &body).await;
    assert_eq!(answer["answers"][2]["total"], 0, "{answer}");
    request(first, "join", &join.to_string()).await;
    request(first, "close_room", &close.to_string()).await;
    let answer = request(first, "members", &members.to_string()).await;
    assert_eq!(answer["total"], 0, "{answer}");
}

#[actix_rt::test]
async fn users_are_revoked_and_made_to_reconnect_on_every_node() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut ada, mut bob) = (first.user("ada").await, second.user("bob").await);
    let mut eve = second.user("eve").await;
    request(first, "force_reconnect", r#"{"users":["bob"]}"#).await;
    second.sessions(1).await;
    drop(bob.rest().await);
    let answer = request(second, "revoke", r#"{"user":"ada"}"#).await;
    assert_eq!(answer, json!({"stored": true}));
    first.sessions(0).await;
    drop(ada.rest().await);
    eve.join("r").await;
}
