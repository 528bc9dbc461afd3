//! Wiring: starts the parts of a node bottom-up, binds its listener, and stops it in order.
//!
//! `main` and the tests start a node by the same call. No other module imports this one.

mod app;
mod drain;
mod drain_plan;
mod listen;
mod name;
mod reload;
mod reloadable;
mod tls;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use actix::Recipient;
use actix_server::ServerHandle;
use anyhow::Context as _;
use log::{debug, info};
use tokio::sync::Notify;

use crate::app::AppFactory;
use crate::app::gate::GateFactory;
use crate::broker::{Directory, Ingress};
use crate::bus::link::{Link, LinkEvents};
use crate::bus::redis::{RedisLink, RedisStore};
use crate::cluster::messages::{Leave, RouterAddresses};
use crate::cluster::start::{self, BridgeContext, BridgeHandles, ComposeDialects};
use crate::config::Config;
use crate::health::{BusState, Health, Phase};
use crate::http::client_files::ClientFiles;
use crate::http::demo::Demo;
use crate::http::internal::InternalSite;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::model::{NodeId, Random};
use crate::outbox::Budget;
use crate::store::Store;
use crate::store::lease::Lease;
use crate::tls::TlsIdentity;
use crate::transport::routing::{CloseAll, WorkerRouters};
use app::apps;
use listen::{bind, serve, serve_internal};
use name::claim_name;
pub use reload::Reloader;
use reloadable::ReloadableParts;
use tls::WatchedIdentity;
use worker::{Blueprint, endpoint_settings, outbox_memory, session_settings};

/// How long a stopping node waits for its sessions to say goodbye.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// A running node.
pub struct Server {
    node: NodeId,
    address: SocketAddr,
    handle: ServerHandle,
    internal: Option<Internal>,
    tls: Option<WatchedIdentity>,
    drain_wanted: Arc<Notify>,
    blueprint: Arc<Blueprint>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    routers: Arc<WorkerRouters>,
    lease: Option<Lease>,
    leave: Option<Recipient<Leave>>,
}

/// The internal listener of a node.
struct Internal {
    address: SocketAddr,
    handle: ServerHandle,
}

/// The way to the other nodes.
pub struct BusHandles {
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    pub store: Arc<dyn Store>,
    /// Composes the dialects of a node.
    pub dialects: ComposeDialects,
}

/// What is added to a node beside its configuration.
#[derive(Clone, Default)]
pub struct Extensions {
    /// Checks that clients pass before the app sees them, in this order.
    pub gates: Vec<GateFactory>,
}

impl BusHandles {
    /// A bus with the shipped dialects.
    pub fn new(link: Arc<dyn Link>, events: LinkEvents, store: Arc<dyn Store>) -> Self {
        Self {
            link,
            events,
            store,
            dialects: start::dialects,
        }
    }

    /// Redis, if the configuration names one. Never waits for it.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn from_config(config: &Config, random: &Arc<dyn Random>) -> anyhow::Result<Option<Self>> {
        let Some(settings) = start::redis_settings(&config.bus)? else {
            return Ok(None);
        };
        debug!(target: "roomwire::cluster", "Using Redis to manage websockets.");
        let store = Arc::new(RedisStore::new(settings.clone()));
        let (link, events) = RedisLink::start(settings, Arc::clone(random));
        Ok(Some(Self::new(link, events, store)))
    }
}

