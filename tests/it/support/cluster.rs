//! Nodes on one bus in memory, with knobs for what goes wrong.

use std::sync::Arc;

use roomwire::bridge::memory::{Faults, Hub, MemberId};
use roomwire::bridge::store::MemoryStore;
use roomwire::config::Config;
use roomwire::server::Outside;

use super::TestServer;
use super::server::config;

/// `N` nodes.
pub struct TestCluster<const N: usize> {
    pub hub: Hub,
    pub nodes: [TestServer; N],
    members: [MemberId; N],
}

impl<const N: usize> TestCluster<N> {
    /// Nodes with the shipped configuration.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Nodes with these settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::configured(&config(settings), Hub::default()).await
    }

    /// Nodes with this configuration on this bus.
    pub async fn configured(config: &Config, hub: Hub) -> Self {
        let store = Arc::new(MemoryStore::default());
        let mut nodes = Vec::new();
        let mut members = Vec::new();
        for _ in 0..N {
            let (link, events) = hub.join();
            members.push(link.member());
            let outside = Outside {
                link,
                events,
                store: Arc::clone(&store) as _,
            };
            nodes.push(TestServer::configured(config.clone(), Some(outside)).await);
        }
        let (Ok(nodes), Ok(members)) = (nodes.try_into(), members.try_into()) else {
            unreachable!()
        };
        let cluster = Self {
            hub,
            nodes,
            members,
        };
        cluster.ready().await;
        cluster
    }

    /// Every node is on the bus.
    async fn ready(&self) {
        for node in &self.nodes {
            node.readyz("bus: up").await;
        }
    }

    /// Takes a node off the bus.
    pub fn cut(&self, node: usize) {
        self.hub.cut(self.members[node]);
    }

    /// Puts it back.
    pub fn heal(&self, node: usize) {
        self.hub.heal(self.members[node]);
    }

    /// Makes a node hear nothing, or hear again.
    pub fn deafen(&self, node: usize, deaf: bool) {
        self.hub.deafen(self.members[node], deaf);
    }

    /// Makes what a node says reach nobody, without its knowing.
    pub fn silence(&self, node: usize, silent: bool) {
        self.hub.silence(self.members[node], silent);
    }

    /// What goes wrong on every way between two nodes.
    pub fn faults(&self, faults: Faults) {
        for from in &self.members {
            for to in &self.members {
                self.hub.set_faults(*from, *to, faults);
            }
        }
    }
}
