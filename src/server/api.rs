//! The HTTP API of a node: what it is built from, and the listener of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_server::ServerHandle;
use log::info;

use super::listen::{SideListener, bind, serve_side};
use super::tls::WatchedIdentity;
use super::worker::{Blueprint, WorkerApi};
use crate::api::{self, Api, ApiSettings, ApiSlot, LastSeen};
use crate::broker::Ingress;
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{MemoryStore, Store};

/// Limits of HTTP connections of the listener of the API: in total, and of one address. Backends have few addresses.
const CONNECTIONS: usize = 1024;
const CONNECTIONS_PER_ADDRESS: usize = 512;

/// The API before the node has started.
pub(super) struct ApiParts {
    slot: ApiSlot,
    store: Arc<dyn Store>,
    last_seen: LastSeen,
    listener: Option<BoundListener>,
}

/// The listener of the API, which does not accept yet.
struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<WatchedIdentity>,
}

/// The running listener of the API.
pub(super) struct ApiListener {
    pub(super) address: SocketAddr,
    pub(super) handle: ServerHandle,
    /// Watches the certificate.
    _tls: Option<WatchedIdentity>,
}

impl ApiParts {
    /// Binds the listener, if the API has one of its own.
    pub(super) fn bind(
        config: &Config,
        store: Option<Arc<dyn Store>>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let store = store.unwrap_or_else(|| Arc::new(MemoryStore::default()));
        let listener = match &config.api.bind {
            None => None,
            Some(address) => {
                let tls = WatchedIdentity::start_api(&config.api, metrics)?;
                let (listener, address) = bind(address, "api.bind")?;
                Some(BoundListener {
                    listener,
                    address,
                    tls,
                })
            }
        };
        let last_seen = LastSeen::start(
            Arc::clone(&store),
            &config.bus.channel_prefix,
            config.identity.user_room.clone(),
            config.api.last_seen_time,
        );
        Ok(Self {
            slot: ApiSlot::default(),
            store,
            last_seen,
            listener,
        })
    }

    /// Where the internal listener finds the API, unless that has a listener of its own.
    pub(super) fn internal(&self, config: &Config) -> Option<ApiSlot> {
        config.api.bind.is_none().then(|| Arc::clone(&self.slot))
    }

    /// What the log line of the internal listener at `url` adds: the API and its page, if it has keys.
    pub(super) fn announcement(&self, config: &Config, url: &str) -> String {
        if config.api.bind.is_some() || config.api.credentials.is_empty() {
            return String::new();
        }
        format!(", HTTP API (to read and try: {url}{})", page_path())
    }

    /// What the workers need of it.
    pub(super) fn for_workers(&self, config: &Config) -> WorkerApi {
        let is_used = !config.api.credentials.is_empty();
        WorkerApi {
            public: config.api.public.then(|| Arc::clone(&self.slot)),
            last_seen: is_used.then(|| self.last_seen.clone()),
        }
    }

    /// Opens the API of a node whose workers are started.
    pub(super) fn open(self, blueprint: &Blueprint) -> anyhow::Result<Option<ApiListener>> {
        let (config, metrics) = (&blueprint.config, blueprint.directory.metrics());
        let api = Api {
            ingress: Ingress::new(Arc::clone(&blueprint.directory)),
            keys: Arc::clone(&blueprint.reloadable.keys),
            settings: settings(config),
            store: self.store,
            last_seen: self.last_seen,
            revocations: Arc::clone(&blueprint.users.revocations),
            presence: blueprint.reports.presence.clone(),
            limits: Arc::clone(&blueprint.limits),
            health: Arc::clone(&blueprint.health),
            metrics: Arc::clone(metrics),
            started: clock::now(),
        };
        // Set once: a node starts once.
        let _ = self.slot.set(Arc::new(api));
        let Some(bound) = self.listener else {
            return Ok(None);
        };
        let side = SideListener {
            name: "api",
            listener: bound.listener,
            tls: bound.tls.as_ref().map(|tls| Arc::clone(&tls.identity)),
            timeouts: config.server.http,
            metrics: Arc::clone(metrics),
            connections: CONNECTIONS,
            per_address: CONNECTIONS_PER_ADDRESS,
        };
        let slot = self.slot;
        let handle = serve_side(side, move |request, body| {
            let slot = Arc::clone(&slot);
            async move { api::serve(&slot, request, body).await }
        })?;
        let scheme = bound.tls.as_ref().map_or("http", |_| "https");
        let address = bound.address;
        let page = page_path();
        info!(
            "API on {scheme}://{address}{}/, to read and try: {scheme}://{address}{page}",
            api::PREFIX
        );
        Ok(Some(ApiListener {
            address,
            handle,
            _tls: bound.tls,
        }))
    }
}

/// The path of the page of the API.
fn page_path() -> String {
    format!("{}/docs/", api::PREFIX)
}

fn settings(config: &Config) -> ApiSettings {
    ApiSettings {
        max_body: config.api.max_body,
        max_batch: config.api.max_batch,
        max_depth: config.socket.max_depth,
        idempotency_time: config.api.idempotency_time,
        audit: config.api.audit,
        user_room: config.identity.user_room.clone(),
        store_prefix: config.bus.channel_prefix.clone(),
    }
}
