//! Signed rooms: joins with a token for one room, on two nodes, and what the token permits there.

use std::time::{Duration, SystemTime};

use roomwire::auth::Subject;
use roomwire::bus::memory::Hub;
use roomwire::model::{Command, Room};
use roomwire::token::Algorithm;
use serde_json::{Value, json};

use crate::support::cluster::{BusPublisher, room};
use crate::support::identity::reply;
use crate::support::server::config_with_file;
use crate::support::tokens::{self, SETTING, seconds, sign};
use crate::support::{TestCluster, WebsocketClient, eventually};

const RULES: &str = r#"
[[app.relay.rooms]]
pattern = "signed:*"
join = "token"
publish = "token | members"

[[app.relay.rooms]]
pattern = "quiet:*"
join = "nobody"
publish = "nobody"
ask = "token"
members = "token"

[[app.relay.rooms]]
pattern = "free:*"
join = "users"
publish = "token"
"#;

async fn cluster() -> TestCluster<2> {
    let config = config_with_file(&[SETTING], Some(RULES));
    TestCluster::configured(&config, Hub::default()).await
}

/// A client of one node, signed in as this user.
async fn client(cluster: &TestCluster<2>, node: usize, user: &str) -> WebsocketClient {
    let mut client = cluster.nodes[node].websocket().await;
    let token = tokens::token(json!({"sub": user}));
    client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
    let connected = client.text().await;
    let body = connected.strip_prefix("40").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    client.socket = body["sid"].as_str().unwrap().to_owned();
    client
}

fn signed(claims: &Value) -> String {
    sign(claims, Algorithm::Hs256, None)
}

