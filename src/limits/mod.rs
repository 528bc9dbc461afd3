//! The limits of a node: how many clients, of which addresses, how fast. One value, shared by all workers.
//!
//! An [`Admission`] counts a client until it is dropped, so no path can forget to count it out. The settings are atomics:
//! [`Limits::replace`] changes them while the node runs. A lock is taken when a client connects or disconnects, never for
//! a packet. The response to a rejected client is up to its transport or session.

mod addresses;
mod announcement;
mod bodies;
mod bucket;
pub mod descriptors;
mod event_rates;
mod http;
mod keyed;
mod kind;
mod memory;
mod rate_cell;
mod rejection_log;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Config, LimitsConfig, Reloadable};
use crate::metrics::Metrics;
use crate::model::Network;
use addresses::Addresses;
pub use bodies::HeldBody;
pub use bucket::{Rate, TokenBucket};
pub use descriptors::Descriptors;
pub use event_rates::{EventRates, EventSender, RateExceeded};
pub use http::{HttpConnection, HttpConnections};
pub use keyed::KeyedRates;
pub use kind::Limit;
pub use memory::MemoryLimit;
use rate_cell::RateCell;

/// Burst size of control packets, in seconds of their rate.
const CONTROL_BURST: u32 = 5;

/// The limits of a node, and how much of each is used.
#[derive(Debug)]
pub struct Limits {
    connections: AtomicUsize,
    connections_per_ip: AtomicUsize,
    connections_per_user: AtomicUsize,
    handshakes: RateCell,
    handshakes_per_ip: RateCell,
    /// In microseconds; 0 = no limit.
    handshake_delay: AtomicU64,
    events: RateCell,
    control_packets: RateCell,
    /// Whether `event_rates` has any.
    has_event_rates: AtomicBool,
    event_rates: Arc<Reloadable<Option<EventRates>>>,
    connect_payload: AtomicUsize,
    /// Number of clients that are counted.
    admitted: AtomicUsize,
    handshake_bucket: Mutex<TokenBucket>,
    addresses: Addresses,
    bodies: Arc<bodies::Bodies>,
    http: Arc<HttpConnections>,
    descriptors: Descriptors,
    memory: MemoryLimit,
    metrics: Arc<Metrics>,
}

/// The ways in which a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It opens a session on this node.
    Handshake,
    /// Its websocket is held here for a session of another node, which has counted its handshake.
    RemoteWebsocket,
}

impl Limits {
    /// The limits of this process. Its limit of open files is raised as far as the system allows.
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
            connections_per_user: AtomicUsize::new(0),
            handshakes: RateCell::default(),
            handshakes_per_ip: RateCell::default(),
            handshake_delay: AtomicU64::new(0),
            events: RateCell::default(),
            control_packets: RateCell::default(),
            has_event_rates: AtomicBool::new(false),
            event_rates: Reloadable::new(None),
            connect_payload: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            handshake_bucket: Mutex::new(TokenBucket::full(crate::clock::now())),
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

    /// Connections of one user in one namespace, on all nodes.
    pub fn connections_per_user(&self) -> usize {
        self.connections_per_user.load(Ordering::Relaxed)
    }

    /// Replaces every limit. Clients that are counted stay, also above a new limit.
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
        self.connections_per_user
            .store(config.connections_per_user, Ordering::Relaxed);
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
        let delay = config.handshake_delay.unwrap_or_default().as_micros();
        let delay = u64::try_from(delay).unwrap_or(u64::MAX);
        self.handshake_delay.store(delay, Ordering::Relaxed);
        self.events
            .set(Rate::new(config.events_per_second, config.events_burst));
        let control = config.control_packets_per_second;
        let burst = control.saturating_mul(CONTROL_BURST);
        self.control_packets.set(Rate::new(control, burst));
        self.replace_event_rates(config);
        self.connect_payload
            .store(config.connect_payload, Ordering::Relaxed);
        self.bodies.replace(config.post_bodies);
        if connections != before {
            let chosen = config.connections.is_some();
            announcement::log(connections, chosen, self.descriptors, self.memory);
        }
    }

    /// Unchanged rates keep what is used of them.
    fn replace_event_rates(&self, config: &LimitsConfig) {
        let current = self.event_rates.read();
        if current
            .as_ref()
            .as_ref()
            .is_some_and(|rates| rates.is_of(config))
        {
            return;
        }
        let rates = EventRates::of(config);
        let has_rates = rates.is_some();
        self.event_rates.replace(rates);
        self.has_event_rates.store(has_rates, Ordering::Relaxed);
    }

    /// Counts a client until the returned value is dropped. Without an address, only the limits of the whole node apply.
    ///
    /// # Errors
    /// The limit that is reached, which has been counted and logged.
    pub fn admit(
        self: &Arc<Self>,
        arrival: Arrival,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Admission, Limit> {
        let network = address.map(Network::of);
        self.count_in(arrival, network, now)
            .inspect_err(|limit| self.record_rejection(*limit, address))?;
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
            let mut bucket = self
                .handshake_bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
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

    /// The limit of open files.
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    /// Watches whether file descriptors are left, for as long as the node runs.
    pub async fn watch(self: Arc<Self>) {
        descriptors::watch(&self.metrics).await;
    }

    /// The rate at which events of one session are passed to the app, if it is limited.
    pub fn events(&self) -> Option<Rate> {
        self.events.get()
    }

    /// The rate of the control packets of a websocket that is held for a session of another node; `None` = no limit.
    pub fn control_packets(&self) -> Option<Rate> {
        self.control_packets.get()
    }

    /// The rates of events by name and of users, if there are any. Do not hold the guard for long.
    pub fn event_rates(&self) -> Option<impl Deref<Target = Arc<Option<EventRates>>>> {
        let has_rates = self.has_event_rates.load(Ordering::Relaxed);
        has_rates.then(|| self.event_rates.read())
    }

    /// The lateness of a worker above which it accepts no new sessions, if it is limited.
    pub fn handshake_delay(&self) -> Option<Duration> {
        let delay = self.handshake_delay.load(Ordering::Relaxed);
        (delay > 0).then(|| Duration::from_micros(delay))
    }

    /// Maximum size of the namespace and payload of a CONNECT packet in bytes.
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

    /// Counts something that a limit rejected or delayed, and logs it once per burst.
    pub fn record_rejection(&self, limit: Limit, address: Option<IpAddr>) {
        rejection_log::record(limit, address, &self.metrics);
    }
}

/// A client, counted until this is dropped.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<Limits>,
    address: Option<IpAddr>,
}

impl Admission {
    /// The address of the client, if it is known.
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

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    fn limits(change: impl FnOnce(&mut LimitsConfig)) -> Arc<Limits> {
        let mut config = Config::default().limits;
        change(&mut config);
        Limits::new(&config, Descriptors::of(1_000, 2), Arc::default())
    }

    #[test]
    fn a_node_admits_clients_up_to_its_limit_until_one_leaves() {
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
    fn the_automatic_limit_is_the_lower_one_of_files_and_memory() {
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
    fn a_rejection_by_one_limit_takes_no_token_of_another() {
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
        assert_eq!(limits.addresses.len(), 0, "no address is remembered");
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
