//! Nodes on one bus in memory with injectable faults, and a member of the bus that only publishes.

use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::link::{Channel, Link, Outgoing};
use roomwire::bus::memory::{Faults, Hub, MemberId, MemoryLink};
use roomwire::cluster::dialect::native::{NativeChannels, encode_command};
use roomwire::config::Config;
use roomwire::model::random::OsRandom;
use roomwire::model::{Command, Emit, Namespace, NodeId, Payload, Room, Selector};
use roomwire::server::{BusHandles, Extensions};
use roomwire::store::MemoryStore;

use super::server::config;
use super::{TestServer, eventually, within_deadline};

/// `N` nodes.
pub struct TestCluster<const N: usize> {
    pub hub: Hub,
    pub nodes: [TestServer; N],
    /// The store that the nodes share.
    pub store: Arc<MemoryStore>,
    members: [MemberId; N],
}

impl<const N: usize> TestCluster<N> {
    /// Nodes with the default configuration.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Nodes with these settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::configured(&config(settings), Hub::default()).await
    }

    /// Nodes with this configuration on this bus.
    pub async fn configured(config: &Config, hub: Hub) -> Self {
        Self::extended(config, hub, &Extensions::default()).await
    }

    /// The same with additions to each node.
    pub async fn extended(config: &Config, hub: Hub, extensions: &Extensions) -> Self {
        let store = Arc::new(MemoryStore::default());
        let mut nodes = Vec::new();
        let mut members = Vec::new();
        for _ in 0..N {
            let (link, events) = hub.join();
            members.push(link.member());
            let handles = BusHandles::new(link, events, Arc::clone(&store) as _);
            let node = TestServer::extended(config.clone(), Some(handles), extensions.clone());
            nodes.push(node.await);
        }
        let (Ok(nodes), Ok(members)) = (nodes.try_into(), members.try_into()) else {
            unreachable!()
        };
        let cluster = Self {
            hub,
            nodes,
            store,
            members,
        };
        cluster.ready().await;
        cluster
    }

    /// Waits until every node is on the bus.
    async fn ready(&self) {
        for node in &self.nodes {
            node.readyz("bus: up").await;
        }
    }

    /// Disconnects a node from the bus.
    pub fn cut(&self, node: usize) {
        self.hub.cut(self.members[node]);
    }

    /// Reconnects it.
    pub fn heal(&self, node: usize) {
        self.hub.heal(self.members[node]);
    }

    /// Makes a node receive nothing, or receive again.
    pub fn deafen(&self, node: usize, deaf: bool) {
        self.hub.deafen(self.members[node], deaf);
    }

    /// Makes the publishes of a node reach no member, without an error.
    pub fn silence(&self, node: usize) {
        self.hub.silence(self.members[node], true);
    }

    /// Sets the faults between every two nodes.
    pub fn faults(&self, faults: Faults) {
        for from in &self.members {
            for to in &self.members {
                self.hub.set_faults(*from, *to, faults);
            }
        }
    }
}

/// A member of the bus that publishes commands which clients of the apps cannot cause.
pub struct BusPublisher {
    node: NodeId,
    link: Arc<MemoryLink>,
    channels: NativeChannels,
}

impl BusPublisher {
    /// Joins the bus of nodes with the default prefix.
    pub fn join(hub: &Hub) -> Self {
        let (link, _events) = hub.join();
        let channels = NativeChannels::new(config(&[]).bus.channel_prefix);
        Self {
            node: NodeId::random(&OsRandom),
            link,
            channels,
        }
    }

    /// Publishes a command on each of its channels.
    pub fn publish(&self, command: &Command) {
        let payload = encode_command(self.node, command).unwrap();
        for channel in self.channels.of(command) {
            let message = Outgoing::new(channel, payload.clone());
            self.link.publish(vec![message]);
        }
    }

    /// Emits to the selected sockets; `json` is the whole event.
    pub fn emit(&self, to: Selector, json: &str, volatile: bool) {
        let payload = Payload::text(json.to_owned());
        self.publish(&Command::Emit(Emit {
            to,
            payload,
            volatile,
            ack: None,
            conflate: None,
        }));
    }

    /// The number of members that are subscribed to a room of the main namespace.
    pub async fn subscribers(&self, room: &str) -> u64 {
        let channel = self.channels.room(&Namespace::main(), &Room::from(room));
        self.count(channel).await
    }

    /// Waits until this many members are subscribed to a room of the main namespace.
    pub async fn await_subscribers(&self, members: u64, room: &str) {
        within_deadline("the subscribers of a room", async {
            while self.subscribers(room).await != members {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// The number of members that are subscribed to the channel of a node.
    pub async fn subscribers_of_node(&self, node: &str) -> u64 {
        self.count(self.channels.node(NodeId::parse(node).unwrap()))
            .await
    }

    async fn count(&self, channel: Channel) -> u64 {
        // No member can decode it.
        let message = Outgoing {
            channel,
            payload: "?".into(),
            volatile: true,
            translation: None,
            log: None,
        };
        self.link.publish_counted(message).await.unwrap()
    }
}

/// The members of a room of the main namespace.
pub fn room(name: &str) -> Selector {
    Selector::room(Namespace::main(), Room::from(name))
}

/// Everybody in the main namespace.
pub fn everybody() -> Selector {
    Selector::everybody(Namespace::main())
}

/// Waits until a node has published this many messages.
pub async fn published(node: &TestServer, count: u64) {
    eventually("the publishes", || {
        node.metrics().bus_published_total.get() >= count
    })
    .await;
}
