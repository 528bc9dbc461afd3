//! Presence over a real Redis: nodes are killed, and Redis loses its data.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::WebsocketClient;
use crate::support::process::Node;
use crate::support::redis::RedisServer;
use crate::support::server::write_file;

const ROOMS: &str = r#"
    app.relay.members = "members"
    [[presence.rooms]]
    pattern = "r"
    leave_delay = "500ms"
"#;

fn start(redis: &RedisServer) -> (Node, String) {
    let file = write_file("presence.toml", ROOMS);
    let node = Node::start(&[
        ("ROOMWIRE_CONFIG", file.to_str().unwrap()),
        ("ROOMWIRE_BUS__REDIS_URL", &redis.url()),
        ("ROOMWIRE_BUS__LEASE", "6s"),
    ]);
    node.start_line("redis is connected");
    let address = node.address("listening on http://");
    (node, address)
}

async fn member(address: &str) -> WebsocketClient {
    let mut client = WebsocketClient::open(address).await;
    client.connect("/").await;
    client.join("r").await;
    // After this, Redis has the user.
    assert!(users(&mut client).await.contains(&client.socket));
    client
}

/// The name of the next event and its user. It may take a lease.
async fn event(client: &mut WebsocketClient) -> (String, String) {
    let text = client.text().await;
    let event: Value = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event[0]), text(&event[1]["user"]))
}

async fn users(client: &mut WebsocketClient) -> Vec<String> {
    let ack: Value =
        serde_json::from_str(&client.ask(r#"["roomwire:members","r"]"#).await).unwrap();
    let users = ack[0]["users"].as_array().unwrap().iter();
    users
        .map(|user| user["user"].as_str().unwrap().to_owned())
        .collect()
}

fn sorted(clients: &[&WebsocketClient]) -> Vec<String> {
    let mut names: Vec<String> = clients.iter().map(|client| client.socket.clone()).collect();
    names.sort();
    names
}

#[actix_rt::test]
async fn users_of_a_killed_node_leave_once_and_no_ghost_remains() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let [(lost, address), (_node, elsewhere)] = [0; 2].map(|_| start(&redis));
    let mut b = member(&elsewhere).await;
    let a = member(&address).await;
    assert_eq!(
        event(&mut b).await,
        ("presence:join".to_owned(), a.socket.clone())
    );
    let c = member(&address).await;
    assert_eq!(
        event(&mut b).await,
        ("presence:join".to_owned(), c.socket.clone())
    );
    assert_eq!(users(&mut b).await, sorted(&[&a, &b, &c]));
    lost.signal("KILL");
    let mut left = vec![event(&mut b).await, event(&mut b).await];
    left.sort();
    let expected = sorted(&[&a, &c]);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|user| ("presence:leave".to_owned(), user))
        .collect();
    assert_eq!(left, expected);
    assert_eq!(users(&mut b).await, sorted(&[&b]));
    // A node that is drained leaves its departures to others.
    let (drained, address) = start(&redis);
    let d = member(&address).await;
    assert_eq!(
        event(&mut b).await,
        ("presence:join".to_owned(), d.socket.clone())
    );
    drained.signal("TERM");
    assert_eq!(
        event(&mut b).await,
        ("presence:leave".to_owned(), d.socket.clone())
    );
    actix_rt::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(users(&mut b).await, sorted(&[&b]));
}

#[actix_rt::test]
async fn nodes_enter_their_users_quietly_after_redis_has_lost_its_data() {
    let Some(mut redis) = RedisServer::start(&[]) else {
        return;
    };
    let [(_first, address), (_second, elsewhere)] = [0; 2].map(|_| start(&redis));
    let (mut a, mut b) = (member(&address).await, member(&elsewhere).await);
    assert_eq!(
        event(&mut a).await,
        ("presence:join".to_owned(), b.socket.clone())
    );
    let c = member(&elsewhere).await;
    for client in [&mut a, &mut b] {
        assert_eq!(
            event(client).await,
            ("presence:join".to_owned(), c.socket.clone())
        );
    }
    redis.stop();
    // One user leaves, one comes.
    let gone = c.socket.clone();
    drop(c);
    let mut d = WebsocketClient::open(&elsewhere).await;
    d.connect("/").await;
    let joined: Value = serde_json::from_str(&d.ask(r#"["roomwire:join","r"]"#).await).unwrap();
    assert_eq!(joined[0]["ok"], json!(true));
    actix_rt::time::sleep(Duration::from_secs(1)).await;
    redis.run();
    let mut events = vec![event(&mut b).await, event(&mut b).await];
    events.sort();
    let join = ("presence:join".to_owned(), d.socket.clone());
    let leave = ("presence:leave".to_owned(), gone);
    assert_eq!(events, [join, leave]);
    // No other event follows.
    actix_rt::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(users(&mut b).await, sorted(&[&a, &b, &d]));
}
