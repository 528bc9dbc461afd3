//! A node without sockets and threads: shards, sessions, app and bridge of one process, all on the simulated thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, Recipient};
use roomwire::api::{Api, ApiSettings, KeyRing, LastSeen};
use roomwire::app::gate::{
    ConnectGate, Credentials, Decision, GateFactory, GateOutcome, GateRequest, Gates,
};
use roomwire::app::relay::{Relay, RelayParts};
use roomwire::auth::Users;
use roomwire::broker::{Directory, Ingress, RoomBroker, Shard, ShardLimits};
use roomwire::bus::memory::{Hub, MemberId};
use roomwire::cluster::messages::Leave;
use roomwire::cluster::start::{BridgeContext, dialects, start_bridge};
use roomwire::config::{Config, Reloadable};
use roomwire::health::{BusState, Health, Phase};
use roomwire::limits::{Arrival, Descriptors, Limits};
use roomwire::metrics::Metrics;
use roomwire::model::{Handshake, Identity, NodeId, Random, TransportName, WorkerIndex};
use roomwire::outbox::{Bounds, Budget, Share};
use roomwire::protocol::WireFormat;
use roomwire::protocol::connection::Mode;
use roomwire::recovery::{Recovery, Tracker};
use roomwire::server::start_recovery;
use roomwire::session::{Enforcer, Identification, OpenPacket, Session, SessionSettings, Worker};
use roomwire::store::Store;
use serde_json::Value;
use tokio::time::Instant;

use super::backend::Backend;
use super::client::Run;
use super::logs;
use super::mutation::{MutatedLink, Mutation};
use super::random::Chance;
use super::services::{Name, Reports};
use super::store::{NodeStore, StoreServer};
use super::users;

pub struct Node {
    pub name: NodeId,
    pub member: MemberId,
    pub metrics: Arc<Metrics>,
    pub backend: Backend,
    pub store: NodeStore,
    /// Its process is paused until this time.
    pub paused_until: Rc<Cell<Instant>>,
    /// Whether another node has its name, so that it must serve nobody.
    pub is_fenced: Rc<Cell<bool>>,
    is_killed: Rc<Cell<bool>>,
    workers: Vec<Rc<Worker>>,
    leave: Recipient<Leave>,
}

/// What the nodes of a run have in common.
pub struct SharedParts {
    pub config: Config,
    pub hub: Hub,
    pub store: StoreServer,
    pub random: Arc<dyn Random>,
}

fn bridge_context(
    config: &Config,
    node: NodeId,
    workers: usize,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    store: Arc<dyn Store>,
) -> BridgeContext {
    BridgeContext {
        node,
        workers,
        max_depth: config.socket.max_depth,
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
        routers: Arc::default(),
        command_observers: Vec::new(),
        server_events: None,
        store,
    }
}

/// What the workers of a node share.
fn node_parts<'a>(
    shared: &'a SharedParts,
    (workers, metrics): (usize, &Arc<Metrics>),
    directory: Arc<Directory>,
    store: &Arc<dyn Store>,
    health: &Arc<Health>,
    reports: Option<Reports>,
) -> NodeParts<'a> {
    let SharedParts { config, random, .. } = shared;
    let last_seen = LastSeen::start(
        Arc::clone(store),
        &config.bus.channel_prefix,
        config.identity.user_room.clone(),
        config.api.last_seen_time,
    );
    let users = users::start(config, &directory, store, health);
    NodeParts {
        config,
        users,
        last_seen,
        reports,
        recovery: start_recovery(config, &directory, Arc::clone(store), random),
        directory,
        limits: Limits::new(
            &config.limits,
            Descriptors::of(100_000, workers),
            Arc::clone(metrics),
        ),
        settings: Arc::new(SessionSettings::of(config)),
        budget: Budget::new(64 << 20, workers),
        random: Arc::clone(random),
    }
}

