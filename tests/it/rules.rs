//! Room rules that depend on who the client is, on two nodes, with clients that a gate identifies by a header.

use std::time::Duration;

use roomwire::bus::memory::Hub;
use serde_json::{Value, json};

use crate::support::identity::{identified, member_with, reply};
use crate::support::server::config_with_file;
use crate::support::{TestCluster, WebsocketClient};

const RULES: &str = r#"
[app.relay]
join = "nobody"
publish = "nobody"

[[app.relay.rooms]]
pattern = "own:{user}"
join = "users"
publish = "anyone"

[[app.relay.rooms]]
pattern = "team:{claim.teams}:*"
join = "users"
publish = "members"
ask = "nobody"
members = "members"
events = ["message", "typing*"]

[[app.relay.rooms]]
pattern = "staff"
join = "claim.role = admin | claim.teams contains staff"
publish = "claim.role = admin"
members = "claim.role = admin"

[[app.relay.rooms]]
pattern = "small"
join = "users"
members = "anyone"
max_members = 2

[[app.relay.rooms]]
pattern = "slow"
join = "anyone"
publish = "anyone"
events_per_second = 1
events_burst = 2
"#;

async fn cluster() -> TestCluster<2> {
    let config = config_with_file(&[], Some(RULES));
    TestCluster::extended(&config, Hub::default(), &identified()).await
}

/// A client of one node with these claims.
async fn client(cluster: &TestCluster<2>, node: usize, claims: &Value) -> WebsocketClient {
    member_with(&cluster.nodes[node], claims).await
}

/// The code of the error in the ack of a request, or `ok`.
async fn result(client: &mut WebsocketClient, request: &str) -> String {
    let ack = reply(client, request).await;
    ack["error"]["code"].as_str().unwrap_or("ok").to_owned()
}

#[actix_rt::test]
async fn rules_decide_by_user_claim_membership_and_grant() {
    let cluster = cluster().await;
    let anna = json!({"user": "anna", "teams": ["red", "staff"]});
    let bert = json!({"user": "bert", "role": "admin", "teams": "*", "can": ["extra:*"]});
    let mut anna = client(&cluster, 0, &anna).await;
    let mut bert = client(&cluster, 1, &bert).await;
    let mut nobody = cluster.nodes[0].member().await;
    // Each line: what anna, bert and a client without identity receive.
    for (request, expected) in [
        (
            r#"["roomwire:join","own:anna"]"#,
            ["ok", "join_forbidden", "join_forbidden"],
        ),
        (
            r#"["roomwire:join","own:bert"]"#,
            ["join_forbidden", "ok", "join_forbidden"],
        ),
        (
            r#"["roomwire:emit","own:anna","hi"]"#,
            ["ok", "publish_forbidden", "publish_forbidden"],
        ),
        (
            r#"["roomwire:join","team:red:1"]"#,
            ["ok", "join_forbidden", "join_forbidden"],
        ),
        (
            r#"["roomwire:join","team:*:1"]"#,
            ["join_forbidden", "ok", "join_forbidden"],
        ),
        (
            r#"["roomwire:emit","team:red:1","message"]"#,
            ["ok", "publish_forbidden", "publish_forbidden"],
        ),
        (
            r#"["roomwire:emit","team:red:1","typing:start"]"#,
            ["ok", "publish_forbidden", "publish_forbidden"],
        ),
        (
            r#"["roomwire:emit","team:red:1","delete"]"#,
            ["event_forbidden", "publish_forbidden", "publish_forbidden"],
        ),
        (
            r#"["roomwire:emit","team:red:2","message"]"#,
            ["publish_forbidden"; 3],
        ),
        (
            r#"["roomwire:ask","team:red:1","message"]"#,
            ["publish_forbidden"; 3],
        ),
        (
            r#"["roomwire:members","team:red:1"]"#,
            ["ok", "members_forbidden", "members_forbidden"],
        ),
        (
            r#"["roomwire:join","staff"]"#,
            ["ok", "ok", "join_forbidden"],
        ),
        (
            r#"["roomwire:emit","staff","e"]"#,
            ["publish_forbidden", "ok", "publish_forbidden"],
        ),
        (
            r#"["roomwire:join","extra:1"]"#,
            ["join_forbidden", "ok", "join_forbidden"],
        ),
        (
            r#"["roomwire:emit","extra:2","e"]"#,
            ["publish_forbidden", "ok", "publish_forbidden"],
        ),
        (
            r#"["roomwire:members","extra:1"]"#,
            ["members_forbidden"; 3],
        ),
    ] {
        for (client, expected) in [&mut anna, &mut bert, &mut nobody]
            .into_iter()
            .zip(expected)
        {
            assert_eq!(result(client, request).await, expected, "{request}");
        }
    }
}

