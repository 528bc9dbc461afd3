//! The logs of rooms: what may be missed is kept for a while, in one order with positions.
//!
//! The events of shared namespaces are not kept here, but in the stream of the Socket.IO servers in Node, whose order
//! every node follows (`cluster::dialect::node::streams`).
//!
//! Emits to rooms of `[history]` are appended to the log of each target before anybody receives them, so that their
//! positions are the order in which every node delivers them. In a cluster the logs are in Redis, which appends and
//! publishes in one step (`bus`), and the publishing node delivers the event to its own clients when it comes back
//! (`cluster`). A node without Redis has them in memory ([`MemoryRoomLogs`]). Everything that reads logs uses
//! [`RoomLogs`].

mod cluster_logs;
mod logged_rooms;
mod logs;
mod memory;
mod name;
mod page;
mod reader;
mod since;
mod stamp;
mod stream_progress;
mod table;

use std::sync::Arc;

pub use cluster_logs::{ClusterLogs, DecodeEmit};
pub use logged_rooms::{LogTarget, LogTargets, LoggedRooms};
pub use logs::Logs;
pub use memory::MemoryRoomLogs;
pub use name::LogName;
pub use page::{LogPage, Logged, LoggedEvent, Page, Tails};
pub use reader::{LogReader, RoomLogs};
pub use since::{InvalidSince, MAX_LAST, Since};
pub use stamp::{BROADCAST, POSITION_TAG, Stamp};
pub use table::LogTable;

use stream_progress::StreamProgress;

use crate::clock;
use crate::config::HistoryConfig;
use crate::model::{Command, Namespace, Position, Random, Room};

/// The logs of a node: which rooms have one, and access to them.
pub struct History {
    rooms: LoggedRooms,
    /// The namespaces whose sessions are shared with Socket.IO servers in Node.
    shared: Box<[(Namespace, StreamProgress)]>,
    logs: Arc<dyn RoomLogs>,
    local: Option<Arc<MemoryRoomLogs>>,
}

impl History {
    /// The logs of a node without Redis; `None` if no room has one.
    pub fn local(config: &HistoryConfig, random: &dyn Random) -> Option<Self> {
        let rooms = LoggedRooms::new(config);
        if rooms.is_empty() {
            return None;
        }
        let logs = Arc::new(MemoryRoomLogs::new(config.memory, random));
        Some(Self {
            rooms,
            shared: Box::default(),
            local: Some(Arc::clone(&logs)),
            logs,
        })
    }

    /// The logs of a node of a cluster; `None` if no room has one, and if there are no `shared` namespaces
    /// (`bus.node_sessions`).
    pub fn of_cluster(
        config: &HistoryConfig,
        shared: &[String],
        logs: Arc<dyn RoomLogs>,
    ) -> Option<Self> {
        let rooms = LoggedRooms::new(config);
        let shared = shared.iter();
        let shared = shared.map(|name| (Namespace::from(&**name), StreamProgress::default()));
        let shared: Box<[_]> = shared.collect();
        let is_used = !(rooms.is_empty() && shared.is_empty());
        is_used.then_some(Self {
            rooms,
            shared,
            logs,
            local: None,
        })
    }

    /// Which rooms have a log.
    pub fn rooms(&self) -> &LoggedRooms {
        &self.rooms
    }

    /// Reads the logs.
    pub fn logs(&self) -> &Arc<dyn RoomLogs> {
        &self.logs
    }

    /// The logs in memory, of a node without Redis.
    pub fn in_memory(&self) -> Option<&Arc<MemoryRoomLogs>> {
        self.local.as_ref()
    }

    /// Whether the events of a namespace are kept in the stream of the Socket.IO servers in Node.
    pub fn is_shared(&self, namespace: &Namespace) -> bool {
        self.progress(namespace).is_some()
    }

    fn progress(&self, namespace: &Namespace) -> Option<&StreamProgress> {
        let mut shared = self.shared.iter();
        let found = shared.find(|(name, _)| name == namespace);
        found.map(|(_, progress)| progress)
    }

    /// Records that this node has read an event of a shared namespace from its stream.
    pub fn note_streamed(&self, namespace: &Namespace, position: Position) {
        if let Some(progress) = self.progress(namespace) {
            progress.note(position.n, clock::now());
        }
    }

    /// The number up to which all workers have certainly applied the events of a shared namespace; 0 if it is unknown.
    pub fn applied_up_to(&self, namespace: &Namespace) -> u64 {
        let progress = self.progress(namespace);
        progress.map_or(0, |progress| progress.applied(clock::now()))
    }

    /// The log of each shared namespace.
    pub fn shared_logs(&self) -> Vec<LogName> {
        let shared = self.shared.iter();
        shared
            .map(|(namespace, _)| LogName::of_namespace(namespace.clone()))
            .collect()
    }

    /// Whether the events of a room are kept.
    pub fn keeps(&self, namespace: &Namespace, room: &Room) -> bool {
        self.is_shared(namespace) || self.rooms.contains(namespace, room)
    }

    /// The logs that a command of this node is appended to; `None` if it is not logged: no emit, volatile, with an ack,
    /// or for rooms without a log.
    pub fn targets(&self, command: &Command) -> Option<Logs> {
        match command {
            Command::Emit(emit) if !emit.volatile && emit.ack.is_none() => {
                match self.is_shared(&emit.to.namespace) {
                    true => Some(Logs::Stream),
                    false => self.rooms.of(&emit.to).map(Logs::Rooms),
                }
            }
            _ => None,
        }
    }
}
