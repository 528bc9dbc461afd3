//! Wiring: starts the parts of a node bottom-up, binds its listener, and stops it in order.
//!
//! `main` and the tests start a node by the same call. No other module imports this one.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Recipient};
use actix_http::HttpService;
use actix_server::ServerHandle;
use actix_service::{fn_service, map_config};
use actix_web::dev::AppConfig as WebConfig;
use actix_web::{App as WebApp, web};
use anyhow::Context as _;
use log::{debug, info};

use crate::app::App;
use crate::app::echo::Echo;
use crate::app::relay::Relay;
use crate::bridge::lease::Lease;
use crate::bridge::link::{Link, LinkEvents};
use crate::bridge::messages::{Forward, Leave, Ports};
use crate::bridge::redis::{RedisLink, RedisStore};
use crate::bridge::start::{self, BridgeWays, Surroundings};
use crate::bridge::store::Store;
use crate::broker::{Directory, Limits, RoomBroker, Shard};
use crate::config::{AppKind, Config};
use crate::health::{BusState, Health, Phase};
use crate::http::client_files::ClientFiles;
use crate::http::demo::Demo;
use crate::http::routes::{self, Site};
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::model::{EngineId, NodeId, Random, WorkerIndex};
use crate::protocol::connection::Timing;
use crate::session::{SessionSettings, Worker};
use crate::transport::edge::{Edge, EndpointSettings, Gates};
use crate::transport::forward::Exchange;
use crate::transport::gate::{CloseAll, Gate};
use crate::transport::origin::Origins;
use crate::transport::upgrade;

/// Connections waiting to be accepted.
const BACKLOG: i32 = 4096;
/// How long a stopping node waits for its sessions to say goodbye.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// A request's head must have come within this time.
const REQUEST_HEAD_TIME: Duration = Duration::from_secs(10);
/// Idle HTTP connections are kept this long: longer than the polling GETs of most clients are apart.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A running node.
pub struct Server {
    node: NodeId,
    address: SocketAddr,
    handle: ServerHandle,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    gates: Arc<Gates>,
    lease: Option<Lease>,
    leave: Option<Recipient<Leave>>,
}

/// What the workers of a node share before they are built, each on its own thread.
struct Blueprint {
    config: Config,
    directory: Arc<Directory>,
    forward: Option<Recipient<Forward>>,
    random: Arc<dyn Random>,
    health: Arc<Health>,
    client_files: Arc<ClientFiles>,
    demo: Arc<Option<Demo>>,
    sessions: Arc<SessionSettings>,
    endpoint: Arc<EndpointSettings>,
    gates: Arc<Gates>,
    ports: Ports,
    entered: Mutex<Vec<Option<Addr<Gate>>>>,
    next_worker: AtomicUsize,
}

/// The way to the other nodes.
pub struct Outside {
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    pub store: Arc<dyn Store>,
}

impl Outside {
    /// Redis, if the configuration names one. Never waits for it.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn from_config(config: &Config, random: &Arc<dyn Random>) -> anyhow::Result<Option<Self>> {
        let Some(settings) = start::redis_settings(&config.bus).context("bus.redis_url")? else {
            return Ok(None);
        };
        debug!(target: "roomwire::bridge", "Using Redis to manage websockets.");
        let store = Arc::new(RedisStore::new(settings.clone()));
        let (link, events) = RedisLink::start(settings, Arc::clone(random));
        Ok(Some(Self {
            link,
            events,
            store,
        }))
    }
}

