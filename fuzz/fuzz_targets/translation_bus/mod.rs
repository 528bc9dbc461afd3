//! The bus of a node that translates, with a member that publishes and receives as foreign servers do.

mod checks;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomwire::bus::entry;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::cluster::dialect::Dialect;
use roomwire::cluster::dialect::node::streams::stream_names;
use roomwire::cluster::start::{BridgeContext, StartedBridge, dialects, start_bridge};
use roomwire::config::{BusConfig, Config, NodeAdapter, RoomChannels};
use roomwire::health::{BusState, Health};
use roomwire::model::NodeId;
use roomwire::msgpack::write_value;
use roomwire::store::MemoryStore;
use serde_json::Value;

/// `bus.message_limit`. Below the longest inputs, so that messages above it occur.
const LIMIT: usize = 2_000;
/// `socket.max_depth`
const DEPTH: usize = 20;
/// Maximum of bytes that the node publishes for one message of a server: the messages of a command that becomes several, and
/// responses.
const MOST_PUBLISHED: usize = 40 * LIMIT;

/// Where a server publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The channel of servers in Python.
    Python,
    /// What all servers in Node receive.
    Namespace,
    /// What servers in Node with members of a room receive.
    Room,
    /// Requests of servers in Node with the pub/sub adapter; on other buses the same as [`Self::Namespace`].
    Requests,
    OtherNamespace,
}

/// A bus with a node that translates.
pub struct Bus {
    adapter: NodeAdapter,
    server: Arc<MemoryLink>,
    received: LinkEvents,
    /// How programs that are not of the cluster decode what the node publishes.
    foreign: Vec<Arc<dyn Dialect>>,
    _node: StartedBridge,
    /// The last request of the node for acks of servers in Node.
    node_request: Option<String>,
    /// The last emit of the node with a callback: its `host_id` and the elements of `callback`.
    python_callback: Option<(String, Vec<Value>)>,
}

fn bus_config(adapter: NodeAdapter, cluster: &str) -> BusConfig {
    BusConfig {
        node_adapter: adapter,
        node_room_channels: RoomChannels::None,
        python: true,
        translate: true,
        channel_prefix: cluster.to_owned(),
        message_limit: LIMIT,
        known_namespaces: vec!["/".to_owned(), "/a".to_owned()],
        ..Config::default().bus
    }
}

fn node_id(name: &str) -> NodeId {
    NodeId::parse(name).expect("four letters")
}

fn start_node(config: &BusConfig, hub: &Hub) -> StartedBridge {
    let (link, events) = hub.join();
    let name = node_id("abcd");
    let context = BridgeContext {
        node: name,
        workers: 1,
        max_depth: DEPTH,
        metrics: Arc::default(),
        health: Arc::new(Health::new(BusState::Down, false)),
        routers: Arc::default(),
        command_observers: Vec::new(),
        server_events: None,
        store: Arc::new(MemoryStore::default()),
    };
    start_bridge(config, link, events, dialects(config, name), context)
}

impl Bus {
    /// Starts a node and waits until it translates.
    pub async fn start(adapter: NodeAdapter) -> Self {
        let config = bus_config(adapter, "one");
        let hub = Hub::default();
        if adapter == NodeAdapter::Streams {
            stream_names(&config)
                .into_iter()
                .for_each(|name| hub.add_stream(Channel::from(name)));
        }
        let (server, received) = hub.join();
        server.subscribe(vec![Channel::from("socketio"), Channel::from("socket.io")]);
        server.subscribe_patterns(vec![
            Channel::from("socket.io#*"),
            Channel::from("socket.io-*"),
        ]);
        let foreign = dialects(&bus_config(adapter, "two"), node_id("efgh"));
        let mut bus = Self {
            adapter,
            foreign: foreign.into_iter().skip(1).collect(),
            _node: start_node(&config, &hub),
            server,
            received,
            node_request: None,
            python_callback: None,
        };
        tokio::time::sleep(Duration::from_secs(3)).await;
        bus.take_received();
        bus
    }

