//! Translation between foreign dialects: one node at a time publishes what it receives in one of them in the others.

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;
use roomwire::broker::Directory;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemberId, MemoryLink};
use roomwire::cluster::messages::Leave;
use roomwire::cluster::start::{BridgeContext, dialects, start_bridge};
use roomwire::config::BusConfig;
use roomwire::health::{BusState, Health};
use roomwire::metrics::Metrics;
use roomwire::model::NodeId;
use roomwire::model::random::OsRandom;
use roomwire::msgpack::write_value;
use roomwire::store::MemoryStore;
use serde_json::{Value, json};

use crate::support::log::logged;
use crate::support::python::PythonProcess;
use crate::support::server::config;
use crate::support::{TestCluster, WebsocketClient};

mod counts;
mod sharded;

const SERVERS: [(&str, &str); 2] = [("BUS__PYTHON", "on"), ("BUS__NODE_ADAPTER", "pubsub")];
const EMITTERS: [(&str, &str); 2] = [("BUS__PYTHON", "on"), ("BUS__NODE_ADAPTER", "emitters")];

const SHARDED: [(&str, &str); 4] = [
    ("BUS__PYTHON", "on"),
    ("BUS__NODE_ADAPTER", "sharded"),
    ("BUS__NODE_ROOM_CHANNELS", "none"),
    ("SOCKET__NAMESPACES", "/,/by-pattern-*"),
];

/// The bridge of a node without workers.
struct Node {
    member: MemberId,
    leave: Recipient<Leave>,
    metrics: Arc<Metrics>,
    _directory: Arc<Directory>,
}

/// A bus whose nodes share a store, and a member that publishes and receives as foreign programs do.
struct Bus {
    hub: Hub,
    store: Arc<MemoryStore>,
    config: BusConfig,
    link: Arc<MemoryLink>,
    events: LinkEvents,
}

impl Bus {
    fn new(settings: &[(&str, &str)]) -> Self {
        tokio::time::pause();
        let hub = Hub::default();
        let (link, events) = hub.join();
        link.subscribe(vec![Channel::from("socketio")]);
        Self {
            store: Arc::default(),
            config: config(settings).bus,
            hub,
            link,
            events,
        }
    }

    fn node(&self) -> Node {
        let name = NodeId::random(&OsRandom);
        let (link, events) = self.hub.join();
        let member = link.member();
        let metrics = Arc::new(Metrics::default());
        let context = BridgeContext {
            node: name,
            workers: 1,
            max_depth: 100,
            metrics: Arc::clone(&metrics),
            health: Arc::new(Health::new(BusState::Down, false)),
            routers: Arc::default(),
            command_observers: Vec::new(),
            server_events: None,
            store: Arc::clone(&self.store) as _,
        };
        let dialects = dialects(&self.config, name);
        let started = start_bridge(&self.config, link, events, dialects, context);
        Node {
            member,
            leave: started.handles.leave,
            metrics,
            _directory: started.directory,
        }
    }

    /// `N` nodes, of which one translates.
    async fn nodes<const N: usize>(&self) -> [Node; N] {
        let nodes = std::array::from_fn(|_| self.node());
        seconds(1.0).await;
        nodes
    }

    fn publish(&self, channel: &str, payload: impl Into<Bytes>) {
        self.link
            .publish(vec![Outgoing::new(Channel::from(channel), payload)]);
    }

    /// Emits as an emitter does, in a namespace and to a room that no node has.
    fn emit(&self, argument: &Value) {
        let message = json!([
            "emitter",
            {"type": 2, "data": ["news", argument], "nsp": "/elsewhere"},
            {"rooms": ["r"], "except": [], "flags": {}}
        ]);
        let mut bytes = Vec::new();
        write_value(&message.to_string(), &[], &mut bytes);
        self.publish("socket.io#/elsewhere#r#", bytes);
    }

