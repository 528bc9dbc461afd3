//! Users that backends identify by their responses: their rights, limits and reconnects.

use roomwire::metrics::labels::SessionConflict;
use serde_json::{Value, json};

use crate::support::backend::{Reply, TestBackend, accept, hooked};
use crate::support::identity::reply;
use crate::support::tokens;
use crate::support::{
    Frame, TestCluster, TestServer, WebsocketClient, eventually, within_deadline,
};

const TOO_MANY: &str = r#"44{"message":"Too many connections of this user","data":{"code":"too_many_connections_of_user","key":"limits.connections_per_user"}}"#;
const EXISTS: &str =
    r#"44{"message":"this user has a session already","data":{"code":"session_exists"}}"#;
const ADA: &str = r#"{"user":"ada"}"#;

/// Identifies each client as the user of its auth payload, or of the first argument of an event.
fn identifying() -> TestBackend {
    TestBackend::start(|call| match call.kind() {
        "connect" if call.data("auth")["user"].is_null() => accept(),
        "connect" => Reply::Json(json!({"user": call.data("auth")["user"]})),
        "event" => Reply::Json(json!({"user": call.argument(), "ack": ["in"]})),
        _ => accept(),
    })
}

async fn two_nodes(backend: &TestBackend, settings: &[(&str, &str)]) -> TestCluster<2> {
    let url = backend.url();
    let own = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*url)];
    TestCluster::with(&[&own, settings].concat()).await
}

async fn client(node: &TestServer, user: &str) -> WebsocketClient {
    node.authenticated(&json!({"user": user}).to_string()).await
}

