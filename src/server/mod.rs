//! Wiring: starts the parts of a node bottom-up, binds its listener, and stops it in order.
//!
//! `main` and the tests start a node by the same call. No other module imports this one.

mod api;
mod app;
mod app_observer;
mod auth;
mod bus;
mod drain;
mod drain_plan;
mod echo_api;
mod history;
mod listen;
mod log_start;
mod name;
mod node_sessions;
mod notices;
mod recovery;
mod registry;
mod reload;
mod reloadable;
mod replay;
mod reports;
mod source;
mod tls;
mod users;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Recipient;
use actix_server::ServerHandle;
use log::{info, warn};
use tokio::sync::Notify;

use crate::app::gate::GateFactory;
use crate::auth::{Users, Verifier};
use crate::broker::Ingress;
use crate::cluster::messages::Leave;
use crate::config::Config;
use crate::health::{BusState, Health, Phase};
use crate::http::internal::InternalSite;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::model::{NodeId, Random};
use crate::outbox::Budget;
use crate::source::Source;
use crate::store::Store;
use crate::store::lease::Lease;
use crate::tls::TlsIdentity;
use crate::transport::routing::CloseAll;
use api::{ApiListener, ApiParts};
use app::apps;
use auth::Authentication;
pub use bus::BusHandles;
use bus::{bridge_context, start_bus};
use listen::{bind, serve, serve_internal};
use log_start::log_start;
use name::claim_name;
use recovery::SessionParts;
pub use recovery::start_recovery;
pub use reload::Reloader;
use reloadable::ReloadableParts;
pub use replay::replay_dead_letters;
use reports::Reports;
use source::start_source;
use tls::WatchedIdentity;
use worker::{Blueprint, BuiltWorkers, Pages, endpoint_settings, outbox_memory};

/// How long a stopping node waits for its sessions to end.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// A running node.
pub struct Server {
    listeners: NodeListeners,
    tls: Option<WatchedIdentity>,
    auth: Option<Authentication>,
    drain_requested: Arc<Notify>,
    blueprint: Arc<Blueprint>,
    lease: Option<Lease>,
    leave: Option<Recipient<Leave>>,
    reports: Reports,
    source: Option<Source>,
}

/// What accepts requests once the node serves.
struct NodeListeners {
    address: SocketAddr,
    handle: ServerHandle,
    internal: Option<Internal>,
    api: Option<ApiListener>,
}

/// The internal listener of a node.
struct Internal {
    address: SocketAddr,
    handle: ServerHandle,
}

/// What the embedding program adds to a node.
#[derive(Clone, Default)]
pub struct Extensions {
    /// Checks that clients must pass before they reach the app, in this order.
    pub gates: Vec<GateFactory>,
}

