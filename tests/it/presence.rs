//! Presence on clusters in memory: who is in a room, by user, and the events about it.

use std::time::Duration;

use roomwire::bus::memory::Hub;
use roomwire::metrics::labels::Origin;
use roomwire::model::{Command, Emit, Payload};
use serde_json::{Value, json};

use crate::support::api::{self, WITH_API};
use crate::support::cluster::room;
use crate::support::server::config_with_file;
use crate::support::user_gate::users;
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually, within_deadline};

const MEMBERS: [(&str, &str); 1] = [("APP__RELAY__MEMBERS", "anyone")];
const ROOMS: &str = r#"
    [[presence.rooms]]
    pattern = "team:*"
    leave_delay = "6s"
    data = "32B"
    [[presence.rooms]]
    pattern = "hall"
    max_members = 2
    leave_delay = "0s"
"#;

async fn cluster() -> TestCluster<2> {
    let config = config_with_file(&MEMBERS, Some(ROOMS));
    TestCluster::extended(&config, Hub::default(), &users()).await
}

/// The next event, without its version.
async fn event(client: &mut WebsocketClient) -> Value {
    let text = client.text().await;
    let mut event: Value = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    let version = event[1].as_object_mut().unwrap().remove("version");
    assert!(version.unwrap().as_u64().unwrap() > 1_700_000_000_000_000);
    event
}

async fn request(client: &mut WebsocketClient, request: &Value) -> Value {
    let ack: Value = serde_json::from_str(&client.ask(&request.to_string()).await).unwrap();
    ack[0].clone()
}

async fn members(client: &mut WebsocketClient, room: &str, options: Value) -> Value {
    let mut ack = request(client, &json!(["roomwire:members", room, options])).await;
    ack.as_object_mut().unwrap().remove("version");
    ack
}