    /// Publishes a message of a server, and checks what the node publishes.
    pub async fn publish(&mut self, place: Place, bytes: &[u8]) {
        let (channel, message) = self.message(place, bytes);
        let before = self.emit_in(&channel, &message);
        self.send(channel, message).await;
        let published = self.take_received();
        let total: usize = published.iter().map(|(_, message)| message.len()).sum();
        assert!(total <= MOST_PUBLISHED, "{total} bytes for one message");
        for (channel, message) in published {
            self.check(&channel, &message, before.as_ref());
        }
    }

    /// Acks the last emit that the node sent to servers in Node, with any bytes as the first argument.
    pub async fn ack_as_node(&mut self, packet: &[u8]) {
        let Some(request) = self.node_request.clone() else {
            return;
        };
        let mut message = Vec::new();
        let request = Value::from(request);
        let head = format!(r#"{{"type":9,"requestId":{request},"packet":null}}"#);
        write_value(&head, &[], &mut message);
        message.pop(); // null
        message.extend_from_slice(packet);
        self.send(Channel::from("socket.io-response#/#"), message.into())
            .await;
        self.check_received();
    }

    /// Acks the last emit that the node sent to servers in Python, with any bytes as the arguments.
    pub async fn ack_as_python(&mut self, arguments: &[u8]) {
        let Some((host, callback)) = self.python_callback.clone() else {
            return;
        };
        let [room, namespace, id] = &callback[..] else {
            return;
        };
        let mut message = format!(
            r#"{{"method":"callback","host_id":{},"sid":{room},"namespace":{namespace},"id":{id},"args":"#,
            Value::from(host)
        )
        .into_bytes();
        message.extend_from_slice(arguments);
        message.push(b'}');
        self.send(Channel::from("socketio"), message.into()).await;
        self.check_received();
    }

    /// Lets up to a minute pass.
    pub async fn wait(&mut self, seconds: usize) {
        let seconds = seconds.min(60) as u64;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.check_received();
    }

    fn message(&self, place: Place, bytes: &[u8]) -> (Channel, Bytes) {
        let is_streams = self.adapter == NodeAdapter::Streams;
        let is_pubsub = self.adapter == NodeAdapter::PubSub;
        let channel = match place {
            Place::Python => "socketio",
            Place::Requests if is_pubsub => "socket.io-request#/#",
            Place::OtherNamespace if is_pubsub => "socket.io-request#/a#",
            _ if is_streams => return (Channel::from("socket.io"), self.entry(place, bytes)),
            Place::Room => "socket.io#/#room#",
            Place::OtherNamespace => "socket.io#/a#",
            Place::Namespace | Place::Requests => "socket.io#/#",
        };
        (Channel::from(channel), Bytes::copy_from_slice(bytes))
    }

    /// The entry of a stream with these bytes as data, or as a whole.
    fn entry(&self, place: Place, bytes: &[u8]) -> Bytes {
        let namespace: &[u8] = match place {
            Place::OtherNamespace => b"/a",
            _ => b"/",
        };
        let Some((kind, data)) = bytes.split_first().filter(|_| place != Place::Room) else {
            return Bytes::copy_from_slice(bytes);
        };
        let kind = (kind % 16).to_string();
        let fields: [&[u8]; 8] = [
            b"uid",
            b"u",
            b"nsp",
            namespace,
            b"type",
            kind.as_bytes(),
            b"data",
            data,
        ];
        entry::encode(fields)
    }

    /// Publishes a message, and waits until the node has handled it.
    async fn send(&mut self, channel: Channel, message: Bytes) {
        self.check_received();
        self.server.publish(vec![Outgoing::new(channel, message)]);
        let own = self.take_received();
        assert_eq!(own.len(), 1, "the bus delivers at once");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// What has arrived since: once the messages of the server are taken, those of the node.
    fn take_received(&mut self) -> Vec<(Channel, Bytes)> {
        let mut received = Vec::new();
        while let Some(event) = self.received.try_next() {
            if let LinkEvent::Message { channel, payload }
            | LinkEvent::Matched { channel, payload } = event
            {
                received.push((channel, payload));
            }
        }
        received
    }

    fn check_received(&mut self) {
        for (channel, message) in self.take_received() {
            self.check(&channel, &message, None);
        }
    }
}
