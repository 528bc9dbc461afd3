//! Nodes that are killed or paused, as separate processes on a real Redis: each of their sessions has one disconnect.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::WebsocketClient;
use crate::support::backend::{TestBackend, accept};
use crate::support::process::{Node, listening_address};
use crate::support::receiver::{Receiver, SECRET};
use crate::support::redis::RedisServer;

/// Nodes without heartbeats count as missing 8 s after the start of their peers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time after which a second announcement would have been made.
const QUIET: Duration = Duration::from_secs(7);

/// What receives the disconnects of a cluster.
struct Backends {
    redis: RedisServer,
    receiver: Receiver,
    backend: TestBackend,
}

impl Backends {
    async fn start() -> Option<Self> {
        Some(Self {
            redis: RedisServer::start(&[])?,
            receiver: Receiver::start().await,
            backend: TestBackend::start(|_| accept()),
        })
    }

    /// A node, and its address.
    fn node(&self) -> (Node, String) {
        let (redis, receiver, backend) =
            (self.redis.url(), self.receiver.url(), self.backend.url());
        let node = Node::start(&[
            ("ROOMWIRE_BUS__REDIS_URL", &redis),
            ("ROOMWIRE_BUS__LEASE", "6s"),
            ("ROOMWIRE_APP__KIND", "webhook"),
            ("ROOMWIRE_WEBHOOK__URL", &backend),
            ("ROOMWIRE_WEBHOOK__SECRETS", SECRET),
            ("ROOMWIRE_WEBHOOK__NOTICES__URL", &receiver),
            ("ROOMWIRE_WEBHOOK__NOTICES__KINDS", "disconnected"),
            ("ROOMWIRE_WEBHOOK__NOTICES__DEBOUNCE", "0s"),
        ]);
        node.start_line("redis is connected");
        let address = node.address("listening on http://");
        (node, address)
    }

    /// Waits until the sockets of every node are registered, this many.
    async fn registered(&self, sockets: usize) {
        within("the registry", || {
            let keys: Vec<String> = self.redis.query(&["KEYS", "roomwire:0:registry:*:sockets"]);
            let counts = keys
                .iter()
                .map(|key| self.redis.query::<usize>(&["HLEN", key]));
            counts.sum::<usize>() == sockets
        })
        .await;
    }

    /// The disconnects that the receiver of notices and the backend have received: socket and reason.
    fn disconnects(&self) -> [Vec<(String, String)>; 2] {
        let about = |data: &Value| {
            let text = |name: &str| data[name].as_str().unwrap().to_owned();
            (text("socket"), text("reason"))
        };
        let notices = self.receiver.notices();
        let calls = self.backend.calls_of("disconnect");
        let mut all = [
            notices
                .iter()
                .map(|notice| about(&notice["data"]))
                .collect(),
            calls.iter().map(|call| about(&call.body["data"])).collect(),
        ];
        all.iter_mut().for_each(|list: &mut Vec<_>| list.sort());
        all
    }

    /// Waits for these disconnects, after which no other follows.
    async fn expect(&self, expected: &[(&str, &str)]) {
        let own = |(socket, reason): &(&str, &str)| ((*socket).to_owned(), (*reason).to_owned());
        let mut expected: Vec<_> = expected.iter().map(own).collect();
        expected.sort();
        within("the disconnects", || {
            let all = self.disconnects();
            all.iter().all(|list| list.len() >= expected.len())
        })
        .await;
        actix_rt::time::sleep(QUIET).await;
        assert_eq!(self.disconnects(), [expected.clone(), expected]);
    }
}

/// Waits for a condition, longer than for what takes no lease.
async fn within(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client of a node.
async fn client(address: &str) -> WebsocketClient {
    let mut client = WebsocketClient::open(address).await;
    client.connect("/").await;
    client
}

#[actix_rt::test]
async fn each_socket_of_a_killed_node_is_announced_once_by_the_survivors() {
    let Some(backends) = Backends::start().await else {
        return;
    };
    let [(lost, address), (_second, elsewhere), _third] = [0; 3].map(|_| backends.node());
    let (a, b) = (client(&address).await, client(&address).await);
    let mut survivor = client(&elsewhere).await;
    let left = client(&address).await;
    backends.registered(4).await;
    let departed = left.socket.clone();
    drop(left);
    backends.expect(&[(&departed, "transport close")]).await;
    lost.signal("KILL");
    let disconnects = [
        (&*departed, "transport close"),
        (&*a.socket, "node lost"),
        (&*b.socket, "node lost"),
    ];
    backends.expect(&disconnects).await;
    backends.registered(1).await;
    let nodes: Vec<String> = backends
        .redis
        .query(&["HKEYS", "roomwire:0:registry:nodes"]);
    assert!(!nodes.contains(&a.socket[..4].to_owned()), "{nodes:?}");
    assert_eq!(survivor.ask(r#"["still there"]"#).await, "[]");
}

#[actix_rt::test]
async fn the_sockets_of_a_cluster_without_survivors_are_announced_by_the_next_node() {
    let Some(backends) = Backends::start().await else {
        return;
    };
    let (lost, address) = backends.node();
    let a = client(&address).await;
    backends.registered(1).await;
    lost.signal("KILL");
    let _next = backends.node();
    backends.expect(&[(&*a.socket, "node lost")]).await;
    backends.registered(0).await;
}

#[actix_rt::test]
async fn a_node_that_was_paused_past_its_lease_closes_its_sessions_and_serves_under_another_name() {
    let Some(backends) = Backends::start().await else {
        return;
    };
    let (paused, address) = backends.node();
    let (_survivor, _) = backends.node();
    let mut a = client(&address).await;
    let gone = client(&address).await;
    backends.registered(2).await;
    paused.signal("STOP");
    let sockets = [a.socket.clone(), gone.socket.clone()];
    // The node learns of this when it wakes.
    drop(gone);
    let disconnects = [(&*sockets[0], "node lost"), (&*sockets[1], "node lost")];
    backends.expect(&disconnects).await;
    paused.signal("CONT");
    a.rest().await;
    paused.line("starting again, under another name");
    let again = paused.line("listening on http://");
    let b = client(listening_address(&again)).await;
    assert_ne!(b.socket[..4], a.socket[..4]);
    backends.expect(&disconnects).await;
    backends.registered(1).await;
}

#[actix_rt::test]
async fn nodes_keep_their_sessions_if_redis_loses_its_data_and_after_a_short_pause() {
    let Some(mut backends) = Backends::start().await else {
        return;
    };
    let (node, address) = backends.node();
    let (_other, elsewhere) = backends.node();
    let (mut a, mut b) = (client(&address).await, client(&elsewhere).await);
    backends.registered(2).await;
    backends.redis.stop();
    // Longer than a lease.
    actix_rt::time::sleep(QUIET).await;
    backends.redis.run();
    backends.registered(2).await;
    node.signal("STOP");
    actix_rt::time::sleep(Duration::from_secs(1)).await;
    node.signal("CONT");
    backends.expect(&[]).await;
    for client in [&mut a, &mut b] {
        assert_eq!(client.ask(r#"["still there"]"#).await, "[]");
    }
    let socket = a.socket.clone();
    drop(a);
    backends.expect(&[(&socket, "transport close")]).await;
}
