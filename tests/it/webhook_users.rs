//! Users that backends identify by their responses: their rights, limits and reconnects.

use serde_json::{Value, json};

use crate::support::backend::{Reply, TestBackend, accept, hooked};
use crate::support::identity::reply;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient};

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
