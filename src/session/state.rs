//! The data of sessions and of the worker they share. The behaviour of sessions is in the other files of this folder.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use actix::Addr;
use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::connect_queue::ConnectQueue;
use super::follow_up::FollowUp;
use super::identity_index::IdentityIndex;
use super::messages::{PostError, PostStarted};
use super::pace::Pace;
use super::pending_poll::PendingPoll;
use super::replay_pace::ReplayPace;
use super::settings::SessionSettings;
use super::socket::SessionSocket;
use super::stats::SessionStats;
use super::worker_load::WorkerLoad;
use crate::app::gate::{Credentials, Gates};
use crate::app::{App, EngineApp};
use crate::auth::Users;
use crate::broker::Shard;
use crate::clock;
use crate::limits::{Admission, Limits};
use crate::model::{EngineId, Network, Random, TransportName};
use crate::outbox::{LaneId, Packet, Tally};
use crate::protocol::ServerPacket;
use crate::protocol::connection::Connection;
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;
use crate::recovery::Tracker;

/// How long nothing is read from a client while the node is congested.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);

/// An Engine.IO session: the actor of one client.
pub struct Session {
    pub(super) id: EngineId,
    pub(super) worker: Rc<Worker>,
    pub(super) lane: LaneId,
    pub(super) connection: Connection,
    /// By slot of the connection's namespaces.
    pub(super) sockets: SmallVec<[Option<Box<SessionSocket>>; 1]>,
    pub(super) transport: TransportName,
    /// A transport writes the lane by itself; otherwise batches are pulled.
    pub(super) attached: bool,
    pub(super) upgrading: Option<Upgrading>,
    pub(super) poll: Option<PendingPoll>,
    /// The POST whose body is still arriving.
    pub(super) post: Option<PostStarted>,
    pub(super) held_post: Option<HeldPost>,
    /// Bytes of events that wait for the app.
    pub(super) inbox: usize,
    pub(super) pace: Pace,
    pub(super) follow_up: FollowUp,
    pub(super) network: Option<Network>,
    /// Kept only if a gate or the app reads it.
    pub(super) credentials: Option<Rc<Credentials>>,
    pub(super) stats: SessionStats,
    pub(super) ended: Option<Ended>,
    pub(super) opened: Instant,
    /// When a slow client must have made progress.
    pub(super) progress_due: Option<Instant>,
}

/// An upgrade that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upgrading {
    pub(super) base64: bool,
}

/// The end of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) reason: CloseReason,
    /// The deadline for the client to fetch what is queued.
    pub(super) fetch_until: Instant,
    /// What had been sent to the client when the session ended.
    pub(super) sent: Tally,
}

/// A POST whose response waits until the app has caught up.
pub(super) struct HeldPost {
    pub(super) reply: oneshot::Sender<Result<(), PostError>>,
    /// Its packets that are not decoded yet: decoded events take many times their memory.
    pub(super) rest: Option<Bytes>,
}

/// What the sessions of a worker share, and the sessions themselves.
pub struct Worker {
    pub shard: Rc<Shard>,
    pub app: Rc<dyn App>,
    /// Handles the messages of bare Engine.IO sessions.
    pub engine_app: Option<Rc<dyn EngineApp>>,
    /// Checks that each client passes before the app sees it.
    pub gates: Gates,
    pub settings: Arc<SessionSettings>,
    pub limits: Arc<Limits>,
    pub users: Arc<Users>,
    pub(super) random: Arc<dyn Random>,
    pub(super) sessions: RefCell<HashMap<EngineId, Registered>>,
    pub(super) identity_index: RefCell<IdentityIndex>,
    pub(super) stopping: Cell<bool>,
    /// Set if sessions can be recovered.
    pub(super) tracker: OnceCell<Rc<Tracker>>,
    pub(super) handshake_headers: Option<Box<[&'static str]>>,
    pub(super) load: Rc<WorkerLoad>,
    pub(super) connects: Rc<ConnectQueue>,
    pub(super) replay_pace: Rc<ReplayPace>,
}

/// A session, counted among those that the node admits.
pub(super) struct Registered {
    pub(super) address: Addr<Session>,
    pub(super) admission: Admission,
}

impl Session {
    /// The session's id, a secret of its client.
    pub fn id(&self) -> EngineId {
        self.id
    }

    /// The lane that a transport writes.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The worker the session lives on.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The session's name in the log.
    pub fn log_name(&self) -> &str {
        self.id.log_name()
    }

    /// Whether the session has ended; its transport writes what is left and closes.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Why the session has ended.
    pub fn end_reason(&self) -> Option<CloseReason> {
        self.ended.map(|ended| ended.reason)
    }

    /// Whether nothing is pending: no event in the app, no POST, no ack in either direction.
    pub(super) fn is_settled(&self) -> bool {
        let posting = self.post.is_some() || self.held_post.is_some();
        let shard = &self.worker.shard;
        !posting
            && self.sockets.iter().flatten().all(|socket| {
                let owes = socket.key.is_some_and(|key| shard.owes_acks(key));
                !owes && socket.is_settled()
            })
    }

    /// Whether so much waits for the app, or was decompressed, that nothing more should be read from the client.
    pub fn is_behind(&self) -> bool {
        self.inbox > self.worker.settings.inbox_limit || self.pace.inflated
    }

    /// Whether a worker of this node is congested; if so, the task is woken soon to check again.
    pub fn node_is_congested(&self, cx: &TaskContext<'_>) -> bool {
        let congested = self.worker.shard.directory().congested();
        if congested {
            let waker = cx.waker().clone();
            actix_rt::spawn(async move {
                tokio::time::sleep(CONGESTION_PAUSE).await;
                waker.wake();
            });
        }
        congested
    }

    /// Extends the ping deadline of a client that was not read from for a while: its pong may wait in the socket.
    pub fn extend_ping_deadline(&mut self) {
        self.connection.extend_ping_deadline(clock::now());
    }

    /// The revision of Engine.IO that the client uses.
    pub(super) fn revision(&self) -> EngineRevision {
        self.connection.format().revision
    }

    /// Sends a packet of the session itself.
    pub fn send(&self, packet: Packet) {
        self.worker.shard.send(self.lane, packet);
    }

    /// Sends the client a packet in its wire format.
    pub(super) fn send_packet(&self, packet: &ServerPacket<'_>) {
        self.send(Packet::encode(self.connection.format(), packet));
    }

    pub(super) fn socket(&self, slot: Slot) -> Option<&SessionSocket> {
        self.sockets.get(slot.get())?.as_deref()
    }

    pub(super) fn socket_mut(&mut self, slot: Slot) -> Option<&mut SessionSocket> {
        self.sockets.get_mut(slot.get())?.as_deref_mut()
    }
}
