//! What this node takes: how many clients, from whom, how fast. One value, shared by all workers.
//!
//! Clients are counted in by an [`Admission`] and out by its drop, so no path can forget it. The settings are
//! atomics: [`Limits::replace`] changes them while the node runs. A lock is taken when a client comes or goes,
//! never for a packet. Which answer a refused client gets is its transport's or session's business.

mod addresses;
mod bodies;
mod bucket;
pub mod descriptors;
mod http;
mod kind;
mod memory;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use log::{info, warn};

use crate::config::{Config, LimitsConfig};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::{Network, is_private};
use addresses::Addresses;
pub use bodies::HeldBody;
pub use bucket::{Rate, TokenBucket};
pub use descriptors::Descriptors;
pub use http::{HttpConnection, HttpConnections};
pub use kind::Limit;
pub use memory::MemoryLimit;

/// The limits of a node, and how much of them is used.
#[derive(Debug)]
pub struct Limits {
    connections: AtomicUsize,
    connections_per_ip: AtomicUsize,
    handshakes: RateCell,
    handshakes_per_ip: RateCell,
    events: RateCell,
    connect_payload: AtomicUsize,
    /// Clients counted in now.
    admitted: AtomicUsize,
    paced: Mutex<TokenBucket>,
    addresses: Addresses,
    bodies: Arc<bodies::Bodies>,
    http: Arc<HttpConnections>,
    descriptors: Descriptors,
    memory: MemoryLimit,
    metrics: Arc<Metrics>,
}

/// What a client wants to be counted in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A session of its own on this node.
    Handshake,
    /// A websocket this node holds for a session of another one, which has counted its handshake.
    RemoteWebsocket,
}

impl Limits {
    /// The limits of a node that is this process. Its limit of open files is raised as far as that is allowed.
    pub fn of_process(config: &Config, metrics: &Arc<Metrics>) -> Arc<Self> {
        let descriptors = Descriptors::raise(config.server.workers);
        let memory = MemoryLimit::of_process();
        Self::with_memory(&config.limits, descriptors, memory, Arc::clone(metrics))
    }

    /// The limits of a node with these descriptors and without a memory limit.
    pub fn new(
        config: &LimitsConfig,
        descriptors: Descriptors,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Self::with_memory(config, descriptors, MemoryLimit::none(), metrics)
    }

    /// The limits of a node with these descriptors and this memory limit.
    pub fn with_memory(
        config: &LimitsConfig,
        descriptors: Descriptors,
        memory: MemoryLimit,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let limits = Self {
            connections: AtomicUsize::new(0),
            connections_per_ip: AtomicUsize::new(0),
            handshakes: RateCell::default(),
            handshakes_per_ip: RateCell::default(),
            events: RateCell::default(),
            connect_payload: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            paced: Mutex::new(TokenBucket::full(crate::clock::now())),
            addresses: Addresses::default(),
            bodies: bodies::Bodies::new(Arc::clone(&metrics)),
            http: HttpConnections::public(Arc::clone(&metrics)),
            descriptors,
            memory,
            metrics,
        };
        limits.replace(config);
        Arc::new(limits)
    }

    /// Sets every limit anew; whoever is counted in stays, also above a new limit.
    pub fn replace(&self, config: &LimitsConfig) {
        let possible = self
            .descriptors
            .connections()
            .min(self.memory.connections());
        let connections = config.connections.unwrap_or(possible);
        let before = self.connections.swap(connections, Ordering::Relaxed);
        let gauge = &self.metrics.connections_limit;
        gauge.add(connections as i64 - before as i64);
        self.connections_per_ip
            .store(config.connections_per_ip, Ordering::Relaxed);
        let http = config.http_connections_per_ip;
        let automatic = || self.descriptors.http_connections_per_ip();
        self.http.replace(http.unwrap_or_else(automatic));
        self.handshakes.set(Rate::new(
            config.handshakes_per_second,
            config.handshakes_burst,
        ));
        self.handshakes_per_ip.set(Rate::new(
            config.handshakes_per_second_per_ip,
            config.handshakes_burst_per_ip,
        ));
        self.events
            .set(Rate::new(config.events_per_second, config.events_burst));
        self.connect_payload
            .store(config.connect_payload, Ordering::Relaxed);
        self.bodies.replace(config.post_bodies);
        if connections != before {
            self.announce(config.connections.is_some());
        }
    }

