//! Builds the parts of each worker on its own thread.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, Addr, Recipient};
use anyhow::Context as _;

use super::app_observer::AppObserver;
use super::echo_api::echo_api;
use super::notices::watch;
use super::recovery::SessionParts;
use super::reloadable::ReloadableParts;
use super::reports::WorkerReports;
use crate::api::{ApiSlot, LastSeen};
use crate::app::gate::{GateFactory, Gates};
use crate::app::{AppFactory, CommandSender};
use crate::auth::Users;
use crate::broker::{Directory, RoomBroker, Shard, ShardLimits};
use crate::cluster::messages::{Forward, RouterAddresses};
use crate::config::Config;
use crate::echo_api::EchoApi;
use crate::health::Health;
use crate::http::client_files::ClientFiles;
use crate::http::demo::Demo;
use crate::http::routes::Site;
use crate::limits::MemoryLimit;
use crate::model::{NodeId, Random, ViaMark, WorkerIndex};
use crate::outbox::{Bounds, Budget, Deflater, Share};
use crate::presence::PresenceObserver;
use crate::recovery::Tracker;
use crate::registry::RegistryObserver;
use crate::session::{Enforcer, Identification, Worker};
use crate::tls::TlsIdentity;
use crate::transport::accept::{Acceptor, ListenerSettings};
use crate::transport::compression::Compressor;
use crate::transport::endpoint::Endpoint;
use crate::transport::forward::client::ForwardClient;
use crate::transport::routing::WorkerRouters;
use crate::transport::settings::EndpointSettings;
use crate::transport::worker_router::WorkerRouter;

/// What the workers of a node need of the API.
pub(super) struct WorkerApi {
    /// Set if the public listener serves the API.
    pub(super) public: Option<ApiSlot>,
    /// Set if backends can read when users were last seen.
    pub(super) last_seen: Option<LastSeen>,
}

/// What the workers of a node share, and what they are built from.
pub(super) struct Blueprint {
    pub(super) config: Config,
    pub(super) directory: Arc<Directory>,
    pub(super) users: Arc<Users>,
    pub(super) forward: Option<Recipient<Forward>>,
    pub(super) random: Arc<dyn Random>,
    pub(super) health: Arc<Health>,
    pub(super) pages: Pages,
    pub(super) sessions: SessionParts,
    pub(super) limits: Arc<crate::limits::Limits>,
    pub(super) outbox_memory: Arc<Budget>,
    pub(super) endpoint: Arc<EndpointSettings>,
    pub(super) reloadable: ReloadableParts,
    pub(super) routers: Arc<WorkerRouters>,
    pub(super) router_addresses: RouterAddresses,
    pub(super) tls: Option<Arc<TlsIdentity>>,
    pub(super) app: Box<dyn AppFactory>,
    pub(super) api: WorkerApi,
    pub(super) gate_factories: Vec<GateFactory>,
    pub(super) reports: WorkerReports,
    pub(super) built: BuiltWorkers,
}

/// What the public port serves to browsers besides Socket.IO.
pub(super) struct Pages {
    client_files: Arc<ClientFiles>,
    /// `None` inside if it is disabled.
    demo: Arc<Option<Demo>>,
}

impl Pages {
    /// The demo page, if it is enabled, and the files of the stock client.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn load(config: &Config, node: NodeId, address: SocketAddr) -> anyhow::Result<Self> {
        let client_files = ClientFiles::load(config.server.client_dir.as_deref())
            .context("server.client_dir cannot be read")?;
        let stock_client = client_files.has_client();
        let demo = Demo::new(config, node.as_str(), address.port(), stock_client);
        Ok(Self {
            client_files: Arc::new(client_files),
            demo: Arc::new(demo),
        })
    }
}

/// The workers that have been built.
#[derive(Default)]
pub(super) struct BuiltWorkers {
    next_worker: AtomicUsize,
    /// By index of the worker.
    routers: Mutex<Vec<Option<Addr<WorkerRouter>>>>,
}