#[actix_rt::test]
async fn members_of_all_nodes_are_counted_and_listed() {
    let cluster = cluster().await;
    let admin = json!({"user": "a", "role": "admin"});
    let mut first = client(&cluster, 0, &admin).await;
    let mut second = client(&cluster, 1, &admin).await;
    for client in [&mut first, &mut second] {
        client.join("staff").await;
    }
    let mut expected = [first.socket.clone(), second.socket.clone()];
    expected.sort();
    let response = reply(&mut first, r#"["roomwire:members","staff"]"#).await;
    let mut members: Vec<_> = response["members"].as_array().unwrap().to_vec();
    members.sort_by_key(Value::to_string);
    assert_eq!(members, expected);
    assert_eq!(response["count"], 2);
    assert_eq!(response.get("missing"), None);
    let counted = second
        .ask(r#"["roomwire:members","staff",{"limit":0}]"#)
        .await;
    assert_eq!(
        counted,
        r#"[{"count":2,"members":[],"ok":true,"room":"staff"}]"#
    );
    for options in ["7", r#"{"limit":1001}"#, r#"{"limits":1}"#] {
        let request = format!(r#"["roomwire:members","staff",{options}]"#);
        assert_eq!(
            result(&mut first, &request).await,
            "bad_request",
            "{options}"
        );
    }
}

#[actix_rt::test]
async fn a_room_with_a_limit_admits_members_of_all_nodes_up_to_it() {
    let cluster = cluster().await;
    let user = json!({"user": "a"});
    let mut clients = [
        client(&cluster, 0, &user).await,
        client(&cluster, 1, &user).await,
        client(&cluster, 0, &user).await,
    ];
    let join = r#"["roomwire:join","small"]"#;
    let expected = ["ok", "ok", "room_full"];
    for (client, expected) in clients.iter_mut().zip(expected) {
        assert_eq!(result(client, join).await, expected);
    }
    // A member is not counted again.
    assert_eq!(result(&mut clients[0], join).await, "ok");
    clients[1].ask(r#"["roomwire:leave","small"]"#).await;
    assert_eq!(result(&mut clients[2], join).await, "ok");
    assert_eq!(cluster.nodes[0].metrics().relay_rejected_total.get(), 1);
}

#[actix_rt::test]
async fn events_to_a_room_above_its_rate_are_rejected_with_the_time_to_wait() {
    let cluster = cluster().await;
    let mut sender = cluster.nodes[0].member().await;
    let mut other = cluster.nodes[0].member().await;
    let emit = r#"["roomwire:emit","slow","e"]"#;
    assert_eq!(result(&mut sender, emit).await, "ok");
    assert_eq!(result(&mut other, emit).await, "ok");
    // On a busy machine further ones may be in time.
    let response = loop {
        let response = reply(&mut sender, emit).await;
        if response["ok"] != true {
            break response;
        }
    };
    let error = &response["error"];
    assert_eq!(error["code"], "too_many_events");
    let wait = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=1000).contains(&wait), "{error}");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(result(&mut sender, emit).await, "ok");
}
