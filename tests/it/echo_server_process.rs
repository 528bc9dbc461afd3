//! The app for Laravel Echo over a real Redis, with nodes that are killed.

use serde_json::{Value, json};

use crate::support::backend::{Reply, TestBackend};
use crate::support::process::Node;
use crate::support::redis::RedisServer;
use crate::support::{WebsocketClient, eventually};

/// Every client is the user of its cookie.
fn laravel() -> TestBackend {
    TestBackend::start(|call| {
        let user = call.header("cookie").unwrap_or_default();
        let data = json!({"user_id": user, "user_info": {"is": user}});
        Reply::Json(json!({"channel_data": data}))
    })
}

fn start(redis: &RedisServer, backend: &TestBackend) -> (Node, String) {
    let node = Node::start(&[
        ("ROOMWIRE_BUS__REDIS_URL", &redis.url()),
        ("ROOMWIRE_BUS__LEASE", "6s"),
        ("ROOMWIRE_APP__KIND", "echo_server"),
        ("ROOMWIRE_APP__ECHO_SERVER__AUTH_HOSTS", &backend.origin()),
        ("ROOMWIRE_APP__ECHO_SERVER__LEAVE_DELAY", "500ms"),
        ("ROOMWIRE_APP__ECHO_SERVER__EMIT_RECONNECT", "false"),
    ]);
    node.start_line("redis is connected");
    let address = node.address("listening on http://");
    (node, address)
}

async fn member(address: &str, user: &str) -> (WebsocketClient, Value) {
    let mut client = WebsocketClient::open_with(address, &[("Cookie", user)]).await;
    client.connect("/").await;
    let request = json!(["subscribe", {"channel": "presence-r", "auth": {}}]);
    client.send(&format!("42{request}")).await;
    let subscribed = event(&mut client).await;
    assert_eq!(subscribed[0], "presence:subscribed");
    (client, subscribed[2].clone())
}

async fn event(client: &mut WebsocketClient) -> Value {
    let text = client.text().await;
    serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap()
}

fn data(user: &str) -> Value {
    json!({"user_id": user, "user_info": {"is": user}})
}

#[actix_rt::test]
async fn users_of_a_killed_node_leave_once_and_no_ghost_remains() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let backend = laravel();
    let [(lost, address), (_node, elsewhere)] = [0; 2].map(|_| start(&redis, &backend));
    let (mut bob, members) = member(&elsewhere, "bob").await;
    assert_eq!(members, json!([data("bob")]));
    let (_ada, members) = member(&address, "ada").await;
    assert_eq!(members, json!([data("ada"), data("bob")]));
    assert_eq!(
        event(&mut bob).await,
        json!(["presence:joining", "presence-r", data("ada")])
    );
    // The user has a socket on the other node as well.
    let (_desktop, _) = member(&address, "bob").await;
    lost.signal("KILL");
    assert_eq!(
        event(&mut bob).await,
        json!(["presence:leaving", "presence-r", data("ada")])
    );
    let (_carl, members) = member(&elsewhere, "carl").await;
    assert_eq!(members, json!([data("bob"), data("carl")]));
    assert_eq!(
        event(&mut bob).await,
        json!(["presence:joining", "presence-r", data("carl")])
    );
}

#[actix_rt::test]
async fn broadcasts_of_laravel_reach_the_subscribers_of_all_nodes_but_the_sender() {
    /// One command for all channels of an event, as Laravel sends it.
    const PUBLISH: &str = "for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end";
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let backend = laravel();
    let [(_first, address), (_second, elsewhere)] = [0; 2].map(|_| start(&redis, &backend));
    let (mut ada, _) = member(&address, "ada").await;
    let (mut bob, _) = member(&elsewhere, "bob").await;
    let joining = json!(["presence:joining", "presence-r", data("bob")]);
    assert_eq!(event(&mut ada).await, joining);
    bob.send(r#"42["subscribe",{"channel":"orders"}]"#).await;
    let publish = |socket: &str| {
        // The data contains the socket as well, which is a quirk of the framework.
        let data = r#"{"order":{"id":7,"total":1.50},"socket":null}"#;
        let message =
            format!(r#"{{"event":"App\\Events\\Shipped","data":{data},"socket":{socket}}}"#);
        let channels = ["laravel-database-presence-r", "laravel-database-orders"];
        let arguments = [&["EVAL", PUBLISH, "0", &message], &channels[..]].concat();
        redis.query::<()>(&arguments);
    };
    let received = |channel: &str| {
        let data = r#"{"order":{"id":7,"total":1.50},"socket":null}"#;
        format!(r#"42["App\\Events\\Shipped","{channel}",{data}]"#)
    };
    // Nothing confirms a subscription to a public channel: wait until the node receives it.
    eventually_subscribed(&redis, "laravel-database-orders").await;
    publish("null");
    ada.expect(&received("presence-r")).await;
    bob.expect(&received("presence-r")).await;
    bob.expect(&received("orders")).await;
    publish(&json!(bob.socket).to_string());
    ada.expect(&received("presence-r")).await;
    // Neither node subscribes to channels without members.
    let channels: Vec<String> = redis.query(&["PUBSUB", "CHANNELS", "laravel-database-*"]);
    assert_eq!(channels.len(), 2, "{channels:?}");
    let patterns: u64 = redis.query(&["PUBSUB", "NUMPAT"]);
    assert_eq!(patterns, 0);
    publish("null");
    bob.expect(&received("presence-r")).await;
    bob.expect(&received("orders")).await;
}

async fn eventually_subscribed(redis: &RedisServer, channel: &str) {
    eventually("a subscription", || {
        let channels: Vec<String> = redis.query(&["PUBSUB", "CHANNELS", channel]);
        !channels.is_empty()
    })
    .await;
}
