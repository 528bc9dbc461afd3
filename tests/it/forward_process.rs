//! Nodes that stop or die while other nodes forward requests to them, as processes with a real Redis.

use std::time::{Duration, Instant};

use crate::support::process::Node;
use crate::support::redis::RedisServer;
use crate::support::{PollingClient, WebsocketClient, within_deadline};

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);

/// Two nodes on one Redis, and their addresses.
fn nodes(redis: &RedisServer) -> [(Node, String); 2] {
    let url = redis.url();
    [0, 1].map(|_| {
        let node = Node::start(&[("ROOMWIRE_BUS__REDIS_URL", &url)]);
        node.start_line("redis is connected");
        let address = node.address("listening on http://");
        (node, address)
    })
}

#[actix_rt::test]
async fn requests_to_a_stopped_owner_time_out_as_documented() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let [(owner, first), (_edge, second)] = nodes(&redis);
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = PollingClient::open(&first).await;
        client.turn_to(&second);
        client.connect().await;
        clients.push(client);
    }
    // Pending and acknowledged by then: a poll, and a websocket.
    let mut websocket = WebsocketClient::upgraded(&second, &clients[3].sid).await;
    websocket.quiet().await;
    clients[4].join("r").await;
    let mut sender = WebsocketClient::open(&second).await;
    sender.connect("/").await;
    let (early, ()) = tokio::join!(clients[4].get(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.signal("STOP");
    });
    assert_eq!(early.summary(), UNKNOWN);
    websocket.rest().await;
    let start = Instant::now();
    let target = format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        clients[2].sid
    );
    let (poll, post, upgrade) = within_deadline("all responses", async {
        tokio::join!(
            clients[0].get(),
            clients[1].post("41"),
            WebsocketClient::handshake(&second, &target, &[], false),
        )
    })
    .await;
    // `bus.forward_timeout` is 5 s; a ping cycle is 45 s.
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(4), "{waited:?}");
    assert!(waited < Duration::from_secs(40), "{waited:?}");
    assert_eq!(poll.summary(), UNKNOWN);
    assert_eq!(post.summary(), UNKNOWN);
    assert_eq!(
        upgrade.err().unwrap().summary(),
        (400, "Session ID unknown")
    );
    owner.signal("CONT");
}

#[actix_rt::test]
async fn a_poll_may_wait_longer_than_its_acknowledgement() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let url = redis.url();
    let [first, second] = [0, 1].map(|_| {
        let node = Node::start(&[
            ("ROOMWIRE_BUS__REDIS_URL", &url),
            // Far above the time for which a machine stalls.
            ("ROOMWIRE_BUS__FORWARD_TIMEOUT", "6s"),
        ]);
        node.start_line("redis is connected");
        let address = node.address("listening on http://");
        (node, address)
    });
    let mut client = PollingClient::open(&first.1).await;
    client.turn_to(&second.1);
    client.connect().await;
    client.join("r").await;
    let mut sender = WebsocketClient::open(&first.1).await;
    sender.connect("/").await;
    let (response, ()) = tokio::join!(client.get(), async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        sender.emit("r", r#""late""#).await;
    });
    assert_eq!(response.summary(), (200, r#"42["late"]"#));
}

#[actix_rt::test]
async fn an_owner_ends_the_sessions_whose_websockets_a_dead_node_held() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let [(owner, first), (edge, second)] = nodes(&redis);
    let mut client = PollingClient::open(&first).await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&second, &client.sid).await;
    websocket.quiet().await;
    let start = Instant::now();
    edge.signal("KILL");
    let line = owner.line(&format!("session closed sid={}", &client.sid[..10]));
    let noticed = start.elapsed();
    assert!(line.contains("transport close"), "{line}");
    assert!(noticed < Duration::from_secs(20), "{noticed:?}");
}