impl Server {
    /// Starts a node; returns when it accepts connections. Must run inside an actix system.
    ///
    /// # Errors
    /// The address is taken, or a file of the configuration cannot be read.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let bus = BusHandles::from_config(&config, &random)?;
        Self::start_with(config, bus, random, Extensions::default()).await
    }

    /// Starts a node with this bus, source of randomness and extensions.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        config: Config,
        bus: Option<BusHandles>,
        random: Arc<dyn Random>,
        extensions: Extensions,
    ) -> anyhow::Result<Self> {
        let (metrics, drain_requested, router_addresses, routers) = Default::default();
        let health = starting_health(bus.as_ref(), &config);
        // First, so that probes get responses while the node starts.
        let store = bus.as_ref().map(|bus| Arc::clone(&bus.store));
        let api = ApiParts::bind(&config, store.clone(), &metrics)?;
        let internal = start_internal(&config, (&health, &metrics), &drain_requested, &api)?;
        let tls = WatchedIdentity::start(&config.server, &metrics)?;
        let (auth, gates) = Authentication::with_gates(&config.auth, &metrics, extensions.gates);
        let (node, lease, plan) = claim_name(bus.as_ref(), &config, &*random).await;
        let reloadable = ReloadableParts::new(&config, (&metrics, &random, &health))?;
        let shared = (&reloadable, auth.as_ref(), &metrics, &random);
        let app = apps(&config, bus.as_ref(), node, shared, &plan);
        let backing = (&*app, store.as_ref());
        let context = bridge_context(&config, node, backing, &metrics, &health, &router_addresses);
        let (directory, (forward, leave)) = start_bus(&config, bus, context, &random);
        let clients = (!gates.is_empty() || app.identifies(), auth.as_ref());
        let users = users::users(&config, &directory, store.clone(), &health, clients).await;
        let shared = (&reloadable, &directory, &random);
        let reports = Reports::start(&config, shared, store.clone(), plan);
        let (listener, address) = bind(&config.server.bind, "server.bind")?;
        let blueprint = Arc::new(Blueprint {
            sessions: SessionParts::of(&config, &directory, store.clone(), &random),
            limits: Limits::of_process(&config, &metrics),
            outbox_memory: Budget::new(outbox_memory(&config), config.server.workers),
            endpoint: Arc::new(endpoint_settings(&config, node, &reloadable, &*app)),
            reloadable,
            directory,
            users,
            forward,
            random: Arc::clone(&random),
            health: Arc::clone(&health),
            pages: Pages::load(&config, node, address)?,
            routers,
            router_addresses,
            tls: tls.as_ref().map(|tls| Arc::clone(&tls.identity)),
            app,
            api: api.for_workers(&config),
            gate_factories: gates,
            reports: reports.for_workers(),
            built: BuiltWorkers::default(),
            config,
        });
        let (listeners, source) = open(&blueprint, (listener, address), (api, internal), store)?;
        Ok(Self {
            listeners,
            tls,
            auth,
            drain_requested,
            blueprint,
            lease,
            leave,
            reports,
            source,
        })
    }

    /// Completes when another node has acquired the name of this node, which must then stop: its sessions may have been
    /// announced as disconnected.
    pub async fn name_lost(&self) {
        match &self.lease {
            Some(lease) => {
                let connects = self.blueprint.directory.watch_connects();
                lease.clone().keep(connects).await;
            }
            None => std::future::pending().await,
        }
        self.blueprint.health.set_phase(Phase::Draining);
    }

    /// Completes when a drain is requested (`POST /drain`).
    pub async fn drain_requested(&self) {
        self.drain_requested.notified().await;
    }

    /// The certificate of the public listener, to be reloaded; `None` without TLS.
    pub fn tls(&self) -> Option<&TlsIdentity> {
        self.tls.as_ref().map(|tls| &*tls.identity)
    }

    /// Checks tokens of clients; `None` if `[auth]` is off.
    pub fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.auth.as_ref().map(|auth| &auth.verifier)
    }

    /// The address of the internal listener.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.listeners
            .internal
            .as_ref()
            .map(|internal| internal.address)
    }

    /// The address of the listener of the API, if it has one of its own.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.listeners.api.as_ref().map(|api| api.address)
    }

    /// The number of sessions, and of websockets held for sessions of other nodes.
    fn open_sessions(&self) -> i64 {
        self.metrics().sessions.get() + self.metrics().forwarded_websockets.get()
    }

    /// The address of the public listener.
    pub fn address(&self) -> SocketAddr {
        self.listeners.address
    }

    /// The name of the node in the cluster.
    pub fn node(&self) -> NodeId {
        self.blueprint.directory.node()
    }

    /// The metrics of the node.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.blueprint.directory.metrics()
    }

    /// The limits of the node, which can change while it runs.
    pub fn limits(&self) -> &Limits {
        &self.blueprint.limits
    }

    /// Access to the broker from any thread.
    pub fn ingress(&self) -> Ingress {
        Ingress::new(Arc::clone(&self.blueprint.directory))
    }

    /// The services for the users of clients, from any thread.
    pub fn users(&self) -> &Arc<Users> {
        &self.blueprint.users
    }

    /// Applies the settings of a configuration that can change while the node runs (see `config::reload`); the others
    /// are ignored.
    pub fn apply(&self, config: &Config) {
        reload::apply(self, config);
    }

    /// Drains the node: rejects new sessions, and closes the existing ones gradually, as `[drain]` configures. Returns
    /// when no session is left, or after `drain.timeout`.
    pub async fn drain(&self) {
        let drained = drain::drain(self);
        match &self.lease {
            // The ids of the remaining sessions contain the name.
            Some(lease) => {
                let connects = self.blueprint.directory.watch_connects();
                lease.clone().keep_during(connects, drained).await;
            }
            None => drained.await,
        }
    }

    /// Stops the node: rejects new sessions, closes all sessions at once, and shuts down.
    pub async fn stop(mut self) {
        let node = self.node();
        self.blueprint.health.set_phase(Phase::Draining);
        if let Some(source) = self.source.take() {
            source.stop().await;
        }
        for router in self.blueprint.routers.all() {
            let is_fenced = self
                .lease
                .as_ref()
                .is_some_and(|it| it.tenure().has_ended());
            router.close_all.do_send(CloseAll { is_fenced });
        }
        let deadline = Instant::now() + CLOSE_TIME;
        let app = &self.blueprint.app;
        while (self.open_sessions() > 0 || !app.is_settled()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !app.is_settled() {
            warn!(node:%; "stopped before the app completed its work for disconnected clients");
        }
        self.reports.stop().await;
        self.listeners.handle.stop(false).await;
        if let Some(lease) = &self.lease {
            lease.release().await;
        }
        if let Some(leave) = &self.leave {
            // The bridge may have ended already.
            let _ = leave.send(Leave).await;
        }
        if let Some(api) = self.listeners.api {
            api.handle.stop(true).await;
        }
        if let Some(internal) = self.listeners.internal {
            internal.handle.stop(true).await;
        }
        info!(node:%; "stopped");
    }
}

