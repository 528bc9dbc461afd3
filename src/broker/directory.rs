//! The addresses of a node's parts: the shard of each worker, and the bridge to the bus.
//!
//! One for each node, shared by all threads; complete before the first connection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use actix::Recipient;
use tokio::sync::watch;

use super::listeners::Listeners;
use super::messages::{
    Dispatch, Interest, Publish, PublishAnnouncement, PublishQuery, PublishReply, ReachReport,
    ReachedSockets, ShardAddress, weight,
};
use crate::history::{History, Logs};
use crate::metrics::Metrics;
use crate::metrics::labels::Origin;
use crate::model::{
    Announcement, AnnouncementListener, Command, NodeId, Target, WorkerIndex, Workers,
};

/// Ack ids of the server stay below 2^31, which every client can represent.
const ACK_ID_LIMIT: u32 = 1 << 31;
/// Bytes of work that may wait for one shard, or for the bridge, before sessions stop reading from their clients.
const BACKLOG_LIMIT: usize = 8 * 1024 * 1024;

/// The addresses of the bridge.
#[derive(Debug, Clone)]
pub struct Bus {
    pub publish: Recipient<Publish>,
    pub reply: Recipient<PublishReply>,
    pub query: Recipient<PublishQuery>,
    pub announce: Recipient<PublishAnnouncement>,
    pub interest: Recipient<Interest>,
    pub reached: Recipient<ReachedSockets>,
    /// Whether a dialect has a channel for every socket, so that the bridge must be notified of each.
    pub every_socket: bool,
    /// Whether a dialect has channels for every namespace, so that the first socket of a namespace waits until they are
    /// subscribed.
    pub has_namespaces: bool,
}

