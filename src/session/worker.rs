//! What all sessions of a worker share.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use hashbrown::HashMap;

use super::messages::ShutDown;
use super::{Session, metric_labels};
use crate::app::App;
use crate::app::gate::Gates;
use crate::broker::Shard;
use crate::config::Pattern;
use crate::limits::{Admission, Limit, Limits};
use crate::metrics::Metrics;
use crate::metrics::labels::Transport;
use crate::model::{EngineId, Random, SocketId, TransportName};
use crate::protocol::connection::Timing;
use crate::protocol::engine_io::state::CloseReason;

/// The settings of sessions.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub timing: Timing,
    /// Namespaces clients may ask for.
    pub namespaces: Vec<Pattern>,
    /// Bytes of a session's events that may wait for the app before we stop reading from the client.
    pub inbox_limit: usize,
    /// Answers a socket may owe the app.
    pub max_pending_acks: usize,
    /// Time within which a client must make progress once its queue exceeds `socket.outbox_limit`.
    pub slow_timeout: Duration,
}

/// A session and its place among those the node takes.
struct Entered {
    address: Addr<Session>,
    admission: Admission,
}

/// A worker's sessions and their surroundings.
pub struct Worker {
    pub shard: Rc<Shard>,
    pub app: Rc<dyn App>,
    /// Checks that each client passes before the app sees it.
    pub gates: Gates,
    pub settings: Arc<SessionSettings>,
    pub limits: Arc<Limits>,
    random: Arc<dyn Random>,
    sessions: RefCell<HashMap<EngineId, Entered>>,
    stopping: Cell<bool>,
    handshake_headers: Option<Box<[&'static str]>>,
}

impl Worker {
    /// A worker without sessions.
    pub fn new(
        shard: Rc<Shard>,
        app: Rc<dyn App>,
        gates: Gates,
        settings: Arc<SessionSettings>,
        limits: Arc<Limits>,
        random: Arc<dyn Random>,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard,
            handshake_headers: handshake_headers(&gates, &*app),
            app,
            gates,
            settings,
            limits,
            random,
            sessions: RefCell::new(HashMap::new()),
            stopping: Cell::new(false),
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        self.shard.directory().metrics()
    }

    /// Lower-case names of the headers to keep of the request that opens a session; `None` if nothing of it is read.
    pub fn handshake_headers(&self) -> Option<&[&'static str]> {
        self.handshake_headers.as_deref()
    }

    /// A session of this worker.
    pub fn session(&self, id: EngineId) -> Option<Addr<Session>> {
        let sessions = self.sessions.borrow();
        sessions.get(&id).map(|entered| entered.address.clone())
    }

    /// No new session may begin from now on.
    pub fn refuse_new(&self) {
        self.stopping.set(true);
    }

    /// The sessions of this worker.
    pub fn session_ids(&self) -> Vec<EngineId> {
        self.sessions.borrow().keys().copied().collect()
    }

    /// Ends a session once what it has under way is settled, after `patience` at the latest.
    pub fn end(&self, id: EngineId, patience: Duration) {
        if let Some(session) = self.sessions.borrow().get(&id) {
            session.address.do_send(ShutDown { patience });
        }
    }

    /// Ends every session of this worker; no new one may begin.
    pub fn stop(&self) {
        self.refuse_new();
        let patience = Duration::ZERO;
        for session in self.sessions.borrow().values() {
            session.address.do_send(ShutDown { patience });
        }
    }

    /// Whether the node stops: clients should go elsewhere.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// A fresh id for a session.
    pub fn new_engine_id(&self) -> EngineId {
        EngineId::random(
            self.shard.directory().node(),
            self.shard.worker(),
            &*self.random,
        )
    }

    pub(super) fn new_socket_id(&self) -> SocketId {
        SocketId::random(
            self.shard.directory().node(),
            self.shard.worker(),
            &*self.random,
        )
    }

    pub(super) fn enter(
        &self,
        id: EngineId,
        address: Addr<Session>,
        admission: Admission,
        transport: TransportName,
    ) {
        let entered = Entered { address, admission };
        self.sessions.borrow_mut().insert(id, entered);
        let (metrics, label) = (self.metrics(), metric_labels::transport(transport));
        metrics.sessions.of(label).add(1);
        metrics.sessions_opened_total.of(label).increment();
    }

    /// Counts a session out; where its client was, if that is known.
    pub(super) fn remove(
        &self,
        id: EngineId,
        transport: TransportName,
        reason: CloseReason,
    ) -> Option<IpAddr> {
        let entered = self.sessions.borrow_mut().remove(&id)?;
        let (metrics, label) = (self.metrics(), metric_labels::transport(transport));
        metrics.sessions.of(label).add(-1);
        let ended = metrics
            .disconnects_total
            .of(metric_labels::disconnect(reason));
        ended.increment();
        entered.admission.address()
    }

    /// Counts and logs what a limit refused or held back, with the address of the client whose session this is.
    pub(super) fn refused(&self, id: EngineId, limit: Limit) {
        let sessions = self.sessions.borrow();
        let address = sessions.get(&id).and_then(|it| it.admission.address());
        self.limits.refused(limit, address);
    }

    /// A session that began with `transport` is carried by a websocket now.
    pub(super) fn count_upgrade(&self, transport: TransportName) {
        let metrics = self.metrics();
        metrics.upgrades_total.increment();
        metrics
            .sessions
            .of(metric_labels::transport(transport))
            .add(-1);
        metrics.sessions.of(Transport::Websocket).add(1);
    }
}

fn handshake_headers(gates: &Gates, app: &dyn App) -> Option<Box<[&'static str]>> {
    let of_app = app.handshake_headers();
    if gates.is_empty() && of_app.is_none() {
        return None;
    }
    let mut names: Vec<_> = gates.headers().collect();
    names.extend(of_app.into_iter().flatten());
    names.sort_unstable();
    names.dedup();
    Some(names.into())
}
