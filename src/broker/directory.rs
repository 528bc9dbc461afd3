//! Where the parts of this node are: the shard of each worker, and the way to the bus.
//!
//! One per node, shared by all threads; filled while the node starts and only read afterwards.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use actix::{Addr, Recipient};

use super::RoomBroker;
use super::messages::{Interest, Publish, PublishReply};
use crate::metrics::Metrics;
use crate::model::NodeId;

/// Server ack ids stay below 2^31, which every client can represent.
const ACK_ID_LIMIT: u32 = 1 << 31;
/// Work may pile up for a shard to this many bytes before sessions stop reading from their clients.
const BACKLOG_LIMIT: usize = 8 * 1024 * 1024;

/// The bridge, as the broker sees it.
#[derive(Debug, Clone)]
pub struct Bus {
    pub publish: Recipient<Publish>,
    pub reply: Recipient<PublishReply>,
    pub interest: Recipient<Interest>,
    /// Whether a dialect gives every socket a channel of its own, so that the bridge must hear of each.
    pub every_socket: bool,
}

/// The shards of a node and its bridge.
pub struct Directory {
    node: NodeId,
    bus: Option<Bus>,
    joining: Mutex<Vec<Option<Addr<RoomBroker>>>>,
    shards: OnceLock<Box<[Addr<RoomBroker>]>>,
    /// One for each worker, and the last for the bridge.
    backlogs: Box<[Backlog]>,
    next_ack_id: AtomicU32,
    /// The bus is down: what is published is queued.
    cut_off: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Bytes of commands on their way to one shard or the bridge, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Backlog(AtomicUsize);

impl Directory {
    /// A directory for `workers` shards. Without a bus nothing is published.
    pub fn new(node: NodeId, workers: usize, bus: Option<Bus>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            node,
            // A bus is down until it first connects.
            cut_off: AtomicBool::new(bus.is_some()),
            bus,
            joining: Mutex::new(vec![None; workers]),
            shards: OnceLock::new(),
            backlogs: (0..=workers).map(|_| Backlog::default()).collect(),
            next_ack_id: AtomicU32::new(0),
            metrics,
        })
    }

    /// Enters a shard. The directory is complete with the last one.
    pub fn enter(&self, worker: usize, shard: Addr<RoomBroker>) {
        let mut joining = self
            .joining
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        joining[worker] = Some(shard);
        if let Some(all) = joining.iter().cloned().collect::<Option<Vec<_>>>() {
            let _ = self.shards.set(all.into_boxed_slice());
        }
    }

    /// This node's name.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Every shard by worker index; empty until all have entered, which is before the first connection.
    pub fn shards(&self) -> &[Addr<RoomBroker>] {
        self.shards.get().map_or(&[], |shards| shards)
    }

    /// The way to other nodes, if there is one.
    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// Whether there is a bus and it is down, so that emits reach only this node for now.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Set by the bridge.
    pub fn set_cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::Relaxed);
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A fresh id for an emit that wants acks.
    pub fn next_ack_id(&self) -> u32 {
        self.next_ack_id.fetch_add(1, Ordering::Relaxed) % ACK_ID_LIMIT
    }

    /// The number of the bridge among those for whom work can pile up.
    pub fn bridge_index(&self) -> usize {
        self.backlogs.len() - 1
    }

    /// Notes work sent to a shard or the bridge.
    pub fn backlog_grew(&self, worker: usize, bytes: usize) {
        self.backlogs[worker].0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counterpart of [`Directory::backlog_grew`].
    pub fn backlog_shrank(&self, worker: usize, bytes: usize) {
        self.backlogs[worker].0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether a shard or the bridge has so much to do that nobody should bring more.
    pub fn congested(&self) -> bool {
        self.backlogs
            .iter()
            .any(|b| b.0.load(Ordering::Relaxed) > BACKLOG_LIMIT)
    }
}
