//! The sessions of a worker: opened, found, counted and ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use hashbrown::HashMap;

use super::connect_queue::ConnectQueue;
use super::messages::ShutDown;
use super::metric_labels;
use super::settings::SessionSettings;
use super::state::{Registered, Session, Worker};
use super::worker_load::WorkerLoad;
use crate::app::gate::Gates;
use crate::app::{App, EngineApp};
use crate::auth::Users;
use crate::broker::Shard;
use crate::config::UserRoom;
use crate::limits::{Admission, Limit, Limits};
use crate::metrics::Metrics;
use crate::metrics::labels::Transport;
use crate::model::{EngineId, Random, SocketId, TransportName};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::engine_io::state::CloseReason;
use crate::recovery::Tracker;

/// How clients are identified, and what follows from it.
pub struct Identification {
    pub gates: Gates,
    pub users: Arc<Users>,
}

impl Worker {
    /// A worker without sessions.
    pub fn new(
        shard: Rc<Shard>,
        app: Rc<dyn App>,
        engine_app: Option<Rc<dyn EngineApp>>,
        identification: Identification,
        settings: Arc<SessionSettings>,
        limits: Arc<Limits>,
        random: Arc<dyn Random>,
    ) -> Rc<Self> {
        let Identification { gates, users } = identification;
        let load = Rc::<WorkerLoad>::default();
        Rc::new(Self {
            shard,
            handshake_headers: handshake_headers(&gates, &*app, &settings.shown_headers),
            app,
            engine_app,
            gates,
            settings,
            limits,
            users,
            random,
            sessions: RefCell::new(HashMap::new()),
            identity_index: RefCell::default(),
            stopping: Cell::new(false),
            tracker: OnceCell::new(),
            connects: ConnectQueue::new(Rc::clone(&load)),
            load,
            replay_pace: Rc::default(),
        })
    }

    /// Lets clients recover their sessions, before the first connection.
    pub fn set_tracker(&self, tracker: Rc<Tracker>) {
        let _ = self.tracker.set(tracker);
    }

    /// The sessions that can be recovered; `None` if none can.
    pub(super) fn tracker(&self) -> Option<&Rc<Tracker>> {
        self.tracker.get()
    }

    /// How late this worker is.
    pub fn load(&self) -> &Rc<WorkerLoad> {
        &self.load
    }

    /// The metrics of the node.
    pub fn metrics(&self) -> &Metrics {
        self.shard.directory().metrics()
    }

    /// Lower-case names of the headers to keep of the request that opens a session; `None` if nothing of it is read.
    pub fn handshake_headers(&self) -> Option<&[&'static str]> {
        self.handshake_headers.as_deref()
    }

    /// The rooms of users, which clients cannot join or leave by request; `None` if no client has an identity.
    pub(super) fn user_rooms(&self) -> Option<&UserRoom> {
        let rooms = &self.settings.identity.user_room;
        (!self.gates.is_empty() || self.app.identifies()).then_some(rooms)
    }

    /// Whether a gate or the app reads the query of the request that opens a session.
    pub fn keeps_query(&self) -> bool {
        self.app.handshake_headers().is_some() || self.gates.read_query()
    }

    /// Whether other servers receive the handshakes of sockets.
    pub(super) fn shows_handshakes(&self) -> bool {
        !self.settings.shown_headers.is_empty()
    }

    /// Whether sessions can be recovered.
    pub fn recovers(&self) -> bool {
        self.tracker().is_some()
    }

    /// Whether a gate or the app reads its cookies.
    pub fn keeps_cookies(&self) -> bool {
        self.app.handshake_headers().is_some() || self.gates.read_cookies()
    }

    /// The session with this id, if it lives on this worker.
    pub fn session(&self, id: EngineId) -> Option<Addr<Session>> {
        let sessions = self.sessions.borrow();
        sessions
            .get(&id)
            .map(|registered| registered.address.clone())
    }

    /// Accepts no new session from now on.
    pub fn reject_new(&self) {
        self.stopping.set(true);
    }

    /// The sessions of this worker.
    pub fn session_ids(&self) -> Vec<EngineId> {
        self.sessions.borrow().keys().copied().collect()
    }

    /// Ends a session once no ack or response is pending, after `ack_timeout` at the latest.
    pub fn end(&self, id: EngineId, ack_timeout: Duration) {
        if let Some(session) = self.sessions.borrow().get(&id) {
            session.address.do_send(ShutDown {
                ack_timeout,
                is_fenced: false,
            });
        }
    }

    /// Ends every session of this worker, and accepts no new one. `is_fenced`: the node has lost its name.
    pub fn stop(&self, is_fenced: bool) {
        self.reject_new();
        let ack_timeout = Duration::ZERO;
        for session in self.sessions.borrow().values() {
            session.address.do_send(ShutDown {
                ack_timeout,
                is_fenced,
            });
        }
    }

    /// Whether the node is stopping: clients should connect elsewhere.
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

    /// Registers and counts a new session.
    pub(super) fn register(
        &self,
        id: EngineId,
        address: Addr<Session>,
        admission: Admission,
        transport: TransportName,
        revision: EngineRevision,
    ) {
        let registered = Registered { address, admission };
        self.sessions.borrow_mut().insert(id, registered);
        let (metrics, label) = (self.metrics(), metric_labels::transport(transport));
        metrics.sessions.of(label).add(1);
        metrics.sessions_opened_total.of(label).increment();
        let label = metric_labels::revision(revision);
        metrics.revision_sessions.of(label).add(1);
        metrics.revision_sessions_opened_total.of(label).increment();
    }

    /// Removes a session that is gone. Returns the address of its client, if known.
    pub(super) fn unregister(
        &self,
        id: EngineId,
        transport: TransportName,
        revision: EngineRevision,
        reason: CloseReason,
    ) -> Option<IpAddr> {
        let registered = self.sessions.borrow_mut().remove(&id)?;
        let (metrics, label) = (self.metrics(), metric_labels::transport(transport));
        metrics.sessions.of(label).add(-1);
        let label = metric_labels::revision(revision);
        metrics.revision_sessions.of(label).add(-1);
        let label = metric_labels::disconnect(reason);
        metrics.disconnects_total.of(label).increment();
        registered.admission.address()
    }

    /// Counts and logs that a session reached a limit, with the address of its client.
    pub fn limit_reached(&self, id: EngineId, limit: Limit) {
        let sessions = self.sessions.borrow();
        let address = sessions
            .get(&id)
            .and_then(|registered| registered.admission.address());
        self.limits.record_rejection(limit, address);
    }

    /// Counts `change` more sessions whose websocket compresses messages.
    pub(super) fn count_compressed(&self, change: i64) {
        self.metrics().websocket_compression_sessions.add(change);
    }

    /// Counts the upgrade of a session from `transport` to a websocket.
    pub(super) fn count_upgrade(&self, transport: TransportName) {
        let (metrics, label) = (self.metrics(), metric_labels::transport(transport));
        metrics.upgrades_total.increment();
        metrics.sessions.of(label).add(-1);
        metrics.sessions.of(Transport::Websocket).add(1);
    }
}

fn handshake_headers(
    gates: &Gates,
    app: &dyn App,
    shown: &[&'static str],
) -> Option<Box<[&'static str]>> {
    let of_app = app.handshake_headers();
    if gates.is_empty() && of_app.is_none() && shown.is_empty() {
        return None;
    }
    let mut names: Vec<_> = gates.headers().chain(shown.iter().copied()).collect();
    names.extend(of_app.into_iter().flatten());
    names.sort_unstable();
    names.dedup();
    Some(names.into())
}
