//! Limits the HTTP connections of each address: even an idle one costs a descriptor.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::kind::Limit;
use super::rejection_log;
use crate::metrics::Metrics;
use crate::model::Network;

/// The HTTP connections of a listener.
#[derive(Debug)]
pub struct HttpConnections {
    per_address: AtomicUsize,
    open: Mutex<HashMap<Network, usize>>,
    metrics: Arc<Metrics>,
    /// Whether this is the public listener, whose connections the gauge counts.
    public: bool,
}

impl HttpConnections {
    /// Connections of the public listener.
    pub(super) fn public(metrics: Arc<Metrics>) -> Arc<Self> {
        Self::new(usize::MAX, metrics, true)
    }

    /// Connections of the internal listener, at most `per_address` of one address.
    pub fn internal(per_address: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::new(per_address, metrics, false)
    }

    fn new(per_address: usize, metrics: Arc<Metrics>, public: bool) -> Arc<Self> {
        Arc::new(Self {
            per_address: AtomicUsize::new(per_address),
            open: Mutex::default(),
            metrics,
            public,
        })
    }

    /// Replaces the limit; open connections stay, even above it.
    pub(super) fn replace(&self, per_address: usize) {
        self.per_address.store(per_address, Ordering::Relaxed);
    }

    /// Counts a connection until the returned value is dropped. Without an address it is not limited.
    ///
    /// # Errors
    /// Its address has reached the limit, which has been counted and logged.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<HttpConnection, Limit> {
        let network = address.map(Network::of);
        if let Some(network) = network {
            let mut open = self.open();
            let of_network = open.entry(network).or_insert(0);
            if *of_network >= self.per_address.load(Ordering::Relaxed) {
                drop(open);
                let limit = Limit::HttpConnectionsPerIp;
                rejection_log::record(limit, address, &self.metrics);
                return Err(limit);
            }
            *of_network += 1;
        }
        if self.public {
            self.metrics.http_connections.add(1);
        }
        Ok(HttpConnection {
            all: Arc::clone(self),
            network,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP connection, counted until this is dropped.
#[derive(Debug)]
pub struct HttpConnection {
    all: Arc<HttpConnections>,
    network: Option<Network>,
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        if self.all.public {
            self.all.metrics.http_connections.add(-1);
        }
        let Some(network) = self.network else { return };
        let mut open = self.all.open();
        if let Some(of_network) = open.get_mut(&network) {
            *of_network -= 1;
            if *of_network == 0 {
                open.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_network_until_they_are_dropped() {
        let connections = HttpConnections::internal(2, Arc::default());
        let address = |text: &str| Some(text.parse().unwrap());
        let (here, there) = (address("192.0.2.1"), address("2001:db8::1"));
        let first = connections.enter(here).unwrap();
        let _second = connections.enter(here).unwrap();
        assert_eq!(
            connections.enter(here).err(),
            Some(Limit::HttpConnectionsPerIp)
        );
        let other = connections.enter(there).unwrap();
        let _neighbour = connections.enter(address("2001:db8::2")).unwrap();
        assert!(connections.enter(there).is_err(), "a /64 is one address");
        assert!(connections.enter(None).is_ok());
        drop(first);
        drop(connections.enter(here).unwrap());
        connections.replace(5);
        assert!(connections.enter(there).is_ok());
        drop(other);
        assert_eq!(connections.open().len(), 2);
    }
}