    /// Logs how many clients can be expected to fit, and which limit bounds them.
    fn announce(&self, chosen: bool) {
        let most = self.connections.load(Ordering::Relaxed);
        let (files, by_files) = (self.descriptors.limit(), self.descriptors.connections());
        let (memory, by_memory) = (self.memory.mebibytes(), self.memory.connections());
        if most > by_files {
            warn!(
                "limits.connections={most} is more than {files} open files allow: expect about {by_files} connections; \
                 raise the limit of open files (ulimit -n, LimitNOFILE=)"
            );
        }
        if most > by_memory {
            warn!(
                "limits.connections={most} is more than a memory limit of {memory} MiB allows: {by_memory} connections at 16 KiB each; \
                 raise the memory limit of the container or service"
            );
        }
        if most > by_files.min(by_memory) {
            return;
        }
        if chosen {
            info!(
                "at most {most} connections, by limits.connections; {files} open files allow {by_files}"
            );
        } else if by_memory < by_files {
            info!(
                "at most {most} connections, by the memory limit of {memory} MiB (limits.connections = auto)"
            );
        } else {
            info!(
                "at most {most} connections, by the limit of {files} open files (limits.connections = auto)"
            );
        }
    }

    /// Counts a client in. Without an address, only limits of the whole node count.
    ///
    /// # Errors
    /// The limit that is reached; it is counted and logged already.
    pub fn admit(
        self: &Arc<Self>,
        arrival: Arrival,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Admission, Limit> {
        let network = address.map(Network::of);
        self.count_in(arrival, network, now)
            .inspect_err(|limit| self.refused(*limit, address))?;
        self.metrics.connections.add(1);
        Ok(Admission {
            limits: Arc::clone(self),
            address,
        })
    }

    fn count_in(
        &self,
        arrival: Arrival,
        network: Option<Network>,
        now: Instant,
    ) -> Result<(), Limit> {
        let paced = |rate: &RateCell| match arrival {
            Arrival::Handshake => rate.get(),
            Arrival::RemoteWebsocket => None,
        };
        let node = || {
            let most = self.connections.load(Ordering::Relaxed);
            self.admitted
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |admitted| {
                    (admitted < most).then_some(admitted + 1)
                })
                .map_err(|_| Limit::Connections)?;
            let Some(rate) = paced(&self.handshakes) else {
                return Ok(());
            };
            let mut bucket = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
            if bucket.take(rate, now) {
                return Ok(());
            }
            self.admitted.fetch_sub(1, Ordering::Relaxed);
            Err(Limit::Handshakes)
        };
        match network {
            None => node(),
            Some(network) => self.addresses.enter(
                network,
                self.connections_per_ip.load(Ordering::Relaxed),
                paced(&self.handshakes_per_ip),
                now,
                node,
            ),
        }
    }

    /// The open files they were made for.
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    /// Notices, for as long as the node runs, when no descriptor is left.
    pub async fn watch(self: Arc<Self>) {
        descriptors::watch(&self.metrics).await;
    }

    /// How fast the events of one client are handed to the app, if that is limited.
    pub fn events(&self) -> Option<Rate> {
        self.events.get()
    }

    /// Bytes of a CONNECT packet's namespace and payload.
    pub fn connect_payload(&self) -> usize {
        self.connect_payload.load(Ordering::Relaxed)
    }

    /// Starts to hold the body of a POST.
    pub fn begin_body(&self) -> HeldBody {
        self.bodies.begin()
    }

    /// The HTTP connections of the public listener.
    pub fn http(&self) -> &Arc<HttpConnections> {
        &self.http
    }

    /// Counts something that a limit refused or held back, and logs it once in a burst.
    pub fn refused(&self, limit: Limit, address: Option<IpAddr>) {
        note_refused(limit, address, &self.metrics);
    }
}

/// Counts something that a limit refused or held back, and logs it once in a burst.
fn note_refused(limit: Limit, address: Option<IpAddr>, metrics: &Metrics) {
    limit.counter(metrics).increment();
    static BURSTS: [Burst; Limit::ALL.len()] = [const { Burst::new() }; Limit::ALL.len()];
    let Some(others) = BURSTS[limit as usize].note() else {
        return;
    };
    let (name, key) = (limit.name(), limit.key());
    match address {
        Some(address) => {
            let message = if may_be_shared(limit, address) {
                "limit reached: if many clients share this address, name their proxy in server.trusted_proxies, or raise the limit if it is a gateway (docs/limits.md)"
            } else {
                "limit reached"
            };
            warn!(limit:% = name, key:%, client:% = address, others; "{message}");
        }
        None => warn!(limit:% = name, key:%, others; "limit reached"),
    }
}

/// Whether a per-address limit was reached by an address in a private network, which can be a proxy or gateway of many
/// clients.
fn may_be_shared(limit: Limit, address: IpAddr) -> bool {
    let of_address = matches!(
        limit,
        Limit::ConnectionsPerIp | Limit::HandshakesPerIp | Limit::HttpConnectionsPerIp
    );
    of_address && is_private(address)
}

/// A client that is counted, until this is dropped.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<Limits>,
    address: Option<IpAddr>,
}

impl Admission {
    /// Where its client is, if that is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.limits.admitted.fetch_sub(1, Ordering::Relaxed);
        self.limits.metrics.connections.add(-1);
        if let Some(address) = self.address {
            let network = Network::of(address);
            self.limits.addresses.leave(network, crate::clock::now());
        }
    }
}

