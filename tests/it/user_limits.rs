//! `limits.connections_per_user`: connections of one user on all nodes.

use roomwire::bus::memory::Hub;
use roomwire::metrics::labels::LimitRejection;

use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{TestCluster, TestServer, eventually};

const ALICE: &str = r#"{"user":"alice"}"#;
const REJECTED: &str = r#"44{"message":"Too many connections of this user","data":{"code":"too_many_connections_of_user","key":"limits.connections_per_user"}}"#;

fn rejections(node: &TestServer) -> u64 {
    let rejected = &node.metrics().limit_rejected_total;
    rejected.of(LimitRejection::ConnectionsPerUser).get()
}

#[actix_rt::test]
async fn the_connections_of_a_user_are_limited_on_one_node() {
    let settings = [
        ("LIMITS__CONNECTIONS_PER_USER", "2"),
        ("SOCKET__NAMESPACES", "/,/other"),
    ];
    let node = TestServer::extended(config(&settings), None, users()).await;
    let mut first = node.user("alice").await;
    let second = node.user("alice").await;
    assert_eq!(node.rejected(ALICE).await, REJECTED);
    assert_eq!(rejections(&node), 1);
    // Others, other namespaces and the anonymous are counted on their own.
    let _bob = node.user("bob").await;
    first.connect_with("/other", ALICE).await;
    let _anonymous = [
        node.member().await,
        node.member().await,
        node.member().await,
    ];
    drop(second);
    node.sessions(5).await;
    node.user("alice").await.quiet().await;
}

#[actix_rt::test]
async fn the_connections_of_a_user_are_counted_on_all_nodes() {
    let config = config(&[("LIMITS__CONNECTIONS_PER_USER", "3")]);
    let cluster = TestCluster::<2>::extended(&config, Hub::default(), &users()).await;
    let [first, second] = &cluster.nodes;
    for node in &cluster.nodes {
        eventually("the nodes know each other", || {
            node.server.ingress().peers().len() == 1
        })
        .await;
    }
    let mut clients = vec![first.user("alice").await, first.user("alice").await];
    clients.push(second.user("alice").await);
    assert_eq!(first.rejected(ALICE).await, REJECTED);
    // The first of its node to be beyond half of the limit.
    assert_eq!(second.rejected(ALICE).await, REJECTED);
    assert_eq!((rejections(first), rejections(second)), (1, 1));
    clients.remove(0);
    eventually("a place is free", || first.metrics().sockets.get() == 1).await;
    clients.push(second.user("alice").await);
    assert_eq!(first.rejected(ALICE).await, REJECTED);
    // A node that is cut off counts its own.
    cluster.cut(0);
    first.readyz("bus: degraded").await;
    clients.push(first.user("alice").await);
    clients.push(first.user("alice").await);
    assert_eq!(first.rejected(ALICE).await, REJECTED);
}

#[actix_rt::test]
async fn of_many_connections_at_once_no_more_than_the_limit_are_admitted_by_a_node() {
    let config = config(&[("LIMITS__CONNECTIONS_PER_USER", "4")]);
    let cluster = TestCluster::<2>::extended(&config, Hub::default(), &users()).await;
    let node = &cluster.nodes[0];
    let connects = (0..20).map(|_| async {
        let mut client = node.websocket().await;
        client.send(&format!("40{ALICE}")).await;
        let response = client.text().await;
        (response.starts_with("40"), client)
    });
    let clients = futures_util::future::join_all(connects).await;
    let admitted = clients.iter().filter(|(admitted, _)| *admitted).count();
    assert_eq!(admitted, 4);
}
