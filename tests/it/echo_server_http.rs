//! The HTTP routes of the app for Laravel Echo.

use roomwire::bus::memory::Hub;
use serde_json::{Value, json};

use crate::support::backend::{Reply, TestBackend};
use crate::support::http::{Request, Response};
use crate::support::server::config_with_file;
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually};

const KEY: &str = "0123456789abcdef";
const BEARER: [(&str, &str); 1] = [("Authorization", "Bearer 0123456789abcdef")];

/// Every client is the user of its cookie.
fn laravel() -> TestBackend {
    TestBackend::start(|call| {
        let user = call.header("cookie").unwrap_or_default();
        Reply::Json(json!({"channel_data": {"user_id": user, "user_info": {"is": user}}}))
    })
}

async fn cluster(backend: &TestBackend) -> TestCluster<2> {
    let file = format!(
        "[app]\nkind = \"echo_server\"\n[app.echo_server]\nauth_hosts = [\"{}\"]\nemit_reconnect = false\n\
         max_body = \"200B\"\n[[app.echo_server.clients]]\napp_id = \"shop\"\nkey = \"{KEY}\"\n",
        backend.origin()
    );
    let config = config_with_file(&[("SERVER__DEMO", "off")], Some(&file));
    TestCluster::configured(&config, Hub::default()).await
}