/// A rate that can be changed while others read it.
#[derive(Debug, Default)]
struct RateCell(AtomicU64);

impl RateCell {
    fn set(&self, rate: Option<Rate>) {
        let packed = rate.map_or(0, |rate| {
            u64::from(rate.per_second.get()) << 32 | u64::from(rate.burst)
        });
        self.0.store(packed, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Rate> {
        let packed = self.0.load(Ordering::Relaxed);
        Rate::new((packed >> 32) as u32, packed as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn per_address_limits_of_private_addresses_may_be_shared() {
        let cases = [
            (Limit::ConnectionsPerIp, "172.17.0.1", true),
            (Limit::HandshakesPerIp, "::ffff:10.0.0.1", true),
            (Limit::HttpConnectionsPerIp, "fd00::1", true),
            (Limit::HandshakesPerIp, "127.0.0.1", true),
            (Limit::ConnectionsPerIp, "203.0.113.7", false),
            (Limit::Connections, "172.17.0.1", false),
            (Limit::Payload, "172.17.0.1", false),
        ];
        for (limit, address, expected) in cases {
            let shared = may_be_shared(limit, address.parse().unwrap());
            assert_eq!(shared, expected, "{limit:?} {address}");
        }
    }

    fn limits(change: impl FnOnce(&mut LimitsConfig)) -> Arc<Limits> {
        let mut config = Config::default().limits;
        change(&mut config);
        Limits::new(&config, Descriptors::of(1_000, 2), Arc::default())
    }

    #[test]
    fn a_node_takes_so_many_until_one_goes() {
        let limits = limits(|config| config.connections = Some(2));
        let now = crate::clock::now();
        let enter = |address| limits.admit(Arrival::Handshake, address, now);
        let first = enter(HERE).unwrap();
        let _second = enter(None).unwrap();
        assert_eq!(enter(HERE).unwrap_err(), Limit::Connections);
        assert_eq!(
            limits
                .admit(Arrival::RemoteWebsocket, HERE, now)
                .unwrap_err(),
            Limit::Connections
        );
        assert_eq!(limits.metrics.connections.get(), 2);
        drop(first);
        assert!(enter(THERE).is_ok());
    }

    #[test]
    fn auto_takes_the_lower_of_files_and_memory() {
        let most = |files, memory| {
            let config = Config::default().limits;
            let files = Descriptors::of(files, 2);
            let limits = Limits::with_memory(&config, files, memory, Arc::default());
            limits.metrics.connections_limit.get()
        };
        let container = MemoryLimit::of(512 << 20);
        assert_eq!(most(1_048_576, MemoryLimit::none()), 917_424);
        assert_eq!(most(1_048_576, container), 31_744);
        assert_eq!(most(1_024, container), 816);
    }

    #[test]
    fn what_one_limit_refuses_costs_nothing_at_another() {
        let limits = limits(|config| {
            config.connections_per_ip = 1;
            config.handshakes_per_second = 1;
            config.handshakes_burst = 2;
        });
        let now = crate::clock::now();
        let enter = |address| limits.admit(Arrival::Handshake, address, now);
        let held = enter(HERE).unwrap();
        for _ in 0..5 {
            assert_eq!(enter(HERE).unwrap_err(), Limit::ConnectionsPerIp);
        }
        // The second token of the node is still there, and no third.
        drop(enter(THERE).unwrap());
        assert_eq!(enter(THERE).unwrap_err(), Limit::Handshakes);
        assert_eq!(limits.admitted.load(Ordering::Relaxed), 1);
        // A held websocket is no handshake.
        assert!(limits.admit(Arrival::RemoteWebsocket, THERE, now).is_ok());
        drop(held);
        assert_eq!(limits.addresses.len(), 0, "nobody is remembered");
        let later = now + Duration::from_secs(1);
        assert!(limits.admit(Arrival::Handshake, THERE, later).is_ok());
    }

    #[test]
    fn limits_change_while_clients_stay() {
        let limits = limits(|config| config.connections = Some(3));
        let now = crate::clock::now();
        let held: Vec<_> = (0..3)
            .map(|_| limits.admit(Arrival::Handshake, HERE, now).unwrap())
            .collect();
        let mut config = Config::default().limits;
        config.connections = Some(1);
        config.connections_per_ip = 1;
        config.events_per_second = 5;
        limits.replace(&config);
        assert_eq!(limits.metrics.connections_limit.get(), 1);
        assert_eq!(limits.events(), Rate::new(5, 0));
        assert!(limits.admit(Arrival::Handshake, THERE, now).is_err());
        drop(held);
        let _one = limits.admit(Arrival::Handshake, HERE, now).unwrap();
        limits.replace(&Config::default().limits);
        assert!(limits.admit(Arrival::Handshake, HERE, now).is_ok());
        assert_eq!(limits.events(), None);
    }
}
