//! A node without sockets and threads: shards, sessions, app and bridge of one process, all on the simulated thread.

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, Recipient};
use roomwire::app::gate::Gates;
use roomwire::app::relay::{Relay, RelayParts};
use roomwire::auth::Users;
use roomwire::broker::{Directory, RoomBroker, Shard, ShardLimits};
use roomwire::bus::memory::{Hub, MemberId};
use roomwire::cluster::messages::Leave;
use roomwire::cluster::start::{BridgeContext, dialects, start_bridge};
use roomwire::config::{Config, Reloadable};
use roomwire::health::{BusState, Health};
use roomwire::limits::{Arrival, Descriptors, Limits};
use roomwire::metrics::Metrics;
use roomwire::model::{NodeId, Random, TransportName, WorkerIndex};
use roomwire::outbox::{Bounds, Budget, Share};
use roomwire::protocol::WireFormat;
use roomwire::protocol::connection::Mode;
use roomwire::session::{Identification, OpenPacket, Session, SessionSettings, Worker};

pub struct Node {
    pub name: NodeId,
    pub member: MemberId,
    pub metrics: Arc<Metrics>,
    workers: Vec<Rc<Worker>>,
    leave: Recipient<Leave>,
}

impl Node {
    pub fn start(config: &Config, hub: &Hub, random: &Arc<dyn Random>, workers: usize) -> Self {
        let name = NodeId::random(&**random);
        let metrics = Arc::new(Metrics::default());
        let (link, events) = hub.join();
        let member = link.member();
        let context = BridgeContext {
            node: name,
            workers,
            max_depth: config.socket.max_depth,
            metrics: Arc::clone(&metrics),
            health: Arc::new(Health::new(BusState::Down, false)),
            routers: Arc::default(),
            command_observers: Vec::new(),
        };
        let dialects = dialects(&config.bus, name);
        let started = start_bridge(&config.bus, link, events, dialects, context);
        let node = NodeParts {
            config,
            directory: started.directory,
            limits: Limits::new(
                &config.limits,
                Descriptors::of(100_000, workers),
                Arc::clone(&metrics),
            ),
            settings: Arc::new(SessionSettings::of(config)),
            budget: Budget::new(64 << 20, workers),
            random: Arc::clone(random),
        };
        let workers = (0..workers).map(|number| node.worker(number)).collect();
        Self {
            name,
            member,
            metrics,
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
            format: WireFormat::default(),
            may_upgrade: false,
            ping_interval: timing.ping_interval,
            ping_timeout: timing.ping_timeout,
            max_payload: timing.max_payload,
        };
        let now = roomwire::clock::now();
        let admission = worker.limits.admit(Arrival::Handshake, None, now).unwrap();
        let (mode, transport) = (Mode::SocketIo, TransportName::Polling);
        Session::open(worker, mode, transport, open, admission, None, |_, _| {})
    }

    /// Ends the process: nothing that it still does reaches the bus.
    pub fn kill(self, hub: &Hub) {
        hub.kill(self.member);
        for worker in &self.workers {
            worker.stop();
        }
        self.leave.do_send(Leave);
    }
}

/// What the workers of a node share.
struct NodeParts<'a> {
    config: &'a Config,
    directory: Arc<Directory>,
    limits: Arc<Limits>,
    settings: Arc<SessionSettings>,
    budget: Arc<Budget>,
    random: Arc<dyn Random>,
}

impl NodeParts<'_> {
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
        let broker = RoomBroker::new(Rc::clone(&shard)).start();
        self.directory.enter(number, broker.recipient().into());
        let rules = Reloadable::new(self.config.app.relay.clone());
        let metrics = Arc::clone(self.directory.metrics());
        Worker::new(
            shard,
            Rc::new(Relay::new(RelayParts::new(rules, metrics))),
            None,
            Identification {
                gates: Gates::default(),
                users: Users::alone(
                    &self.config.identity,
                    self.directory.node(),
                    self.directory.metrics(),
                ),
            },
            Arc::clone(&self.settings),
            Arc::clone(&self.limits),
            Arc::clone(&self.random),
        )
    }
}