async fn member(node: &TestServer, user: &str, channel: &str) -> WebsocketClient {
    let mut client = WebsocketClient::open_with(&node.address(), &[("Cookie", user)]).await;
    client.connect("/").await;
    let request = json!(["subscribe", {"channel": channel, "auth": {}}]);
    client.send(&format!("42{request}")).await;
    if channel.starts_with("presence-") {
        assert!(
            client
                .text()
                .await
                .starts_with(r#"42["presence:subscribed""#)
        );
    }
    client
}

async fn get(node: &TestServer, route: &str) -> (u16, Value) {
    let target = format!("/apps/shop/{route}");
    let response = node.send(Request::get(&target).headers(&BEARER)).await;
    answer(&response)
}

fn answer(response: &Response) -> (u16, Value) {
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    (
        response.status,
        serde_json::from_str(response.text()).unwrap(),
    )
}

async fn post(node: &TestServer, target: &str, body: &str) -> (u16, Value) {
    answer(&node.send(Request::post(target, body.as_bytes())).await)
}

#[actix_rt::test]
async fn events_reach_the_subscribers_of_all_nodes_but_the_sender() {
    let backend = laravel();
    let cluster = cluster(&backend).await;
    let [first, second] = &cluster.nodes;
    let mut ada = member(first, "ada", "presence-room").await;
    let mut bob = member(second, "bob", "presence-room").await;
    assert!(ada.text().await.starts_with(r#"42["presence:joining""#));
    let target = format!("/apps/shop/events?auth_version=1.0&auth_key={KEY}");
    let body = json!({"name": "e", "channels": ["presence-room", "other"], "data": "{\"n\":1}"});
    let sent = post(first, &target, &body.to_string()).await;
    assert_eq!(sent, (200, json!({"message": "ok"})));
    for client in [&mut ada, &mut bob] {
        client.expect(r#"42["e","presence-room",{"n":1}]"#).await;
    }
    let body =
        json!({"name": "e", "channel": "presence-room", "data": [2], "socket_id": ada.socket});
    post(second, &target, &body.to_string()).await;
    bob.expect(r#"42["e","presence-room",[2]]"#).await;
    let last = json!({"name": "e", "channel": "presence-room", "data": "last"});
    post(second, &target, &last.to_string()).await;
    ada.expect(r#"42["e","presence-room","last"]"#).await;
}

#[actix_rt::test]
async fn wrong_requests_have_the_errors_of_laravel_echo_server() {
    let backend = laravel();
    let cluster = cluster(&backend).await;
    let node = &cluster.nodes[0];
    let good = format!("/apps/shop/events?auth_key={KEY}");
    let event = json!({"name": "e", "channel": "c", "data": 1}).to_string();
    let large = json!({"name": "e", "channel": "c", "data": "x".repeat(200)}).to_string();
    let unauthorized = (403, "Unauthorized");
    let incomplete = (400, "Event must include channel, event name and data");
    for (target, body, (status, error)) in [
        ("/apps/shop/events", &*event, unauthorized),
        (
            "/apps/shop/events?auth_key=0123456789abcdeF",
            &event,
            unauthorized,
        ),
        (
            "/apps/other/events?auth_key=0123456789abcdef",
            &event,
            unauthorized,
        ),
        (&good, "{}", incomplete),
        (&good, r#"{"name":"e","channel":"c"}"#, incomplete),
        (&good, &large, (413, "The body is too large")),
        (
            &*format!("/apps/shop/batch_events?auth_key={KEY}"),
            &event,
            (404, "Not found"),
        ),
        (
            &*format!("/apps/shop/status?auth_key={KEY}"),
            &event,
            (404, "Not found"),
        ),
    ] {
        let answer = post(node, target, body).await;
        assert_eq!(answer, (status, json!({"error": error})), "{target} {body}");
    }
    let (status, error) = post(node, &good, r#"{"name":"connect","channel":"c","data":1}"#).await;
    assert_eq!(status, 400);
    assert!(
        error["error"].as_str().unwrap().contains("reserved"),
        "{error}"
    );
    assert_eq!(post(node, &good, "{").await.0, 400);
    assert_eq!(
        get(node, "events").await,
        (404, json!({"error": "Not found"}))
    );
    let (status, error) = get(node, "channels/orders/users").await;
    let message = "User list is only possible for Presence Channels";
    assert_eq!((status, error), (400, json!({"error": message})));
    let root = node.send(Request::get("/")).await;
    assert_eq!((root.status, root.text()), (200, "OK"));
}

#[actix_rt::test]
async fn channels_and_users_are_those_of_the_cluster() {
    let backend = laravel();
    let cluster = cluster(&backend).await;
    let [first, second] = &cluster.nodes;
    let _ada = member(first, "ada", "presence-room é").await;
    let _bob = member(second, "bob", "presence-room é").await;
    let _phone = member(second, "bob", "presence-room é").await;
    let _carl = member(first, "carl", "orders").await;
    eventually("four sessions", || {
        let sessions = cluster
            .nodes
            .iter()
            .map(|node| node.metrics().sessions.get());
        sessions.sum::<i64>() == 4
    })
    .await;
    let (status, answer) = get(first, "status").await;
    assert_eq!((status, &answer["subscription_count"]), (200, &json!(4)));
    assert!(answer["uptime"].as_f64().unwrap() > 0.0, "{answer}");
    assert!(
        answer["memory_usage"]["rss"].as_u64().unwrap() > 1_000_000,
        "{answer}"
    );
    let room = json!({"subscription_count": 3, "occupied": true});
    let orders = json!({"subscription_count": 1, "occupied": true});
    let all = json!({"channels": {"presence-room é": room, "orders": orders}});
    assert_eq!(get(second, "channels").await, (200, all));
    let filtered = json!({"channels": {"presence-room é": room}});
    let route = "channels?auth_version=1&filter_by_prefix=presence-r";
    assert_eq!(get(second, route).await, (200, filtered));
    let room = json!({"subscription_count": 3, "occupied": true, "user_count": 2});
    assert_eq!(
        get(first, "channels/presence-room%20%C3%A9").await,
        (200, room)
    );
    let empty = json!({"subscription_count": 0, "occupied": false});
    assert_eq!(get(first, "channels/none").await, (200, empty));
    let user = |name: &str| json!({"id": name, "user_info": {"is": name}});
    let users = json!({"users": [user("ada"), user("bob")]});
    assert_eq!(
        get(first, "channels/presence-room%20%C3%A9/users").await,
        (200, users)
    );
}