impl Server {
    /// Starts a node; returns when it accepts connections. Must run inside an actix system.
    ///
    /// # Errors
    /// The address is taken, or a file of the configuration cannot be read.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let outside = BusHandles::from_config(&config, &random)?;
        Self::start_with(config, outside, random, Extensions::default()).await
    }

    /// The same with everything outside of the node given.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        config: Config,
        outside: Option<BusHandles>,
        random: Arc<dyn Random>,
        extensions: Extensions,
    ) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let health = starting_health(outside.as_ref(), &config);
        let drain_wanted = Arc::new(Notify::new());
        // First of all, so that a node can be asked while it starts.
        let internal = start_internal(&config, &health, &metrics, &drain_wanted)?;
        let tls = WatchedIdentity::start(&config.server, &metrics)?;
        let client_files = client_files(&config)?;
        let (node, lease) = claim_name(outside.as_ref(), &config, &*random).await;
        metrics.node_info.set(node.as_str());
        let (ports, routers) = (RouterAddresses::default(), Arc::<WorkerRouters>::default());
        let reloadable = ReloadableParts::of(&config);
        let shared = (&metrics, &random);
        let app = apps(&config, outside.as_ref(), node, &reloadable, shared);
        let surroundings = surroundings(&config, node, &*app, &metrics, &health, &ports);
        let (directory, ways) = start_bus(&config, outside, surroundings);
        let (forward, leave) = ways.map(|ways| (ways.forward, ways.leave)).unzip();
        let (listener, address) = bind(&config.server.bind, "server.bind")?;
        let demo = demo(&config, node, address, &client_files);
        let blueprint = Arc::new(Blueprint {
            sessions: Arc::new(session_settings(&config)),
            limits: Limits::of_process(&config, &metrics),
            outbox_memory: Budget::new(outbox_memory(&config), config.server.workers),
            endpoint: Arc::new(endpoint_settings(&config, node, &reloadable, &*app)),
            reloadable,
            directory,
            forward,
            random: Arc::clone(&random),
            health: Arc::clone(&health),
            demo: Arc::new(demo),
            client_files: Arc::new(client_files),
            routers: Arc::clone(&routers),
            ports,
            tls: tls.as_ref().map(|tls| Arc::clone(&tls.identity)),
            app,
            gate_factories: extensions.gates,
            entered: Mutex::new(vec![None; config.server.workers]),
            next_worker: AtomicUsize::new(0),
            config,
        });
        let handle = open(&blueprint, listener)?;
        greet(&blueprint.config, address, node);
        Ok(Self {
            node,
            address,
            handle,
            internal,
            tls,
            drain_wanted,
            blueprint,
            health,
            metrics,
            routers,
            lease,
            leave,
        })
    }

    /// Ends when another node has taken this one's name; then it must stop.
    pub async fn name_lost(&self) {
        match &self.lease {
            Some(lease) => lease.clone().keep().await,
            None => std::future::pending().await,
        }
        self.health.set_phase(Phase::Draining);
    }

    /// Ends when somebody asks this node to drain (`POST /drain`).
    pub async fn drain_wanted(&self) {
        self.drain_wanted.notified().await;
    }

    /// The certificate of the public listener, to be reloaded; `None` without TLS.
    pub fn tls(&self) -> Option<&TlsIdentity> {
        self.tls.as_ref().map(|tls| &*tls.identity)
    }

    /// Where its internal listener is.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(|internal| internal.address)
    }

    /// Sessions, and websockets of other nodes' sessions.
    fn occupants(&self) -> i64 {
        self.metrics.sessions.get() + self.metrics.forwarded_websockets.get()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name in the cluster.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What it takes. Can be changed while it runs.
    pub fn limits(&self) -> &Limits {
        &self.blueprint.limits
    }

    /// The entrance to its broker, for any thread.
    pub fn ingress(&self) -> Ingress {
        Ingress::new(Arc::clone(&self.blueprint.directory))
    }

    /// Puts in force what a running node can take over of a configuration (`config::reload` says which keys); the
    /// rest of it is not looked at.
    pub fn apply(&self, config: &Config) {
        reload::apply(self, config);
    }

    /// Empties the node bit by bit: takes nobody new and closes who is there at the pace of `[drain]`. Returns when
    /// nobody is left, or after `drain.timeout`.
    pub async fn drain(&self) {
        let drained = drain::drain(self);
        match &self.lease {
            // Sessions that are left have ids of this name.
            Some(lease) => lease.clone().keep_during(drained).await,
            None => drained.await,
        }
    }

    /// Stops: takes nobody new, tells every client at once, and ends.
    pub async fn stop(self) {
        self.health.set_phase(Phase::Draining);
        for router in self.routers.all() {
            router.close_all.do_send(CloseAll);
        }
        let deadline = Instant::now() + FAREWELL_TIME;
        let app = &self.blueprint.app;
        while (self.occupants() > 0 || !app.is_settled()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.handle.stop(false).await;
        if let Some(lease) = &self.lease {
            lease.release().await;
        }
        if let Some(leave) = &self.leave {
            // It may have ended by itself.
            let _ = leave.send(Leave).await;
        }
        if let Some(internal) = self.internal {
            internal.handle.stop(true).await;
        }
        info!(node:% = self.node; "stopped");
    }
}

fn client_files(config: &Config) -> anyhow::Result<ClientFiles> {
    ClientFiles::load(config.server.client_dir.as_deref())
        .context("server.client_dir cannot be read")
}

/// The internal listener, if the configuration names one.
fn start_internal(
    config: &Config,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
    drain: &Arc<Notify>,
) -> anyhow::Result<Option<Internal>> {
    let Some(address) = &config.server.internal_bind else {
        return Ok(None);
    };
    let host = address.host.clone();
    let (listener, address) = bind(address, "server.internal_bind")?;
    let site = InternalSite {
        host,
        health: Arc::clone(health),
        metrics: Arc::clone(metrics),
        drain: Arc::clone(drain),
        drain_token: config.server.drain_token.clone(),
    };
    let handle = serve_internal(site, listener, config.server.http)?;
    info!("internal listener on http://{address}: probes, metrics, drain");
    Ok(Some(Internal { address, handle }))
}

/// The health of a node that starts: its bus, if it has one, is yet to come.
fn starting_health(outside: Option<&BusHandles>, config: &Config) -> Arc<Health> {
    let bus = outside.map_or(BusState::Off, |_| BusState::Down);
    Arc::new(Health::new(bus, config.bus.required))
}

/// The demo page, if it is served.
fn demo(
    config: &Config,
    node: NodeId,
    address: SocketAddr,
    client_files: &ClientFiles,
) -> Option<Demo> {
    let stock_client = client_files.has_client();
    Demo::new(config, node.as_str(), address.port(), stock_client)
}

/// What the bridge has around it.
fn surroundings(
    config: &Config,
    node: NodeId,
    app: &dyn AppFactory,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    ports: &RouterAddresses,
) -> BridgeContext {
    BridgeContext {
        node,
        workers: config.server.workers,
        max_depth: config.socket.max_depth,
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
        routers: Arc::clone(ports),
        command_observers: app.command_observers(),
    }
}

/// The directory of the node and, with a bus, the way to other nodes.
fn start_bus(
    config: &Config,
    outside: Option<BusHandles>,
    surroundings: BridgeContext,
) -> (Arc<Directory>, Option<BridgeHandles>) {
    let Some(bus) = outside else {
        let BridgeContext {
            node,
            workers,
            metrics,
            ..
        } = surroundings;
        return (Directory::new(node, workers, None, metrics), None);
    };
    let dialects = (bus.dialects)(&config.bus, surroundings.node);
    let started = start::start_bridge(&config.bus, bus.link, bus.events, dialects, surroundings);
    (started.directory, Some(started.ways))
}

/// From here on clients are let in.
fn open(blueprint: &Arc<Blueprint>, listener: TcpListener) -> anyhow::Result<ServerHandle> {
    let handle = serve(Arc::clone(blueprint), listener)?;
    blueprint.health.set_phase(Phase::Serving);
    Ok(handle)
}

/// Logs where the node listens and what it serves there.
fn greet(config: &Config, address: SocketAddr, node: NodeId) {
    let scheme = config.server.tls.as_ref().map_or("http", |_| "https");
    let (app, path) = (
        config.app.kind.name(),
        format_args!("{}/", config.engine.path),
    );
    let (version, workers) = (env!("CARGO_PKG_VERSION"), config.server.workers);
    let upstreams: Vec<String> = config.app.upstreams().map(ToString::to_string).collect();
    if upstreams.is_empty() {
        info!(node:%, version, app, path:%, workers; "listening on {scheme}://{address}");
    } else {
        let upstreams = upstreams.join(",");
        info!(node:%, version, app, upstreams, path:%, workers; "listening on {scheme}://{address}");
    }
    if config.server.demo {
        info!(
            "open {scheme}://{address}/ in two browser windows to try it; `roomwire help` lists what else it can do"
        );
    }
    if config.bus.redis_url.is_none() {
        info!(
            "one node without Redis; set ROOMWIRE_BUS__REDIS_URL on every node to make them a cluster"
        );
    }
}