/// The internal listener, if the configuration names one.
fn start_internal(
    config: &Config,
    (health, metrics): (&Arc<Health>, &Arc<Metrics>),
    drain: &Arc<Notify>,
    api: &ApiParts,
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
        api: api.internal(config),
    };
    let handle = serve_internal(site, listener, config.server.http)?;
    let page = api.announcement(config, &format!("http://{address}"));
    info!("internal listener on http://{address}: probes, metrics, drain{page}");
    Ok(Some(Internal { address, handle }))
}

/// The health of a starting node, whose bus, if it has one, is not connected yet.
fn starting_health(bus: Option<&BusHandles>, config: &Config) -> Arc<Health> {
    let bus = bus.map_or(BusState::Off, |_| BusState::Down);
    Arc::new(Health::new(bus, config.bus.required))
}

/// Starts to accept clients, opens the API, and starts to read the stream of requests.
fn open(
    blueprint: &Arc<Blueprint>,
    (listener, address): (TcpListener, SocketAddr),
    (api, internal): (ApiParts, Option<Internal>),
    store: Option<Arc<dyn Store>>,
) -> anyhow::Result<(NodeListeners, Option<Source>)> {
    let node = blueprint.directory.node();
    blueprint.directory.metrics().node_info.set(node.as_str());
    let handle = serve(Arc::clone(blueprint), listener)?;
    let api = api.open(blueprint)?;
    blueprint.health.set_phase(Phase::Serving);
    let source = start_source(
        &blueprint.config,
        &blueprint.directory,
        store,
        &blueprint.users.revocations,
    )?;
    log_start(&blueprint.config, address, node);
    let listeners = NodeListeners {
        address,
        handle,
        internal,
        api,
    };
    Ok((listeners, source))
}