impl Node {
    /// Starts the node with this number.
    pub fn start(
        (run, number): (&Run, usize),
        shared: &SharedParts,
        workers: usize,
        store_chance: Chance,
    ) -> Self {
        let SharedParts {
            config, hub, store, ..
        } = shared;
        let name = NodeId::random(&*shared.random);
        let metrics = Arc::new(Metrics::default());
        let (link, events) = hub.join();
        let member = link.member();
        let health = Arc::new(Health::new(BusState::Down, false));
        health.set_phase(Phase::Serving);
        let connection = NodeStore::connect(store, store_chance, &run.mutator);
        let store: Arc<dyn Store> = Arc::new(connection.clone());
        let context = bridge_context(config, name, workers, &metrics, &health, Arc::clone(&store));
        let dialects = dialects(&config.bus, name);
        let history = logs::history(&config.history, &link, &dialects[0], &connection);
        let link = MutatedLink::new(link, &run.mutator);
        let started = start_bridge(&config.bus, link, events, dialects, context);
        if let Some(history) = history {
            started.directory.set_history(Arc::new(history));
        }
        let claimed = Name::claim(config, &started.directory, &store);
        let is_killed = Rc::default();
        let paused_until = Rc::new(Cell::new(Instant::now()));
        let reports = Reports::start(
            (run, number, workers),
            config,
            &started.directory,
            &store,
            &claimed.tenure,
            (&is_killed, &paused_until),
        );
        let node = node_parts(
            shared,
            (workers, &metrics),
            started.directory,
            &store,
            &health,
            reports,
        );
        let workers: Vec<_> = (0..workers).map(|number| node.worker(number)).collect();
        let is_fenced = Rc::clone(&claimed.is_fenced);
        claimed.keep(workers.clone(), run.mutator.is(Mutation::ServeFenced));
        let backend = Backend::new(number, node.api(&store, health));
        Self {
            name,
            member,
            metrics,
            backend,
            store: connection,
            paused_until,
            is_fenced,
            is_killed,
            workers,
            leave: started.handles.leave,
        }
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A session of a long-polling client.
    pub fn open_session(&self, worker: usize) -> Addr<Session> {
        let worker = &self.workers[worker];
        let timing = &worker.settings.timing;
        let open = OpenPacket {
            client: roomwire::metrics::labels::ClientKind::Node,
            main_auth: String::new(),
            format: WireFormat::default(),
            may_upgrade: false,
            ping_interval: timing.ping_interval,
            ping_timeout: timing.ping_timeout,
            max_payload: timing.max_payload,
        };
        let now = roomwire::clock::now();
        let admission = worker.limits.admit(Arrival::Handshake, None, now).unwrap();
        let (mode, transport) = (Mode::SocketIo, TransportName::Polling);
        let credentials = Credentials {
            handshake: Handshake {
                query: String::new(),
                headers: Vec::new(),
                cookies: String::new(),
                address: None,
                secure: false,
                revision: 4,
            }
            .into(),
            identity: None,
        };
        Session::open(
            worker,
            mode,
            transport,
            open,
            admission,
            Some(credentials),
            |_, _| {},
        )
    }

    /// Closes its sessions and leaves the cluster.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.stop(true);
        }
        self.leave.do_send(Leave);
    }

    /// Ends the process: nothing that it still does reaches the bus.
    pub fn kill(self, hub: &Hub) {
        self.is_killed.set(true);
        hub.kill(self.member);
        self.store.kill();
        for worker in &self.workers {
            worker.stop(false);
        }
        self.leave.do_send(Leave);
    }
}

/// What the workers of a node share.
struct NodeParts<'a> {
    config: &'a Config,
    users: Arc<Users>,
    last_seen: LastSeen,
    reports: Option<Reports>,
    recovery: Option<Arc<Recovery>>,
    directory: Arc<Directory>,
    limits: Arc<Limits>,
    settings: Arc<SessionSettings>,
    budget: Arc<Budget>,
    random: Arc<dyn Random>,
}

impl NodeParts<'_> {
    fn api(&self, store: &Arc<dyn Store>, health: Arc<Health>) -> Api {
        let config = self.config;
        Api {
            presence: self.reports.as_ref().map(|it| Arc::clone(&it.rooms)),
            ingress: Ingress::new(Arc::clone(&self.directory)),
            keys: Reloadable::new(KeyRing::new(&config.api)),
            settings: ApiSettings {
                max_body: config.api.max_body,
                max_batch: config.api.max_batch,
                max_depth: config.socket.max_depth,
                idempotency_time: config.api.idempotency_time,
                audit: config.api.audit,
                user_room: config.identity.user_room.clone(),
                store_prefix: config.bus.channel_prefix.clone(),
            },
            store: Arc::clone(store),
            last_seen: self.last_seen.clone(),
            revocations: Arc::clone(&self.users.revocations),
            limits: Arc::clone(&self.limits),
            health,
            metrics: Arc::clone(self.directory.metrics()),
            started: roomwire::clock::now(),
        }
    }

    fn worker(&self, number: usize) -> Rc<Worker> {
        let socket = &self.config.socket;
        let limits = ShardLimits {
            outbox: Bounds {
                soft: socket.outbox_limit,
                hard: socket.outbox_hard_limit,
            },
            pending_acks: socket.max_pending_acks,
            rooms: socket.max_rooms,
        };
        let share = Share::of(&self.budget, number);
        let index = WorkerIndex::new(number).unwrap();
        let shard = Shard::new(index, Arc::clone(&self.directory), limits, share);
        shard.observe(Rc::new(self.last_seen.recorder()));
        if let Some(reports) = &self.reports {
            reports.observe(&shard);
        }
        let broker = RoomBroker::new(Rc::clone(&shard)).start();
        self.directory.enter(number, broker.recipient().into());
        let rules = Reloadable::new(self.config.app.relay.clone());
        let metrics = Arc::clone(self.directory.metrics());
        let relay = Relay::new(RelayParts {
            presence: self.reports.as_ref().map(|it| Arc::clone(&it.rooms)),
            ..RelayParts::new(rules, metrics)
        });
        let worker = Worker::new(
            shard,
            Rc::new(relay),
            None,
            Identification {
                gates: Gates::new(&[user_gate()]),
                users: Arc::clone(&self.users),
            },
            Arc::clone(&self.settings),
            Arc::clone(&self.limits),
            Arc::clone(&self.random),
        );
        if let Some(recovery) = &self.recovery {
            worker.set_tracker(Tracker::start(Arc::clone(recovery), &worker.shard));
        }
        Enforcer::start(&worker);
        worker
    }
}

/// Trusts the user and the token that a client names.
struct UserGate;

fn user_gate() -> GateFactory {
    Arc::new(|| Box::new(UserGate) as Box<dyn ConnectGate>)
}

impl ConnectGate for UserGate {
    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let auth: Value = serde_json::from_str(request.auth).unwrap();
        let identity = Identity {
            user: auth["user"].as_str().unwrap().to_owned(),
            token: Some(auth["token"].as_str().unwrap().into()),
            ..Identity::default()
        };
        GateOutcome::Now(Decision::Allow(identity.into()))
    }
}