/// Waits until the worker of a client has handled all events that were dispatched before.
async fn handled(node: &TestServer, client: &mut WebsocketClient) {
    let emit = Emit {
        to: room(&client.socket),
        payload: Payload::text(r#"["handled"]"#),
        volatile: false,
        ack: None,
        conflate: None,
    };
    let ingress = node.server.ingress();
    ingress.dispatch(Command::Emit(emit), Origin::Local);
    client.expect(r#"42["handled"]"#).await;
}

#[actix_rt::test]
async fn members_learn_of_the_first_and_the_last_socket_of_a_user_and_of_its_data() {
    let cluster = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut bob = first.user("bob").await;
    bob.join("team:1").await;
    assert_eq!(members(&mut bob, "team:1", json!({})).await["count"], 1);
    let mut phone = second.user("alice").await;
    phone.join("team:1").await;
    let joined = json!(["presence:join", {"room": "team:1", "user": "alice"}]);
    assert_eq!(event(&mut bob).await, joined);
    let mut desktop = first.user("alice").await;
    desktop.join("team:1").await;
    let set = json!(["roomwire:presence", "team:1", {"status": "away"}]);
    assert_eq!(request(&mut phone, &set).await["ok"], true);
    let about = json!({"room": "team:1", "user": "alice", "data": {"status": "away"}});
    let updated = json!(["presence:update", about]);
    for client in [&mut bob, &mut phone, &mut desktop] {
        assert_eq!(event(client).await, updated);
    }
    let alice = json!({"user": "alice", "data": {"status": "away"}});
    let all = json!({"ok": true, "room": "team:1", "count": 2, "users": [alice, {"user": "bob"}]});
    for client in [&mut bob, &mut phone] {
        assert_eq!(members(client, "team:1", json!({})).await, all);
    }
    let page = members(&mut bob, "team:1", json!({"limit": 1})).await;
    assert_eq!(
        (&page["users"], &page["next"]),
        (&json!([alice]), &json!("alice"))
    );
    let page = members(&mut bob, "team:1", json!({"limit": 9, "after": "alice"})).await;
    assert_eq!(page["users"], json!([{"user": "bob"}]));
    // One of two sockets, then a reconnect to the other node: nobody is gone.
    drop(desktop);
    drop(phone);
    second.sessions(0).await;
    let mut phone = first.user("alice").await;
    phone.join("team:1").await;
    // Longer than the delay.
    tokio::time::sleep(Duration::from_millis(6600)).await;
    bob.quiet().await;
    phone.send(r#"42["roomwire:leave","team:1"]"#).await;
    let left = json!(["presence:leave", {"room": "team:1", "user": "alice"}]);
    assert_eq!(event(&mut bob).await, left);
    bob.quiet().await;
    let alone = members(&mut bob, "team:1", json!({})).await;
    assert_eq!(alone["users"], json!([{"user": "bob"}]));
    eventually("an empty table", || {
        second.metrics().presence_members.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_large_room_has_counts_at_intervals_instead_of_events_about_users() {
    const CLIENTS: usize = 60;
    let cluster = cluster().await;
    let mut bob = cluster.nodes[0].user("bob").await;
    bob.join("hall").await;
    assert_eq!(members(&mut bob, "hall", json!({})).await["count"], 1);
    let start = std::time::Instant::now();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = cluster.nodes[number % 2].user(&format!("u{number}")).await;
        client.send(r#"42["roomwire:join","hall"]"#).await;
        clients.push(client);
    }
    let first = json!(["presence:join", {"room": "hall", "user": "u0"}]);
    assert_eq!(event(&mut bob).await, first);
    let mut counts = 0;
    loop {
        let counted = event(&mut bob).await;
        assert_eq!(counted[0], "presence:count", "{counted}");
        counts += 1;
        if counted[1] == json!({"room": "hall", "count": CLIENTS + 1}) {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs() + 1;
    assert!(counts <= elapsed, "{counts} counts in {elapsed} s");
    let page = members(&mut bob, "hall", json!({"limit": 0})).await;
    assert_eq!(page["count"], CLIENTS + 1);
    drop(clients);
    while event(&mut bob).await != json!(["presence:count", {"room": "hall", "count": 1}]) {}
}

#[actix_rt::test]
async fn one_node_without_redis_has_presence_of_sockets_without_a_user() {
    let node = TestServer::configured(config_with_file(&MEMBERS, Some(ROOMS)), None).await;
    let (mut a, mut b) = (node.member().await, node.member().await);
    a.join("team:1").await;
    // After this, the store has the user.
    assert_eq!(members(&mut a, "team:1", json!({})).await["count"], 1);
    // The worker of `b` may have to handle the event about `a` still, which only members receive.
    handled(&node, &mut b).await;
    b.join("team:1").await;
    b.join("other").await;
    let joined = json!(["presence:join", {"room": "team:1", "user": b.socket}]);
    assert_eq!(event(&mut a).await, joined);
    for (request_of_b, code) in [
        (
            json!(["roomwire:presence", "other", 1]),
            "presence_forbidden",
        ),
        (
            json!(["roomwire:presence", "team:2", 1]),
            "presence_forbidden",
        ),
        (
            json!(["roomwire:presence", "team:1", "x".repeat(31)]),
            "bad_request",
        ),
        (
            json!(["roomwire:members", "other", {"after": "a"}]),
            "bad_request",
        ),
    ] {
        let response = request(&mut b, &request_of_b).await;
        assert_eq!(response["error"]["code"], code, "{request_of_b}");
    }
    let socket = b.socket.clone();
    drop(b);
    let left = json!(["presence:leave", {"room": "team:1", "user": socket}]);
    assert_eq!(event(&mut a).await, left);
}

#[actix_rt::test]
async fn backends_read_the_users_of_a_room_by_pages() {
    let settings = [&MEMBERS[..], &WITH_API].concat();
    let config = config_with_file(&settings, Some(ROOMS));
    let node = TestServer::extended(config, None, users()).await;
    let mut clients = Vec::new();
    for name in ["c", "a", "b"] {
        let mut client = node.user(name).await;
        client.send(r#"42["roomwire:join","team:1"]"#).await;
        clients.push(client);
    }
    let set = r#"42["roomwire:presence","team:1",{"x":1}]"#;
    clients[1].send(set).await;
    let first = json!([{"user": "a", "data": {"x": 1}}, {"user": "b"}]);
    let mut answer = Value::Null;
    within_deadline("all users", async {
        while answer["total"] != 3 || answer["members"] != first {
            answer = api::request(&node, "members", r#"{"room":"team:1","limit":2}"#).await;
        }
    })
    .await;
    assert_eq!(
        (&answer["next"], &answer["missing"]),
        (&json!("b"), &json!([]))
    );
    let rest = r#"{"room":"team:1","after":"b"}"#;
    let rest = api::request(&node, "members", rest).await;
    assert_eq!(rest["members"], json!([{"user": "c"}]));
    assert_eq!((&rest["total"], &rest["next"]), (&json!(3), &Value::Null));
}