    /// Emits to all sockets of a namespace as a server in Node with the sharded adapter does.
    fn emit_sharded(&self, namespace: &str, argument: &Value) {
        let message = json!({
            "type": 3,
            "data": {
                "opts": {"rooms": ["r"], "except": [], "flags": {}},
                "packet": {"type": 2, "data": ["news", argument], "nsp": namespace},
            },
            "uid": "0123456789abcdef",
            "nsp": namespace,
        });
        self.publish(&format!("socket.io#{namespace}#"), message.to_string());
    }

    /// Publishes as a server in Python does; `fields` follow the method.
    fn emit_python(&self, fields: &str) {
        let head = r#"{"method":"emit","host_id":"0123456789abcdef0123456789abcdef""#;
        self.publish("socketio", format!("{head},{fields}}}"));
    }

    /// What servers in Python have received since.
    fn received(&mut self) -> Vec<Value> {
        let mut received = Vec::new();
        while let Some(event) = self.events.try_next() {
            if let LinkEvent::Message { payload, .. } = event {
                let text = String::from_utf8_lossy(&payload);
                // Acks for servers in Node, and their requests for acks, are in msgpack.
                received.push(serde_json::from_str(&text).unwrap_or_else(|_| text.into()));
            }
        }
        received
    }

    /// The arguments of the emits that servers in Python have received since.
    fn emits(&mut self) -> Vec<Value> {
        let received = self.received().into_iter();
        received.map(|message| message["data"][0].clone()).collect()
    }
}

async fn seconds(seconds: f32) {
    tokio::time::sleep(Duration::from_secs_f32(seconds)).await;
}

/// The index of the only node that has translated something.
fn translating(nodes: &[Node]) -> usize {
    let counts = nodes
        .iter()
        .map(|node| node.metrics.bus_translated_total.get());
    let translating: Vec<usize> = counts
        .enumerate()
        .filter_map(|(index, count)| (count > 0).then_some(index))
        .collect();
    assert_eq!(translating.len(), 1, "{translating:?}");
    translating[0]
}

#[actix_rt::test]
async fn emits_for_rooms_without_members_reach_servers_in_python_once() {
    let mut bus = Bus::new(&EMITTERS);
    let nodes: [Node; 3] = bus.nodes().await;
    bus.emit(&json!({"a": [1, "two"]}));
    seconds(0.1).await;
    let [message] = bus.received().try_into().unwrap();
    translating(&nodes);
    for (field, value) in [
        ("method", json!("emit")),
        ("event", json!("news")),
        ("data", json!([{"a": [1, "two"]}])),
        ("binary", json!(false)),
        ("namespace", json!("/elsewhere")),
        ("room", json!("r")),
        ("skip_sid", json!(null)),
        ("callback", json!(null)),
    ] {
        assert_eq!(message[field], value, "{field}");
    }
}

#[actix_rt::test]
async fn changes_of_rooms_of_single_sockets_are_translated_and_others_counted() {
    let mut bus = Bus::new(&EMITTERS);
    let [node] = bus.nodes().await;
    let sid = "9hXUJ8XOaibBZPrfAAAB";
    let requests = [
        json!({"type": 2, "opts": {"rooms": [sid], "except": []}, "rooms": ["a", "b"]}),
        json!({"type": 3, "opts": {"rooms": [sid], "except": []}, "rooms": ["a"]}),
        json!({"type": 4, "opts": {"rooms": [sid], "except": []}, "close": false}),
        json!({"type": 2, "opts": {"rooms": ["some room"], "except": []}, "rooms": ["a"]}),
    ];
    for request in requests {
        bus.publish("socket.io-request#/elsewhere#", request.to_string());
    }
    seconds(0.1).await;
    let received: Vec<_> = bus
        .received()
        .into_iter()
        .map(|message| {
            json!([
                message["method"],
                message["sid"],
                message["room"],
                message["namespace"]
            ])
        })
        .collect();
    assert_eq!(
        received,
        [
            json!(["enter_room", sid, "a", "/elsewhere"]),
            json!(["enter_room", sid, "b", "/elsewhere"]),
            json!(["leave_room", sid, "a", "/elsewhere"]),
            json!(["disconnect", sid, null, "/elsewhere"]),
        ]
    );
    assert_eq!(node.metrics.bus_untranslatable_total.get(), 1);
}