/// The code of the ack of a join, or `ok`.
async fn join(client: &mut WebsocketClient, room: &str, token: &str) -> String {
    let request = format!(r#"["roomwire:join","{room}","{token}"]"#);
    code(&reply(client, &request).await)
}

fn code(ack: &Value) -> String {
    ack["error"]["code"].as_str().unwrap_or("ok").to_owned()
}

#[actix_rt::test]
async fn a_token_for_the_room_lets_its_bearer_join_on_any_node() {
    let cluster = cluster().await;
    let (mut anna, mut bert) = (
        client(&cluster, 0, "anna").await,
        client(&cluster, 1, "bert").await,
    );
    let without = reply(&mut anna, r#"["roomwire:join","signed:1"]"#).await;
    assert_eq!(code(&without), "room_token_required");
    let null = reply(&mut anna, r#"["roomwire:join","signed:1",null]"#).await;
    assert_eq!(code(&null), "room_token_required");
    let number = reply(&mut anna, r#"["roomwire:join","signed:1",7]"#).await;
    assert_eq!(code(&number), "bad_request");
    let bearer = signed(&json!({"room": "signed:1", "exp": seconds(60)}));
    for client in [&mut anna, &mut bert] {
        assert_eq!(join(client, "signed:1", &bearer).await, "ok");
    }
    anna.emit("signed:1", r#""hi""#).await;
    bert.expect(r#"42["hi"]"#).await;
    // A rule that lets nobody join is no obstacle either: the backend has signed.
    let quiet = signed(&json!({"room": "quiet:1", "exp": seconds(60)}));
    assert_eq!(join(&mut anna, "quiet:1", &quiet).await, "ok");
    let emit = r#"["roomwire:emit","quiet:1","hi"]"#;
    assert_eq!(code(&reply(&mut anna, emit).await), "publish_forbidden");
}

#[actix_rt::test]
async fn a_token_of_another_room_user_time_or_key_is_rejected_with_its_own_code() {
    let cluster = cluster().await;
    let mut anna = client(&cluster, 0, "anna").await;
    let claims = |more: Value| {
        let mut claims = json!({"room": "signed:1", "exp": seconds(60)});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let valid = signed(&claims(json!({"sub": "anna"})));
    let (head, signature) = valid.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{other}{}", &signature[1..]);
    let no_end = signed(&json!({"room": "signed:1"}));
    for (room, token, expected) in [
        ("signed:2", valid.clone(), "room_token_room"),
        ("signed:1", forged, "room_token_signature"),
        ("signed:1", "x.y".to_owned(), "room_token_malformed"),
        ("signed:1", no_end, "room_token_malformed"),
        ("signed:1", "a".repeat(20_000), "room_token_too_large"),
        (
            "signed:*",
            signed(&claims(json!({"room": "signed:*"}))),
            "ok",
        ),
        (
            "signed:1",
            signed(&claims(json!({"sub": "bert"}))),
            "room_token_user",
        ),
        (
            "signed:1",
            signed(&claims(json!({"exp": seconds(-60)}))),
            "room_token_expired",
        ),
        (
            "signed:1",
            signed(&claims(json!({"nbf": seconds(60)}))),
            "room_token_not_yet_valid",
        ),
        (
            "signed:1",
            signed(&claims(json!({"can": ["fly"]}))),
            "room_token_malformed",
        ),
        (
            "signed:1",
            signed(&claims(json!({"aud": "other"}))),
            "room_token_audience",
        ),
        // A token with which a client signs in is not a room token.
        ("signed:1", tokens::token(json!({})), "room_token_malformed"),
        ("signed:1", valid, "ok"),
    ] {
        let shown: String = token.chars().take(40).collect();
        assert_eq!(join(&mut anna, room, &token).await, expected, "{shown}");
    }
    // And a room token signs nobody in.
    let token = signed(&claims(json!({"sub": "anna"})));
    let mut client = cluster.nodes[0].websocket().await;
    client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
    let rejected = client.text().await;
    assert!(rejected.contains("token_malformed"), "{rejected}");
}

#[actix_rt::test]
async fn what_a_token_permits_lasts_as_long_as_the_membership() {
    let cluster = cluster().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut anna = client(&cluster, 0, "anna").await;
    let can = json!(["emit", "ask", "members"]);
    let token = signed(&json!({"room": "quiet:1", "exp": seconds(60), "can": can}));
    let less = signed(&json!({"room": "quiet:1", "exp": seconds(60)}));
    let requests = [
        r#"["roomwire:emit","quiet:1","hi"]"#,
        r#"["roomwire:members","quiet:1"]"#,
    ];
    let forbidden = ["publish_forbidden", "members_forbidden"];
    for (request, expected) in requests.iter().zip(forbidden) {
        assert_eq!(code(&reply(&mut anna, request).await), expected);
    }
    assert_eq!(join(&mut anna, "quiet:1", &token).await, "ok");
    for request in requests {
        assert_eq!(code(&reply(&mut anna, request).await), "ok");
    }
    // Alone in the room, so nobody answers: but the request is allowed.
    let ask = r#"["roomwire:ask","quiet:1","hi"]"#;
    assert_eq!(code(&reply(&mut anna, ask).await), "no_answer");
    // The last token of a room counts.
    assert_eq!(join(&mut anna, "quiet:1", &less).await, "ok");
    for (request, expected) in requests.iter().zip(forbidden) {
        assert_eq!(code(&reply(&mut anna, request).await), expected);
    }
    // A client that leaves, or is taken out by a backend, has no permissions any more.
    assert_eq!(join(&mut anna, "quiet:1", &token).await, "ok");
    reply(&mut anna, r#"["roomwire:leave","quiet:1"]"#).await;
    assert_eq!(code(&reply(&mut anna, requests[0]).await), forbidden[0]);
    assert_eq!(join(&mut anna, "quiet:1", &token).await, "ok");
    publisher.publish(&Command::Leave {
        selector: room(&anna.socket),
        rooms: vec![Room::from("quiet:1")],
    });
    let rooms = || cluster.nodes[0].metrics().rooms.get();
    eventually("the leave", || rooms() == 1).await;
    assert_eq!(code(&reply(&mut anna, requests[0]).await), forbidden[0]);
    let rejected = cluster.nodes[0].metrics().relay_rejected_total.get();
    assert_eq!(rejected, 6);
}

#[actix_rt::test]
async fn what_a_token_permits_does_not_come_back_with_a_later_join() {
    let cluster = cluster().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut anna = client(&cluster, 0, "anna").await;
    let token = signed(&json!({"room": "free:1", "exp": seconds(60), "can": ["emit"]}));
    let (join_again, emit) = (
        r#"["roomwire:join","free:1"]"#,
        r#"["roomwire:emit","free:1","hi"]"#,
    );
    assert_eq!(join(&mut anna, "free:1", &token).await, "ok");
    // A member that joins once more keeps what its token permits.
    assert_eq!(code(&reply(&mut anna, join_again).await), "ok");
    assert_eq!(code(&reply(&mut anna, emit).await), "ok");
    publisher.publish(&Command::Leave {
        selector: room(&anna.socket),
        rooms: vec![Room::from("free:1")],
    });
    let rooms = || cluster.nodes[0].metrics().rooms.get();
    eventually("the leave", || rooms() == 1).await;
    assert_eq!(code(&reply(&mut anna, join_again).await), "ok");
    assert_eq!(
        code(&reply(&mut anna, emit).await),
        "publish_forbidden",
        "the backend took it out of the room"
    );
}

#[actix_rt::test]
async fn what_a_token_permits_does_not_come_back_when_the_backend_adds_the_socket_again() {
    let cluster = cluster().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut anna = client(&cluster, 0, "anna").await;
    let token = signed(&json!({"room": "quiet:1", "exp": seconds(60), "can": ["emit"]}));
    let emit = r#"["roomwire:emit","quiet:1","hi"]"#;
    assert_eq!(join(&mut anna, "quiet:1", &token).await, "ok");
    assert_eq!(code(&reply(&mut anna, emit).await), "ok");
    let (selector, rooms) = (room(&anna.socket), vec![Room::from("quiet:1")]);
    publisher.publish(&Command::Leave {
        selector: selector.clone(),
        rooms: rooms.clone(),
    });
    publisher.publish(&Command::Join { selector, rooms });
    publisher.emit(room("quiet:1"), r#"["back"]"#, false);
    anna.expect(r#"42["back"]"#).await;
    assert_eq!(code(&reply(&mut anna, emit).await), "publish_forbidden");
    // With a new token it may again.
    assert_eq!(join(&mut anna, "quiet:1", &token).await, "ok");
    assert_eq!(code(&reply(&mut anna, emit).await), "ok");
}

#[actix_rt::test]
async fn a_revoked_token_is_rejected_on_every_node() {
    let cluster = cluster().await;
    let mut anna = client(&cluster, 0, "anna").await;
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for subject in [
        Subject::Token("t1".into()),
        Subject::Session("s1".into()),
        Subject::user("anna", Some(an_hour_ago)),
    ] {
        let revocations = &cluster.nodes[1].server.users().revocations;
        revocations.revoke(subject, None).await.unwrap();
    }
    eventually("the revocations are known here, too", || {
        cluster.nodes[0].metrics().revocations.get() == 3
    })
    .await;
    let old = seconds(-7200);
    for (more, expected) in [
        (json!({"jti": "t1"}), "room_token_revoked"),
        (json!({"sid": "s1"}), "room_token_revoked"),
        (json!({"sub": "anna", "iat": old}), "room_token_revoked"),
        (json!({"sub": "anna"}), "room_token_revoked"),
        (json!({"sub": "anna", "iat": seconds(-1)}), "ok"),
        (json!({"jti": "t2", "sid": "s2", "iat": old}), "ok"),
    ] {
        let mut claims = json!({"room": "signed:1", "exp": seconds(60)});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = signed(&claims);
        assert_eq!(
            join(&mut anna, "signed:1", &token).await,
            expected,
            "{more}"
        );
    }
}
