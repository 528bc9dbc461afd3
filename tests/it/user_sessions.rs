//! `auth.sessions_per_user`: the newest or the oldest session of a user remains, on all nodes.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use roomwire::bus::memory::Hub;
use roomwire::metrics::labels::SessionConflict;

use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{TestCluster, TestServer, WebsocketClient, within_deadline};

const ALICE: &str = r#"{"user":"alice"}"#;
const EXISTS: &str =
    r#"44{"message":"this user has a session already","data":{"code":"session_exists"}}"#;
const REPLACED: &str = r#"42["roomwire:session_replaced",{"code":"session_replaced","message":"a newer session of this user took its place"}]"#;

async fn cluster(policy: &str) -> TestCluster<2> {
    let config = config(&[("AUTH__SESSIONS_PER_USER", policy)]);
    TestCluster::<2>::extended(&config, Hub::default(), &users()).await
}

async fn alone(policy: &str) -> TestServer {
    let config = config(&[("AUTH__SESSIONS_PER_USER", policy)]);
    TestServer::extended(config, None, users()).await
}

async fn expect_replaced(client: &mut WebsocketClient) {
    client.expect(REPLACED).await;
    client.expect("41").await;
}

#[actix_rt::test]
async fn the_newest_session_replaces_the_former_on_any_node() {
    let cluster = cluster("newest").await;
    let [first, second] = &cluster.nodes;
    let mut a = first.user("alice").await;
    let mut bob = second.user("bob").await;
    let mut b = second.user("alice").await;
    expect_replaced(&mut a).await;
    let mut c = second.user("alice").await;
    expect_replaced(&mut b).await;
    let mut d = first.user("alice").await;
    expect_replaced(&mut c).await;
    d.quiet().await;
    let replaced = |node: &TestServer| {
        let conflicts = &node.metrics().user_session_conflicts_total;
        conflicts.of(SessionConflict::Replaced).get()
    };
    assert_eq!(replaced(first) + replaced(second), 3);
    bob.quiet().await;
}

#[actix_rt::test]
async fn of_many_sessions_at_once_exactly_one_remains() {
    let cluster = cluster("newest").await;
    let logins = (0..12).map(|number| cluster.nodes[number % 2].user("alice"));
    let clients = futures_util::future::join_all(logins).await;
    let replacements = clients.into_iter().map(|mut client| async move {
        client.text().await;
    });
    let mut replaced: FuturesUnordered<_> = replacements.collect();
    for _ in 0..11 {
        replaced.next().await.unwrap();
    }
    let last = tokio::time::timeout(std::time::Duration::from_secs(2), replaced.next()).await;
    assert!(last.is_err(), "all are replaced");
}

#[actix_rt::test]
async fn the_oldest_session_remains_and_others_are_rejected_until_it_ends() {
    let cluster = cluster("oldest").await;
    let [first, second] = &cluster.nodes;
    let mut a = first.user("alice").await;
    assert_eq!(first.rejected(ALICE).await, EXISTS);
    assert_eq!(second.rejected(ALICE).await, EXISTS);
    let conflicts = &second.metrics().user_session_conflicts_total;
    assert_eq!(conflicts.of(SessionConflict::Rejected).get(), 1);
    second.user("bob").await.quiet().await;
    // The session leaves the namespace and returns.
    a.send("41").await;
    within_deadline("the lock is free", async {
        loop {
            a.send(&format!("40{ALICE}")).await;
            if a.text().await.starts_with("40") {
                return;
            }
        }
    })
    .await;
    assert_eq!(second.rejected(ALICE).await, EXISTS);
    drop(a);
    first.sessions(0).await;
    within_deadline("the lock is free", async {
        while second.rejected(ALICE).await == EXISTS {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_node_without_redis_applies_both_policies() {
    let node = alone("newest").await;
    let mut a = node.user("alice").await;
    let mut b = node.user("alice").await;
    expect_replaced(&mut a).await;
    b.quiet().await;
    let node = alone("oldest").await;
    let mut a = node.user("alice").await;
    assert_eq!(node.rejected(ALICE).await, EXISTS);
    a.quiet().await;
    drop(a);
    node.sessions(0).await;
    node.user("alice").await.quiet().await;
}