#[actix_rt::test]
async fn nothing_is_translated_where_the_configuration_turns_it_off() {
    let settings = [EMITTERS[0], EMITTERS[1], ("BUS__TRANSLATE", "off")];
    let mut bus = Bus::new(&settings);
    let _nodes: [Node; 2] = bus.nodes().await;
    bus.emit(&json!(1));
    seconds(1.0).await;
    assert!(bus.received().is_empty());
}

#[actix_rt::test]
async fn when_the_translating_node_dies_another_one_follows_within_three_seconds() {
    let mut bus = Bus::new(&EMITTERS);
    let nodes: [Node; 3] = bus.nodes().await;
    bus.emit(&json!("first"));
    seconds(0.1).await;
    assert_eq!(bus.emits(), ["first"]);
    let dead = translating(&nodes);
    // Its process, whose bridge goes on in this test but can no longer renew the lease.
    bus.hub.kill(nodes[dead].member);
    let _ended = nodes[dead].leave.send(Leave).await;
    for number in 0..500 {
        bus.emit(&json!(number));
        seconds(0.01).await;
    }
    let numbers: Vec<u64> = bus.emits().iter().filter_map(Value::as_u64).collect();
    let first = numbers[0];
    assert!(first <= 300, "lost until {first}");
    assert!(numbers.iter().copied().eq(first..500), "{numbers:?}");
}

#[actix_rt::test]
async fn a_node_that_stops_hands_over_without_loss_or_repetition() {
    let mut bus = Bus::new(&EMITTERS);
    let nodes: [Node; 3] = bus.nodes().await;
    bus.emit(&json!(0));
    seconds(0.1).await;
    let first = translating(&nodes);
    let leave = nodes[first].leave.clone();
    let stopping = actix_rt::spawn(async move { leave.send(Leave).await });
    for number in 1..400 {
        bus.emit(&json!(number));
        seconds(0.005).await;
    }
    stopping.await.unwrap().unwrap();
    let counts = nodes
        .each_ref()
        .map(|node| node.metrics.bus_translated_total.get());
    assert_eq!(counts.iter().sum::<u64>(), 400, "{counts:?}");
    assert!(counts[first] < 300, "{counts:?}");
    let numbers: Vec<u64> = bus.emits().iter().filter_map(Value::as_u64).collect();
    assert!(numbers.iter().copied().eq(0..400), "{numbers:?}");
}

#[actix_rt::test]
async fn a_node_that_was_disconnected_translates_nothing_twice() {
    let mut bus = Bus::new(&EMITTERS);
    let nodes: [Node; 2] = bus.nodes().await;
    bus.emit(&json!(0));
    seconds(0.1).await;
    let first = translating(&nodes);
    let mut number = 1;
    for _ in 0..3 {
        bus.hub.cut(nodes[first].member);
        for _ in 0..100 {
            bus.emit(&json!(number));
            number += 1;
            seconds(0.01).await;
        }
        bus.hub.heal(nodes[first].member);
        for _ in 0..200 {
            bus.emit(&json!(number));
            number += 1;
            seconds(0.01).await;
        }
    }
    let mut numbers: Vec<u64> = bus.emits().iter().filter_map(Value::as_u64).collect();
    let received = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), received);
    assert_eq!(numbers.last(), Some(&(number - 1)));
    assert!(received > 450, "{received} of {number}");
}

#[actix_rt::test]
async fn on_a_redis_cluster_a_node_begins_a_second_after_the_end_of_the_one_before() {
    let settings = [EMITTERS[0], EMITTERS[1], ("BUS__CLUSTER", "true")];
    let mut bus = Bus::new(&settings);
    let nodes: [Node; 2] = bus.nodes().await;
    seconds(1.0).await;
    bus.emit(&json!(0));
    seconds(0.1).await;
    let leave = nodes[translating(&nodes)].leave.clone();
    let stopping = actix_rt::spawn(async move { leave.send(Leave).await });
    for number in 1..400 {
        bus.emit(&json!(number));
        seconds(0.01).await;
    }
    stopping.await.unwrap().unwrap();
    let numbers: Vec<u64> = bus.emits().iter().filter_map(Value::as_u64).collect();
    let gaps: Vec<u64> = numbers
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|gap| *gap != 1)
        .collect();
    // Each step takes a little more than 10 ms.
    assert!(matches!(gaps[..], [80..=105]), "{gaps:?}");
}