/// The shards of a node and its bridge.
pub struct Directory {
    node: NodeId,
    bus: Option<Bus>,
    /// Shards that have entered, until all have.
    entered: Mutex<Vec<Option<ShardAddress>>>,
    shards: OnceLock<Box<[ShardAddress]>>,
    /// One for each worker, and a last one for the bridge.
    backlogs: Box<[ShardBacklog]>,
    next_ack_id: AtomicU32,
    peers: watch::Sender<Vec<NodeId>>,
    listeners: Listeners,
    /// Set if rooms have logs.
    history: OnceLock<Arc<History>>,
    /// Counts how often the bus has begun to deliver.
    connects: watch::Sender<u64>,
    /// Numbers the calls and queries of threads without a shard.
    next_gather: AtomicU64,
    /// The bus is down: messages to publish are queued.
    cut_off: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Bytes of commands on their way to one shard or the bridge, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct ShardBacklog(AtomicUsize);

impl Directory {
    /// A directory for `workers` shards. Without a bus nothing is published.
    pub fn new(node: NodeId, workers: usize, bus: Option<Bus>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            node,
            // A bus is down until it first connects.
            cut_off: AtomicBool::new(bus.is_some()),
            bus,
            entered: Mutex::new(vec![None; workers]),
            shards: OnceLock::new(),
            backlogs: (0..=workers).map(|_| ShardBacklog::default()).collect(),
            next_ack_id: AtomicU32::new(0),
            peers: watch::Sender::default(),
            listeners: Listeners::default(),
            history: OnceLock::new(),
            connects: watch::Sender::default(),
            next_gather: AtomicU64::new(0),
            metrics,
        })
    }

    /// Enters a shard. The directory is complete with the last one.
    pub fn enter(&self, worker: usize, shard: ShardAddress) {
        let mut entered = self
            .entered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        entered[worker] = Some(shard);
        if let Some(all) = entered.iter().cloned().collect::<Option<Vec<_>>>() {
            let _ = self.shards.set(all.into_boxed_slice());
        }
    }

    /// The name of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Every shard by worker index; empty until all have entered, which is before the first connection.
    pub fn shards(&self) -> &[ShardAddress] {
        self.shards.get().map_or(&[], |shards| shards)
    }

    /// Every worker.
    pub fn workers(&self) -> Workers {
        Workers::first(self.backlogs.len() - 1)
    }

    /// The workers that a command may concern, given its [`owner`](Self::owner).
    pub(super) fn workers_of(&self, owner: Option<WorkerIndex>) -> Workers {
        owner.map_or_else(|| self.workers(), Workers::only)
    }

    /// A command that enters the broker here, or comes from the bus, as it is applied on every worker.
    pub(super) fn admit(&self, command: Arc<Command>, origin: Origin) -> Dispatch {
        self.metrics.commands_total.of(origin).increment();
        let ack_id = command.ack_token().map(|_| self.next_ack_id());
        Dispatch {
            command,
            ack_id,
            // The bridge waits only for joins that it received itself.
            from_bus: false,
            reports: match origin {
                Origin::Local if ack_id.is_some() => ReachReport::NoRecipient,
                _ => ReachReport::Nothing,
            },
            position: None,
        }
    }

    /// Publishes a command that entered on this node.
    pub(super) fn publish(&self, dispatch: Dispatch) {
        if let Some(bus) = &self.bus {
            self.backlog_grew(self.bridge_index(), weight(&dispatch.command));
            bus.publish.do_send(Publish {
                command: dispatch.command,
                logs: None,
            });
        }
    }

    /// Publishes a command of this node that is appended to logs. This node too receives it from the bus.
    pub(super) fn publish_logged(&self, command: Arc<Command>, logs: Logs) {
        if let Some(bus) = &self.bus {
            self.backlog_grew(self.bridge_index(), weight(&command));
            let logs = Some(logs);
            bus.publish.do_send(Publish { command, logs });
        }
    }

    /// Sets the logs of rooms, before the first connection.
    pub fn set_history(&self, history: Arc<History>) {
        let _ = self.history.set(history);
    }

    /// The logs of rooms; `None` if no room has one.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.history.get()
    }

    /// Calls `listener` with each announcement of the topic, of this node and of others.
    pub fn listen(&self, topic: &'static str, listener: AnnouncementListener) {
        self.listeners.add(topic, listener);
    }

    /// Passes an announcement to the listeners of this node.
    pub fn announced(&self, announcement: &Announcement) {
        self.listeners.call(announcement);
    }

    /// The other live nodes of the cluster, as far as they are known.
    pub fn peers(&self) -> Vec<NodeId> {
        self.peers.borrow().clone()
    }

    /// The number of live nodes with which this one can exchange messages now, itself included.
    pub fn reachable_nodes(&self) -> usize {
        if self.is_cut_off() {
            return 1;
        }
        self.peers.borrow().len() + 1
    }

    /// Replaces the live nodes of the cluster apart from this one.
    pub fn set_peers(&self, peers: Vec<NodeId>) {
        self.peers.send_replace(peers);
    }

    /// Follows the live nodes of the cluster.
    pub fn watch_peers(&self) -> watch::Receiver<Vec<NodeId>> {
        self.peers.subscribe()
    }

    /// Notes that the bus delivers from now on. What others published before may have been missed.
    pub fn note_connect(&self) {
        self.connects.send_modify(|connects| *connects += 1);
    }

    /// How often the bus has begun to deliver.
    pub fn connects(&self) -> u64 {
        *self.connects.borrow()
    }

    /// Changes whenever the bus has begun to deliver: at the first connection and after each gap.
    pub fn watch_connects(&self) -> watch::Receiver<u64> {
        self.connects.subscribe()
    }

    /// The worker that owns the target of a command, if that is a single socket of this node, and no other socket can have
    /// continued its session.
    pub fn owner(&self, command: &Command) -> Option<WorkerIndex> {
        match command.target() {
            Target::Socket(socket, _) if socket.node() == self.node => {
                (!self.follows_session(command)).then(|| socket.worker())
            }
            _ => None,
        }
    }

    /// Whether an event for a single socket is for its session, which may continue with a socket of another worker or node.
    /// One that requests an ack is not: it would have to wait for all of them to find out that there is none.
    pub fn follows_session(&self, command: &Command) -> bool {
        let (Command::Emit(emit), Target::Socket(_, room)) = (command, command.target()) else {
            return false;
        };
        let history = self.history().filter(|_| emit.ack.is_none());
        history.is_some_and(|history| history.keeps(&emit.to.namespace, room))
    }

    /// The addresses of the bridge; `None` for a node without a bus.
    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// Whether there is a bus and it is down, so that for now emits reach this node only.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Set by the bridge.
    pub fn set_cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::Relaxed);
    }

    /// The metrics of this node.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A fresh id for the acks of an emit.
    pub fn next_ack_id(&self) -> u32 {
        self.next_ack_id.fetch_add(1, Ordering::Relaxed) % ACK_ID_LIMIT
    }

    /// A worker to collect the results of a call or query, and their id there. For threads without a shard; the workers
    /// take turns.
    pub(super) fn next_gather(&self) -> (WorkerIndex, u64) {
        let number = self.next_gather.fetch_add(1, Ordering::Relaxed);
        let worker = number % self.shards().len().max(1) as u64;
        let worker = WorkerIndex::new(worker as usize).unwrap_or_default();
        (worker, gather_id(number, Starter::Thread, worker))
    }

    /// The index of the bridge among the backlogs.
    pub fn bridge_index(&self) -> usize {
        self.backlogs.len() - 1
    }

    /// Counts bytes of work sent to a shard or the bridge.
    pub fn backlog_grew(&self, worker: usize, bytes: usize) {
        self.backlogs[worker].0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counterpart of [`Directory::backlog_grew`].
    pub fn backlog_shrank(&self, worker: usize, bytes: usize) {
        let before = self.backlogs[worker].0.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "work is counted before it is done");
    }

    /// Whether so much work waits for a shard or the bridge that no more should be accepted from clients or the bus.
    pub fn congested(&self) -> bool {
        self.backlogs
            .iter()
            .any(|b| b.0.load(Ordering::Relaxed) > BACKLOG_LIMIT)
    }
}

/// The kind of thread that starts a call or query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    /// The worker that collects the results.
    Worker,
    /// A thread without a shard.
    Thread,
}

/// The id of a call or query: the number given to it by its starter, the kind of starter, and the worker that collects
/// the results.
pub(super) fn gather_id(number: u64, starter: Starter, worker: WorkerIndex) -> u64 {
    let starter = u64::from(starter == Starter::Thread);
    (number * 2 + starter) * WorkerIndex::LIMIT as u64 + worker.get() as u64
}

/// The worker that collects the results of a call or query.
pub fn gather_worker(id: u64) -> usize {
    (id % WorkerIndex::LIMIT as u64) as usize
}
