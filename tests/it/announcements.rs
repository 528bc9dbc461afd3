//! Announcements: messages of the services of a node to those of every node, over both links.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;

use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::{TestCluster, TestServer, eventually};

/// What a node receives of the topic `test`.
fn received(node: &TestServer) -> Arc<Mutex<Vec<Bytes>>> {
    let received = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&received);
    let record = move |body: &Bytes| listener.lock().unwrap().push(body.clone());
    node.server.ingress().listen("test", Box::new(record));
    received
}

/// Announces from the first node; each node receives it once, and nothing of other topics.
async fn check(nodes: &[TestServer; 2]) {
    let logs = [received(&nodes[0]), received(&nodes[1])];
    for body in ["one", "two"] {
        let body = Bytes::from_static(body.as_bytes());
        nodes[0].server.ingress().announce("test", body);
    }
    nodes[0].server.ingress().announce("other", Bytes::new());
    assert_eq!(*logs[0].lock().unwrap(), ["one", "two"], "at once");
    eventually("the other node", || logs[1].lock().unwrap().len() == 2).await;
    nodes[1].server.ingress().announce("test", "three".into());
    for log in &logs {
        eventually("the last one", || log.lock().unwrap().len() == 3).await;
        assert_eq!(*log.lock().unwrap(), ["one", "two", "three"]);
    }
}

#[actix_rt::test]
async fn every_node_receives_an_announcement_once_over_the_bus_in_memory() {
    check(&TestCluster::<2>::start().await.nodes).await;
}

#[actix_rt::test]
async fn every_node_receives_an_announcement_once_over_redis() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let config = config(&[("BUS__REDIS_URL", &server.url())]);
    let start = || async {
        let handles = BusHandles::from_config(&config, &random).unwrap();
        let node = TestServer::configured(config.clone(), handles).await;
        node.readyz("bus: up").await;
        node
    };
    check(&[start().await, start().await]).await;
}

#[actix_rt::test]
async fn an_announcement_is_queued_while_the_bus_is_away() {
    let cluster = TestCluster::<2>::start().await;
    let [first, second] = &cluster.nodes;
    let logs = [received(first), received(second)];
    cluster.cut(0);
    first.readyz("bus: degraded").await;
    first.server.ingress().announce("test", "late".into());
    assert_eq!(*logs[0].lock().unwrap(), ["late"]);
    cluster.heal(0);
    eventually("the other node", || *logs[1].lock().unwrap() == ["late"]).await;
}