/// A node whose cluster has this prefix, when it translates between servers of both kinds, and two clients in room `r`.
async fn translating_cluster(hub: &Hub, prefix: &str) -> (TestCluster<1>, [WebsocketClient; 2]) {
    let settings = [SERVERS[0], SERVERS[1], ("BUS__PREFIX", prefix)];
    let cluster = TestCluster::configured(&config(&settings), hub.clone()).await;
    let node = &cluster.nodes[0];
    let name = node.node();
    let begins = "this node translates between the dialects of the bus";
    logged(&format!("{begins} node={name}")).await;
    let mut clients = [node.member().await, node.member().await];
    for client in &mut clients {
        client.join("r").await;
    }
    (cluster, clients)
}

#[actix_rt::test]
async fn messages_of_another_cluster_are_delivered_and_not_translated() {
    let hub = Hub::default();
    let (first, [mut sender, mut neighbour]) = translating_cluster(&hub, "first").await;
    let (second, mut strangers) = translating_cluster(&hub, "second").await;
    let counts = || {
        let metrics = [first.nodes[0].metrics(), second.nodes[0].metrics()];
        metrics.map(|metrics| {
            let published = metrics.bus_published_total.get();
            (published, metrics.bus_translated_total.get())
        })
    };
    let [(of_first, _), (of_second, _)] = counts();
    sender.emit("r", r#""news",1"#).await;
    neighbour.expect(r#"42["news",1]"#).await;
    // Once in each dialect that both clusters use.
    for client in &mut strangers {
        client.expect(r#"42["news",1]"#).await;
        client.expect(r#"42["news",1]"#).await;
        client.quiet().await;
    }
    neighbour.quiet().await;
    sender.quiet().await;
    // In the native dialect and those of Python and Node, by the node of the sender alone.
    assert_eq!(counts(), [(of_first + 3, 0), (of_second, 0)]);
    logged("messages of another Roomwire cluster on this Redis: not translated").await;

    // Each cluster translates what a server publishes, once.
    let python = PythonProcess::join(&hub);
    let fields = r#""event":"all","data":2,"binary":false,"namespace":"/","room":"r","skip_sid":null,"callback":null"#;
    python.publish("emit", fields);
    for client in strangers.iter_mut().chain([&mut sender, &mut neighbour]) {
        client.expect(r#"42["all",2]"#).await;
        client.expect(r#"42["all",2]"#).await;
        client.quiet().await;
    }
    assert_eq!(counts(), [(of_first + 4, 1), (of_second + 1, 1)]);
}

#[actix_rt::test]
async fn requests_of_another_cluster_are_not_translated_and_those_of_emitters_are() {
    let mut bus = Bus::new(&SERVERS);
    let [node] = bus.nodes().await;
    let request = |uid: &str| {
        let uid = Value::from(uid);
        format!(
            r#"{{"uid":{uid},"type":2,"opts":{{"rooms":["9hXUJ8XOaibBZPrfAAAB"],"except":[]}},"rooms":["a"]}}"#
        )
    };
    bus.publish(
        "socket.io-request#/elsewhere#",
        request("roomwire:other:0:abcd"),
    );
    seconds(0.1).await;
    assert!(bus.received().is_empty());
    assert_eq!(node.metrics.bus_translated_total.get(), 0);
    bus.publish("socket.io-request#/elsewhere#", request("emitter"));
    bus.emit(&json!(1));
    seconds(0.1).await;
    assert_eq!(bus.received().len(), 2);
    assert_eq!(node.metrics.bus_translated_total.get(), 2);
}
