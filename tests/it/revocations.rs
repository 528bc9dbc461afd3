//! Revocation of tokens, users and sessions on a whole cluster, and reconnects that a backend forces.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use roomwire::auth::{Remembered, Subject};
use roomwire::bus::memory::Hub;
use roomwire::model::random::OsRandom;
use roomwire::model::{Namespace, Random, Room, Selector};
use roomwire::server::BusHandles;

use crate::support::cluster::room;
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, eventually};

const REVOKED: &str = r#"44{"message":"The token was revoked","data":{"code":"token_revoked"}}"#;
const NOTICE: &str = r#"42["roomwire:auth_revoked",{"code":"token_revoked"}]"#;

async fn two_nodes() -> TestCluster<2> {
    TestCluster::<2>::extended(&config(&[]), Hub::default(), &users()).await
}

async fn client(node: &TestServer, user: &str, token: &str) -> WebsocketClient {
    let auth = format!(r#"{{"user":"{user}","token":"{token}","issued":1000}}"#);
    node.authenticated(&auth).await
}

/// The session closes in a way after which stock clients connect again.
async fn expect_revoked(client: &mut WebsocketClient) {
    client.expect(NOTICE).await;
    let closed = Frame::Close(Some(3000), "the token is revoked".to_owned());
    assert_eq!(client.rest().await, [closed]);
}

/// A client with this payload is not connected.
async fn expect_rejected(node: &TestServer, auth: &str) {
    let mut client = node.websocket().await;
    client.send(&format!("40{auth}")).await;
    client.expect(REVOKED).await;
}

/// The shortest of several times: the machine may be busy with something else, but not each time.
async fn shortest(mut attempt: impl AsyncFnMut(usize) -> Duration) -> Duration {
    const ENOUGH: Duration = Duration::from_millis(100);
    let mut shortest = Duration::MAX;
    for number in 0..50 {
        shortest = shortest.min(attempt(number).await);
        if shortest < ENOUGH {
            break;
        }
    }
    shortest
}

async fn revoke(node: &TestServer, subject: Subject) -> Remembered {
    let revoked = node.server.users().revocations.revoke(subject, None);
    revoked.await.unwrap()
}

#[actix_rt::test]
async fn a_revoked_token_ends_its_sessions_on_every_node_within_100_ms() {
    let cluster = two_nodes().await;
    let [first, second] = &cluster.nodes;
    let mut other = client(second, "alice", "t2").await;
    let time = shortest(async |number| {
        let token = if number == 0 {
            "t1".to_owned()
        } else {
            format!("t1-{number}")
        };
        let mut here = client(first, "alice", &token).await;
        let mut there = client(second, "alice", &token).await;
        let begun = Instant::now();
        let revoked = revoke(first, Subject::Token(token.into())).await;
        assert_eq!(revoked, Remembered::InStore);
        expect_revoked(&mut here).await;
        expect_revoked(&mut there).await;
        begun.elapsed()
    })
    .await;
    assert!(time < Duration::from_millis(100), "{time:?}");
    other.quiet().await;
    expect_rejected(second, r#"{"user":"alice","token":"t1"}"#).await;
    let response = other
        .ask(r#"["roomwire:auth",{"user":"alice","token":"t1"}]"#)
        .await;
    assert!(response.contains(r#""code":"token_revoked""#), "{response}");
    assert_eq!(second.metrics().revocations.get(), 1);
}

#[actix_rt::test]
async fn all_earlier_tokens_of_a_user_are_revoked_and_later_ones_are_not() {
    let cluster = two_nodes().await;
    let [first, second] = &cluster.nodes;
    let mut old = client(second, "alice", "t1").await;
    let mut bob = client(second, "bob", "t2").await;
    let mut untimed = second.user("alice").await;
    revoke(first, Subject::user("alice", None)).await;
    expect_revoked(&mut old).await;
    expect_revoked(&mut untimed).await;
    let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let later = later.unwrap().as_secs() + 1;
    let auth = format!(r#"{{"user":"alice","token":"t3","issued":{later}}}"#);
    first.authenticated(&auth).await.quiet().await;
    bob.quiet().await;
    expect_rejected(first, r#"{"user":"alice","token":"t4","issued":1000}"#).await;
}

#[actix_rt::test]
async fn a_session_is_revoked_by_the_id_of_its_socket_and_by_its_claim() {
    let cluster = two_nodes().await;
    let [first, second] = &cluster.nodes;
    let mut with_token = client(second, "alice", "t1").await;
    let mut without = second.user("alice").await;
    let mut claimed = second
        .authenticated(r#"{"user":"carol","token":"t5","sid":"s1"}"#)
        .await;
    let id = |client: &WebsocketClient| Subject::Session(client.socket.as_str().into());
    revoke(first, id(&with_token)).await;
    expect_revoked(&mut with_token).await;
    // Its token counts, on every node.
    eventually("the token is revoked here, too", || {
        first.metrics().revocations.get() == 1
    })
    .await;
    expect_rejected(first, r#"{"user":"alice","token":"t1"}"#).await;
    // Nothing would keep a client without a token from coming back.
    revoke(first, id(&without)).await;
    without.expect(NOTICE).await;
    without.expect("41").await;
    assert_eq!(without.rest().await.len(), 1);
    revoke(first, Subject::Session("s1".into())).await;
    expect_revoked(&mut claimed).await;
    expect_rejected(first, r#"{"user":"carol","token":"t6","sid":"s1"}"#).await;
}

#[actix_rt::test]
async fn a_node_that_starts_or_comes_back_has_the_revocations_of_the_others() {
    let cluster = two_nodes().await;
    let [first, second] = &cluster.nodes;
    let mut missed = client(second, "alice", "t1").await;
    cluster.cut(1);
    second
        .readyz("revocations: degraded: those known before")
        .await;
    revoke(first, Subject::Token("t1".into())).await;
    missed.quiet().await;
    cluster.heal(1);
    expect_revoked(&mut missed).await;
    assert_eq!(second.readyz("revocations: loaded").await, 200);
    // Revoked by a node that is cut off: enforced there, and announced to the others later.
    cluster.cut(1);
    second.readyz("bus: degraded").await;
    let mut here = client(second, "bob", "t2").await;
    let mut there = client(first, "bob", "t2").await;
    revoke(second, Subject::Token("t2".into())).await;
    expect_revoked(&mut here).await;
    there.quiet().await;
    cluster.heal(1);
    expect_revoked(&mut there).await;

    let (link, events) = cluster.hub.join();
    let handles = BusHandles::new(link, events, Arc::clone(&cluster.store) as _);
    let third = TestServer::extended(config(&[]), Some(handles), users()).await;
    expect_rejected(&third, r#"{"user":"alice","token":"t1"}"#).await;
    expect_rejected(&third, r#"{"user":"bob","token":"t2"}"#).await;
}

#[actix_rt::test]
async fn more_revocations_than_the_limit_are_rejected() {
    let node =
        TestServer::extended(config(&[("AUTH__REVOCATION_LIMIT", "1")]), None, users()).await;
    revoke(&node, Subject::Token("t1".into())).await;
    let revocations = &node.server.users().revocations;
    let second = revocations.revoke(Subject::Token("t2".into()), None).await;
    assert!(second.is_err());
    client(&node, "alice", "t2").await.quiet().await;
}

#[actix_rt::test]
async fn a_forced_reconnect_closes_the_sessions_of_users_sockets_and_rooms() {
    let cluster = two_nodes().await;
    let [first, second] = &cluster.nodes;
    let force = |selector: &Selector| first.server.users().revocations.force_reconnect(selector);
    let mut alice = second.user("alice").await;
    let mut single = first.user("bob").await;
    let mut member = second.user("carol").await;
    let mut other = second.user("dave").await;
    member.join("r").await;
    force(&room("user:alice"));
    force(&room(&single.socket));
    let mut members = room("r");
    members.except.push(Room::from("user:dave"));
    other.join("r").await;
    force(&members);
    for client in [&mut alice, &mut single, &mut member] {
        let reason = "connect and authenticate again".to_owned();
        assert_eq!(client.rest().await, [Frame::Close(Some(3000), reason)]);
    }
    other.quiet().await;
    force(&Selector::everybody(Namespace::from("/none")));
    other.quiet().await;
}

async fn redis_node(server: &RedisServer) -> TestServer {
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let config = config(&[
        ("BUS__REDIS_URL", &server.url()),
        ("BUS__PING_INTERVAL", "500ms"),
    ]);
    let handles = BusHandles::from_config(&config, &random).unwrap();
    let node = TestServer::extended(config, handles, users()).await;
    node.readyz("bus: up").await;
    node
}

#[actix_rt::test]
async fn revocations_reach_two_nodes_over_redis_and_survive_its_absence() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let (first, second) = (redis_node(&server).await, redis_node(&server).await);
    let mut revoked = 0;
    let time = shortest(async |number| {
        let token = if number == 0 {
            "t1".to_owned()
        } else {
            format!("t1-{number}")
        };
        let mut there = client(&second, "alice", &token).await;
        let begun = Instant::now();
        assert_eq!(
            revoke(&first, Subject::Token(token.into())).await,
            Remembered::InStore
        );
        expect_revoked(&mut there).await;
        revoked += 1;
        begun.elapsed()
    })
    .await;
    assert!(time < Duration::from_millis(100), "{time:?}");

    let mut here = client(&first, "bob", "t2").await;
    let mut remote = client(&second, "bob", "t2").await;
    server.stop();
    for node in [&first, &second] {
        assert_eq!(node.readyz("bus: degraded").await, 200);
        expect_rejected(node, r#"{"user":"alice","token":"t1"}"#).await;
    }
    assert_eq!(
        revoke(&first, Subject::Token("t2".into())).await,
        Remembered::ByNodes
    );
    expect_revoked(&mut here).await;
    remote.quiet().await;
    // Redis comes back empty: the nodes that live add what they know.
    server.run();
    for node in [&first, &second] {
        assert_eq!(node.readyz("bus: up").await, 200);
    }
    expect_revoked(&mut remote).await;
    let third = redis_node(&server).await;
    let all = || third.metrics().revocations.get() == revoked + 1;
    eventually("a new node loads all of them", all).await;
    expect_rejected(&third, r#"{"user":"alice","token":"t1"}"#).await;
    expect_rejected(&third, r#"{"user":"bob","token":"t2"}"#).await;
}
