//! Membership: which other nodes each node considers alive.

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use roomwire::broker::Directory;
use roomwire::bus::memory::{Hub, MemberId};
use roomwire::cluster::messages::Leave;
use roomwire::cluster::start::{BridgeContext, dialects, start_bridge};
use roomwire::health::{BusState, Health};
use roomwire::metrics::Metrics;
use roomwire::model::random::OsRandom;
use roomwire::model::{Namespace, NodeId, Query, Selector};
use roomwire::store::MemoryStore;

use crate::support::server::config;
use crate::support::{TestCluster, within_deadline};

/// The bridge of a node without workers.
struct Node {
    name: NodeId,
    member: MemberId,
    directory: Arc<Directory>,
    leave: Recipient<Leave>,
}

impl Node {
    fn start(hub: &Hub) -> Self {
        let (config, name) = (config(&[]).bus, NodeId::random(&OsRandom));
        let (link, events) = hub.join();
        let member = link.member();
        let context = BridgeContext {
            node: name,
            workers: 1,
            max_depth: 100,
            metrics: Arc::new(Metrics::default()),
            health: Arc::new(Health::new(BusState::Down, false)),
            routers: Arc::default(),
            command_observers: Vec::new(),
            server_events: None,
            store: Arc::new(MemoryStore::default()),
        };
        let dialects = dialects(&config, name);
        let started = start_bridge(&config, link, events, dialects, context);
        Self {
            name,
            member,
            directory: started.directory,
            leave: started.handles.leave,
        }
    }

    /// Whether its peers are exactly these.
    fn has_peers(&self, peers: &[&Self]) -> bool {
        let mut names: Vec<NodeId> = peers.iter().map(|node| node.name).collect();
        names.sort();
        self.directory.peers() == names
    }
}

async fn seconds(seconds: f32) {
    tokio::time::sleep(Duration::from_secs_f32(seconds)).await;
}

/// Three nodes on a bus, in virtual time.
async fn three() -> (Hub, [Node; 3]) {
    tokio::time::pause();
    let hub = Hub::default();
    let nodes = [Node::start(&hub), Node::start(&hub), Node::start(&hub)];
    seconds(0.01).await;
    (hub, nodes)
}

#[actix_rt::test]
async fn nodes_discover_each_other_at_once_and_remove_a_node_that_stops() {
    let (_hub, [a, b, c]) = three().await;
    assert!(a.has_peers(&[&b, &c]) && b.has_peers(&[&a, &c]) && c.has_peers(&[&a, &b]));
    c.leave.send(Leave).await.unwrap();
    seconds(0.01).await;
    assert!(a.has_peers(&[&b]) && b.has_peers(&[&a]));
    seconds(60.0).await;
    assert!(a.has_peers(&[&b]) && b.has_peers(&[&a]));
}

#[actix_rt::test]
async fn a_disconnected_node_is_dead_after_three_heartbeats_and_alive_again_at_once() {
    let (hub, [a, b, c]) = three().await;
    hub.cut(c.member);
    seconds(1.5).await;
    assert!(a.has_peers(&[&b, &c]), "a lost heartbeat is nothing");
    seconds(2.5).await;
    assert!(a.has_peers(&[&b]) && b.has_peers(&[&a]));
    assert!(
        c.has_peers(&[&a, &b]),
        "the node that is cut off cannot judge"
    );
    hub.heal(c.member);
    seconds(0.01).await;
    assert!(a.has_peers(&[&b, &c]) && b.has_peers(&[&a, &c]) && c.has_peers(&[&a, &b]));
}

#[actix_rt::test]
async fn a_node_without_heartbeats_that_still_subscribes_is_dead_after_six_heartbeats() {
    let (hub, [a, b, c]) = three().await;
    hub.silence(c.member, true);
    seconds(4.5).await;
    assert!(a.has_peers(&[&b, &c]));
    seconds(2.5).await;
    assert!(a.has_peers(&[&b]) && b.has_peers(&[&a]));
    assert!(c.has_peers(&[&a, &b]));
}

#[actix_rt::test]
async fn a_deaf_node_considers_no_other_node_dead() {
    let (hub, [a, b, c]) = three().await;
    hub.deafen(c.member, true);
    seconds(60.0).await;
    assert!(c.has_peers(&[&a, &b]));
    assert!(a.has_peers(&[&b, &c]), "its own heartbeats arrive");
}

#[actix_rt::test]
async fn a_query_reports_an_unresponsive_node_as_missing_until_it_counts_as_dead() {
    let cluster = TestCluster::<2>::start().await;
    let [first, second] = &cluster.nodes;
    let missing = async || {
        let query = Query::Sockets {
            selector: Selector::everybody(Namespace::main()),
            limit: 0,
        };
        let gather = first.server.ingress().query(query, Duration::from_secs(5));
        gather.finish().await.missing
    };
    within_deadline("both nodes are members", async {
        while first.server.ingress().peers().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(missing().await, []);
    cluster.cut(1);
    assert_eq!(missing().await, [second.server.node()]);
    within_deadline("the node counts as dead", async {
        while !missing().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