#[actix_rt::test]
async fn grants_in_a_response_allow_more_than_the_room_rules() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::Json(json!({
            "user": "ada",
            "can": {"news:*": ["join", "emit"], "log": ["join"]},
        })),
        _ => accept(),
    });
    let node = hooked(&backend, &[("APP__WEBHOOK__RELAY", "true")]).await;
    let mut client = node.member().await;
    let mut code = async |request: &str| {
        let reply: Value = reply(&mut client, request).await;
        let code = reply["error"]["code"].as_str().unwrap_or("ok");
        code.to_owned()
    };
    assert_eq!(code(r#"["roomwire:join","news:1"]"#).await, "ok");
    assert_eq!(code(r#"["roomwire:emit","news:1","e"]"#).await, "ok");
    assert_eq!(code(r#"["roomwire:join","log"]"#).await, "ok");
    let emit = r#"["roomwire:emit","log","e"]"#;
    assert_eq!(code(emit).await, "publish_forbidden");
    assert_eq!(code(r#"["roomwire:join","x"]"#).await, "join_forbidden");
}

#[actix_rt::test]
async fn a_response_makes_clients_of_all_nodes_connect_again() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::Json(json!({"user": call.data("auth")["user"]})),
        "event" if call.data("event") == "again" => Reply::Json(json!({
            "actions": [{"force_reconnect": {}}],
        })),
        "event" => Reply::Json(json!({
            "actions": [{"force_reconnect": {"users": ["ada"]}}],
            "ack": ["done"],
        })),
        _ => accept(),
    });
    let cluster = two_nodes(&backend, &[]).await;
    let [first, second] = &cluster.nodes;
    let mut ada = [client(first, "ada").await, client(second, "ada").await];
    let mut bob = client(first, "bob").await;
    assert_eq!(bob.ask(r#"["changed"]"#).await, r#"["done"]"#);
    let closed = Frame::Close(Some(3000), "connect and authenticate again".to_owned());
    for client in &mut ada {
        assert_eq!(client.rest().await, std::slice::from_ref(&closed));
    }
    // Without a target, it concerns the socket of the request.
    let mut other = client(second, "bob").await;
    bob.send(r#"42["again"]"#).await;
    assert_eq!(bob.rest().await, [closed]);
    assert_eq!(other.ask(r#"["changed"]"#).await, r#"["done"]"#);
}

async fn each_knows_the_other(cluster: &TestCluster<2>) {
    for node in &cluster.nodes {
        eventually("the nodes know each other", || {
            node.server.ingress().peers().len() == 1
        })
        .await;
    }
}

#[actix_rt::test]
async fn the_connections_of_a_user_of_the_backend_are_limited_on_all_nodes() {
    let backend = identifying();
    let cluster = two_nodes(&backend, &[("LIMITS__CONNECTIONS_PER_USER", "2")]).await;
    each_knows_the_other(&cluster).await;
    let [first, second] = &cluster.nodes;
    let here = client(first, "ada").await;
    let mut there = client(second, "ada").await;
    assert_eq!(first.rejected(ADA).await, TOO_MANY);
    // The backend has accepted the socket, so it is notified.
    let gone = &backend.await_calls("disconnect", 1).await[0];
    assert_eq!(gone.data("reason"), "connect failed");
    assert_eq!(gone.data("user"), "ada");
    client(first, "bob").await;
    // A user that an event establishes.
    let mut later = second.member().await;
    later.send(r#"420["log-in","ada"]"#).await;
    // The other node is queried, so the ack comes first.
    let rejected = r#"42["roomwire:user_rejected",{"code":"too_many_connections_of_user","message":"Too many connections of this user"}]"#;
    while later.text().await != rejected {}
    later.expect("41").await;
    assert_eq!(there.ask(r#"["again","ada"]"#).await, r#"["in"]"#);
    drop(here);
    first.sessions(0).await;
    let mut later = second.member().await;
    assert_eq!(later.ask(r#"["log-in","ada"]"#).await, r#"["in"]"#);
    // Admitted, and counted from then on.
    assert_eq!(second.rejected(ADA).await, TOO_MANY);
    assert_eq!(later.ask(r#"["log-in","ada"]"#).await, r#"["in"]"#);
}

#[actix_rt::test]
async fn the_oldest_session_of_a_user_of_the_backend_remains() {
    let backend = identifying();
    let cluster = two_nodes(&backend, &[("AUTH__SESSIONS_PER_USER", "oldest")]).await;
    let [first, second] = &cluster.nodes;
    let mut oldest = client(first, "ada").await;
    for node in [first, second] {
        assert_eq!(node.rejected(ADA).await, EXISTS);
    }
    let conflicts = &second.metrics().user_session_conflicts_total;
    assert_eq!(conflicts.of(SessionConflict::Rejected).get(), 1);
    let mut later = second.member().await;
    later.send(r#"420["log-in","ada"]"#).await;
    let rejected = r#"42["roomwire:user_rejected",{"code":"session_exists","message":"this user has a session already"}]"#;
    while later.text().await != rejected {}
    later.expect("41").await;
    // The same user again, and another one: the session of the former user ends with that.
    assert_eq!(oldest.ask(r#"["again","ada"]"#).await, r#"["in"]"#);
    assert_eq!(first.rejected(ADA).await, EXISTS);
    assert_eq!(oldest.ask(r#"["change","bob"]"#).await, r#"["in"]"#);
    within_deadline("ada has no session", async {
        while first.rejected(ADA).await == EXISTS {}
    })
    .await;
    let bob = second.rejected(r#"{"user":"bob"}"#).await;
    assert_eq!(bob, EXISTS);
}

#[actix_rt::test]
async fn a_user_whom_a_token_and_the_backend_identify_is_admitted_once() {
    let backend = identifying();
    let url = backend.url();
    let settings = [
        tokens::SETTING,
        ("APP__KIND", "webhook"),
        ("WEBHOOK__URL", &*url),
        ("AUTH__SESSIONS_PER_USER", "oldest"),
        ("LIMITS__CONNECTIONS_PER_USER", "1"),
    ];
    let node = TestServer::with(&settings).await;
    let auth = |user: &str| json!({"user": user, "token": tokens::token(json!({}))}).to_string();
    // The token is that of anna, and so is the response.
    let mut anna = node.authenticated(&auth("anna")).await;
    assert_eq!(node.rejected(&auth("anna")).await, TOO_MANY);
    assert_eq!(anna.ask(r#"["again","anna"]"#).await, r#"["in"]"#);
    drop(anna);
    node.sessions(0).await;
    // Another user of the backend takes the place of the one of the token.
    let mut bob = node.authenticated(&auth("bob")).await;
    node.authenticated(&auth("anna")).await;
    assert_eq!(bob.ask(r#"["again","bob"]"#).await, r#"["in"]"#);
}
