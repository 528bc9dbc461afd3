//! The streams of Socket.IO servers in Node: which namespace has which one, and how their entries are decoded.

use crate::model::{Emit, Epoch, Namespace, Position};
use crate::store::SharedEntry;

/// Maps namespaces to streams, and entries to events.
pub struct NodeStreams {
    /// The stream of a namespace.
    pub stream_of: Box<dyn Fn(&Namespace) -> String + Send + Sync>,
    /// Decodes an entry; `None` unless it is an event of the namespace that sessions can recover.
    pub decode: DecodeEntry,
    /// `bus.node_stream_read_count`.
    pub read_count: usize,
    /// `bus.node_session_entries`.
    pub max_entries: usize,
}

/// Decodes an entry of a stream, given its name, for a namespace.
pub type DecodeEntry =
    Box<dyn Fn(&str, &SharedEntry, &Namespace) -> Option<StreamedEvent> + Send + Sync>;

/// The event of an entry.
#[derive(Debug)]
pub struct StreamedEvent {
    pub emit: Emit,
    /// Of an entry of a node: the number of the process that added it, and the one that it gave the entry. An entry is
    /// added twice if a connection broke at the wrong moment.
    pub number: Option<(u64, u64)>,
    /// The connection broke after an earlier attempt to add the entry, which may have succeeded.
    pub may_be_repeated: bool,
}

/// The id of an entry as Redis writes it.
pub(super) fn entry_id(n: u64) -> String {
    let epoch = Epoch::STREAM;
    Position { epoch, n }.to_string()
}