impl Server {
    /// Starts a node; returns when it accepts connections. Must run inside an actix system.
    ///
    /// # Errors
    /// The address is taken, or a file of the configuration cannot be read.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let outside = Outside::from_config(&config, &random)?;
        Self::start_with(config, outside, random).await
    }

    /// The same with everything outside of the node given.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        config: Config,
        outside: Option<Outside>,
        random: Arc<dyn Random>,
    ) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let bus = outside.as_ref().map_or(BusState::Off, |_| BusState::Down);
        let health = Arc::new(Health::new(bus, config.bus.required));
        let client_files = ClientFiles::load(config.server.client_dir.as_deref())
            .context("server.client_dir cannot be read")?;
        let (node, lease) = claim_name(outside.as_ref(), &config, &*random).await;
        let ports = Ports::default();
        let surroundings = Surroundings {
            node,
            workers: config.server.workers,
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            ports: Arc::clone(&ports),
        };
        let (directory, ways) = start_bus(&config, outside, surroundings);
        let (forward, leave) = ways.map(|ways| (ways.forward, ways.leave)).unzip();
        let gates = Arc::new(Gates::default());
        let listener = bind(&config)?;
        let address = listener.local_addr()?;
        let stock_client = client_files.has_client();
        let demo = Demo::new(&config, node.as_str(), address.port(), stock_client);
        let blueprint = Blueprint {
            sessions: Arc::new(session_settings(&config)),
            endpoint: Arc::new(endpoint_settings(&config)),
            directory,
            forward,
            random,
            health: Arc::clone(&health),
            demo: Arc::new(demo),
            client_files: Arc::new(client_files),
            gates: Arc::clone(&gates),
            ports,
            entered: Mutex::new(vec![None; config.server.workers]),
            next_worker: AtomicUsize::new(0),
            config,
        };
        let blueprint = Arc::new(blueprint);
        let handle = serve(Arc::clone(&blueprint), listener)?;
        health.set_phase(Phase::Serving);
        greet(&blueprint.config, address, node);
        Ok(Self {
            node,
            address,
            handle,
            health,
            metrics,
            gates,
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

    /// Stops: takes nobody new, tells every client, and ends.
    pub async fn stop(self) {
        self.health.set_phase(Phase::Draining);
        for gate in self.gates.all() {
            gate.do_send(CloseAll);
        }
        let deadline = Instant::now() + FAREWELL_TIME;
        while self.metrics.sessions.get() > 0 && Instant::now() < deadline {
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
        info!("stopped node={}", self.node);
    }
}

/// The directory of the node and, with a bus, the way to other nodes.
fn start_bus(
    config: &Config,
    outside: Option<Outside>,
    surroundings: Surroundings,
) -> (Arc<Directory>, Option<BridgeWays>) {
    let Some(Outside { link, events, .. }) = outside else {
        let Surroundings {
            node,
            workers,
            metrics,
            ..
        } = surroundings;
        return (Directory::new(node, workers, None, metrics), None);
    };
    let started = start::start_bridge(&config.bus, link, events, surroundings);
    (started.directory, Some(started.ways))
}

/// Says where the node listens and what can be done next.
fn greet(config: &Config, address: SocketAddr, node: NodeId) {
    info!(
        "listening on http://{address} node={node} path={}/ workers={}",
        config.engine.path, config.server.workers
    );
    if config.server.demo {
        info!(
            "open http://{address}/ in two browser windows to try it; `roomwire help` lists what else it can do"
        );
    }
    if config.bus.redis_url.is_none() {
        info!(
            "one node without Redis; set ROOMWIRE_BUS__REDIS_URL on every node to make them a cluster"
        );
    }
}

/// Attempts to find a free name; with 16 million names the first is nearly always free.
const NAME_ATTEMPTS: usize = 5;
/// How long the start waits for an answer.
const NAME_TIME: Duration = Duration::from_secs(1);

/// A name for this node, leased if Redis can be reached.
async fn claim_name(
    outside: Option<&Outside>,
    config: &Config,
    random: &dyn Random,
) -> (NodeId, Option<Lease>) {
    let mut node = NodeId::random(random);
    let Some(outside) = outside else {
        return (node, None);
    };
    let owner = EngineId::random(node, WorkerIndex::default(), random);
    let lease = |node| {
        let value = owner.as_str().to_owned();
        Lease::new(
            Arc::clone(&outside.store),
            &config.bus.channel_prefix,
            node,
            value,
        )
    };
    for _ in 0..NAME_ATTEMPTS {
        // A Redis that does not answer must not keep the node from its own clients.
        if tokio::time::timeout(NAME_TIME, lease(node).claim())
            .await
            .unwrap_or(true)
        {
            break;
        }
        node = NodeId::random(random);
    }
    (node, Some(lease(node)))
}

fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let bind = &config.server.bind;
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(bind.host.as_str(), bind.port));
    let problem = || format!("cannot listen on {}:{} (server.bind)", bind.host, bind.port);
    let address = addresses
        .with_context(problem)?
        .next()
        .with_context(problem)?;
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(problem)?;
    socket.listen(BACKLOG).with_context(problem)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn serve(blueprint: Arc<Blueprint>, listener: TcpListener) -> anyhow::Result<ServerHandle> {
    let workers = blueprint.config.server.workers;
    let server = actix_server::Server::build()
        .workers(workers)
        .disable_signals()
        .backlog(BACKLOG as u32)
        .listen("public", listener, move || {
            let site = blueprint.build_worker();
            let upgrades = site.edge.clone();
            let app = WebApp::new().default_service(web::to(move |request, body| {
                routes::serve(site.clone(), request, body)
            }));
            HttpService::build()
                .client_request_timeout(REQUEST_HEAD_TIME)
                .keep_alive(KEEP_ALIVE)
                .h1_allow_half_closed(false)
                .upgrade(fn_service(move |(request, framed)| {
                    let edge = upgrades.clone();
                    async move {
                        upgrade::upgrade(edge, request, framed).await;
                        Ok::<_, actix_web::Error>(())
                    }
                }))
                .finish(map_config(app, |_| WebConfig::default()))
                .tcp()
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

impl Blueprint {
    /// Builds the parts of the next worker on its thread. All workers are built before the first connection
    /// is accepted.
    fn build_worker(&self) -> Site {
        let number = self.next_worker.fetch_add(1, Ordering::Relaxed);
        let index = WorkerIndex::new(number % self.config.server.workers).unwrap_or_default();
        let limits = Limits {
            outbox: self.config.socket.outbox_limit,
            pending_acks: self.config.socket.max_pending_acks,
        };
        let shard = Shard::new(index, Arc::clone(&self.directory), limits);
        self.directory
            .enter(index.get(), RoomBroker::new(Rc::clone(&shard)).start());
        let app = build_app(&self.config);
        let worker = Worker::new(
            shard,
            app,
            Arc::clone(&self.sessions),
            Arc::clone(&self.random),
        );
        let edge = Edge {
            worker,
            settings: Arc::clone(&self.endpoint),
            gates: Arc::clone(&self.gates),
            exchange: self
                .forward
                .clone()
                .map(|forward| Exchange::new(forward, index, &*self.random)),
        };
        self.enter_gate(index, Gate::new(edge.clone()).start());
        Site {
            edge,
            health: Arc::clone(&self.health),
            client_files: Arc::clone(&self.client_files),
            demo: Arc::clone(&self.demo),
        }
    }

    fn enter_gate(&self, index: WorkerIndex, gate: Addr<Gate>) {
        let mut entered = self
            .entered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        entered[index.get()] = Some(gate);
        if let Some(all) = entered.iter().cloned().collect::<Option<Vec<_>>>() {
            let _ = self
                .ports
                .set(all.iter().map(|gate| gate.clone().recipient()).collect());
            self.gates.complete(all);
        }
    }
}

fn build_app(config: &Config) -> Rc<dyn App> {
    match config.app.kind {
        AppKind::Relay => Rc::new(Relay::new(
            config.app.relay.clone(),
            config.socket.max_rooms,
        )),
        AppKind::Echo => Rc::new(Echo),
    }
}

fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        timing: Timing {
            ping_interval: config.engine.ping_interval,
            ping_timeout: config.engine.ping_timeout,
            connect_timeout: config.socket.connect_timeout,
            max_namespaces: config.socket.max_namespaces,
            max_payload: config.engine.max_payload,
        },
        namespaces: config.socket.namespaces.clone(),
        inbox_limit: config.socket.inbox_limit,
    }
}

fn endpoint_settings(config: &Config) -> EndpointSettings {
    EndpointSettings {
        engine: config.engine.clone(),
        origins: Origins::new(&config.cors),
        trusted_proxies: config.server.trusted_proxies.clone(),
        send_buffer: config.socket.send_buffer,
        bare_path: build_app(config).bare_path().map(str::to_owned),
        forward_timeout: config.bus.forward_timeout,
    }
}