impl Blueprint {
    /// Builds the parts of the next worker on its thread. All workers are built before the first connection
    /// is accepted.
    pub(super) fn build_worker(&self) -> Site {
        let number = self.built.next_worker.fetch_add(1, Ordering::Relaxed);
        let index = WorkerIndex::new(number % self.config.server.workers).unwrap_or_default();
        let shard = self.build_shard(index);
        self.directory.enter(
            index.get(),
            RoomBroker::new(Rc::clone(&shard))
                .start()
                .recipient()
                .into(),
        );
        let app = self.app.build({
            let shard = Rc::clone(&shard);
            CommandSender::new(move |command| shard.dispatch(command))
        });
        AppObserver::observe(&shard, &app);
        let app = watch(self.reports.notices.as_ref(), &shard, app);
        let gate = Rc::clone(&app).gate();
        let worker = Worker::new(
            shard,
            app,
            self.app.engine_app(),
            Identification {
                gates: Gates::new(&self.gate_factories).followed_by(gate),
                users: Arc::clone(&self.users),
            },
            Arc::clone(&self.sessions.settings),
            Arc::clone(&self.limits),
            Arc::clone(&self.random),
        );
        if let Some(recovery) = &self.sessions.recovery {
            worker.set_tracker(Tracker::start(Arc::clone(recovery), &worker.shard));
        }
        Enforcer::start(&worker);
        let timeout = self.config.bus.forward_timeout;
        let endpoint = Rc::new(Endpoint {
            worker,
            settings: Arc::clone(&self.endpoint),
            routers: Arc::clone(&self.routers),
            forward: self.forward.clone().map(|forward| {
                let directory = Arc::clone(&self.directory);
                ForwardClient::new(forward, directory, index, timeout, &*self.random)
            }),
            remote_websockets: Rc::default(),
            compressor: Compressor::new(Arc::clone(self.directory.metrics())),
        });
        let router = WorkerRouter::new(Rc::clone(&endpoint)).start();
        self.register_router(index, router);
        Site {
            endpoint,
            health: Arc::clone(&self.health),
            client_files: Arc::clone(&self.pages.client_files),
            demo: Arc::clone(&self.pages.demo),
            probes: self.config.server.public_probes,
            api: self.api.public.clone(),
            echo_api: self.build_echo_api(),
        }
    }

    fn build_echo_api(&self) -> Option<Rc<EchoApi>> {
        let presence = self.reports.presence.as_ref();
        echo_api(&self.config.app, &self.directory, presence, &self.limits)
    }

    /// The shard of a worker, with its observers.
    fn build_shard(&self, index: WorkerIndex) -> Rc<Shard> {
        let limits = ShardLimits {
            outbox: Bounds {
                soft: self.config.socket.outbox_limit,
                hard: self.config.socket.outbox_hard_limit,
            },
            pending_acks: self.config.socket.max_pending_acks,
            rooms: self.config.socket.max_rooms,
        };
        let share = Share::of(&self.outbox_memory, index.get());
        let shard = Shard::new(index, Arc::clone(&self.directory), limits, share);
        if self.config.engine.websocket_compression {
            let engine = &self.config.engine;
            let deflater = Deflater::new(
                engine.websocket_compression_threshold,
                engine.websocket_compression_level,
                Arc::clone(self.directory.metrics()),
            );
            shard.with_lanes(|lanes| lanes.set_deflater(deflater));
        }
        if let Some(last_seen) = &self.api.last_seen {
            shard.observe(Rc::new(last_seen.recorder()));
        }
        if let Some(rooms) = &self.reports.presence {
            shard.observe(Rc::new(PresenceObserver::new(Arc::clone(rooms))));
        }
        if let Some(table) = &self.reports.registry {
            let observer = RegistryObserver::new(index, Arc::clone(table));
            shard.observe(Rc::new(observer));
        }
        shard
    }

    /// Prepares a connection of the public listener before HTTP: PROXY header, limits, TLS.
    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor::new(ListenerSettings {
            access: Some(Arc::clone(&self.reloadable.access)),
            expects_header: self.config.server.proxy_protocol,
            tls: self.tls.clone(),
            connections: Arc::clone(self.limits.http()),
            per_worker: self.limits.descriptors().requests_per_worker(),
            timeouts: self.config.server.http,
            metrics: Arc::clone(self.directory.metrics()),
        })
    }

    fn register_router(&self, index: WorkerIndex, router: Addr<WorkerRouter>) {
        let routers = &self.built.routers;
        let mut registered = routers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        registered.resize(self.config.server.workers, None);
        registered[index.get()] = Some(router);
        if let Some(all) = registered.iter().cloned().collect::<Option<Vec<_>>>() {
            let _ = self.router_addresses.set(
                all.iter()
                    .map(|router| router.clone().recipient())
                    .collect(),
            );
            self.routers
                .complete(all.iter().map(WorkerRouter::handle).collect());
        }
    }
}

/// Bytes that may be queued for all clients of this node.
pub(super) fn outbox_memory(config: &Config) -> usize {
    let chosen = config.limits.outbox_memory;
    // A single client must have room even on a machine with little memory.
    chosen.unwrap_or_else(|| {
        MemoryLimit::of_process()
            .outbox()
            .max(config.socket.outbox_hard_limit)
    })
}

pub(super) fn endpoint_settings(
    config: &Config,
    node: NodeId,
    reloadable: &ReloadableParts,
    app: &dyn AppFactory,
) -> EndpointSettings {
    EndpointSettings {
        engine: config.engine.clone(),
        access: Arc::clone(&reloadable.access),
        tls: config.server.tls.is_some(),
        send_buffer: config.socket.send_buffer,
        bare_path: app.engine_app().map(|app| app.path().to_owned()),
        forward_timeout: config.bus.forward_timeout,
        message_limit: config.bus.message_limit,
        via_mark: app
            .has_upstreams()
            .then(|| ViaMark::new(&config.bus.channel_prefix, node)),
    }
}
