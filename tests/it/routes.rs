//! Several apps in one node, chosen by namespace.

use crate::support::TestServer;
use crate::support::http::Request;
use crate::support::server::config_with_file;

const NAMESPACES: (&str, &str) = ("SOCKET__NAMESPACES", "/,/chat,/legacy-*");
const ROUTES: &str = r#"
[[app.routes]]
namespace = "/chat"
app = "relay"

[[app.routes]]
namespace = "/legacy-*"
app = "upstream"
"#;

/// A node that echoes in `/`, relays in `/chat` and connects `/legacy-*` to `behind`.
async fn routed(behind: &TestServer) -> TestServer {
    let url = format!("http://{}", behind.server.address());
    let settings = [
        ("APP__KIND", "echo"),
        ("APP__UPSTREAM__URLS", &*url),
        NAMESPACES,
    ];
    TestServer::configured(config_with_file(&settings, Some(ROUTES)), None).await
}

#[actix_rt::test]
async fn one_connection_has_a_relay_an_upstream_and_an_echo_by_namespace() {
    let behind = TestServer::with(&[("APP__KIND", "echo"), NAMESPACES]).await;
    let node = routed(&behind).await;
    let mut client = node.websocket().await;
    client.connect("/").await;
    client.expect(r#"42["auth",{}]"#).await;
    client.connect("/chat").await;
    client.connect("/legacy-1").await;
    client.expect(r#"42/legacy-1,["auth",{}]"#).await;

    client.send(r#"42["message",1]"#).await;
    client.expect(r#"42["message-back",1]"#).await;
    client.send(r#"42/chat,1["roomwire:join","lobby"]"#).await;
    let joined = client.text().await;
    assert!(
        joined.starts_with("43/chat,1[{") && joined.contains(r#""ok":true"#),
        "{joined}"
    );
    assert_eq!(
        node.metrics().upstream_connections.get(),
        1,
        "of /legacy-1 alone"
    );
    client
        .send(r#"42/legacy-1,2["message-with-ack","there"]"#)
        .await;
    client.expect(r#"43/legacy-1,2["there"]"#).await;
    // The relay has no such event, and the upstream has no rooms.
    client.send(r#"42/chat,3["message",1]"#).await;
    let rejected = client.text().await;
    assert!(rejected.contains("unknown_event"), "{rejected}");
}

#[actix_rt::test]
async fn members_of_a_routed_namespace_receive_each_other() {
    let behind = TestServer::with(&[("APP__KIND", "echo"), NAMESPACES]).await;
    let node = routed(&behind).await;
    let (mut ann, mut ben) = (node.websocket().await, node.websocket().await);
    for client in [&mut ann, &mut ben] {
        client.connect("/chat").await;
        client.send(r#"42/chat,1["roomwire:join","lobby"]"#).await;
        client.text().await;
    }
    ann.send(r#"42/chat,2["roomwire:emit","lobby","message","hi"]"#)
        .await;
    ben.expect(r#"42/chat,["message","hi"]"#).await;
}

#[actix_rt::test]
async fn requests_that_come_back_from_an_upstream_of_a_route_are_a_loop() {
    let behind = TestServer::with(&[("APP__KIND", "echo"), NAMESPACES]).await;
    let node = routed(&behind).await;
    let mark = format!("roomwire:0/{}", node.node());
    let request = Request::get("/socket.io/?EIO=4&transport=polling");
    let response = node
        .send(request.headers(&[("x-roomwire-via", &mark)]))
        .await;
    assert_eq!(response.status, 508, "{}", response.text());
}

#[actix_rt::test]
async fn routes_to_the_app_upstream_share_its_limits() {
    let namespaces = ("SOCKET__NAMESPACES", "/,/a,/b");
    let behind = TestServer::with(&[("APP__KIND", "echo"), namespaces]).await;
    let url = format!("http://{}", behind.server.address());
    let settings = [
        ("APP__UPSTREAM__URLS", &*url),
        ("APP__UPSTREAM__MAX_CONNECTIONS", "1"),
        namespaces,
    ];
    let routes = ["/a", "/b"].map(|namespace| {
        format!("[[app.routes]]\nnamespace = \"{namespace}\"\napp = \"upstream\"\n")
    });
    let config = config_with_file(&settings, Some(&routes.concat()));
    let node = TestServer::configured(config, None).await;
    let mut client = node.websocket().await;
    client.connect("/a").await;
    client.expect(r#"42/a,["auth",{}]"#).await;
    client.send("40/b,").await;
    let rejected = client.text().await;
    assert!(rejected.starts_with("44/b,"), "{rejected}");
}
