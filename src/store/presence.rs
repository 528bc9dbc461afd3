//! Who is present in rooms, by user: kept in the store, changed atomically.
//!
//! A room is a text that the store does not interpret. A user is present while some node has entered the user, and for a
//! while after the last node has left: then a departure is due, which one node takes.
//!
//! The response to a request can be lost after the store has executed it. So requests have numbers, and one that is
//! repeated has the outcome of the first time: members would otherwise never receive the events that follow from it.

use std::fmt;
use std::time::Duration;

use super::StoreFuture;

/// What a node changes about a user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    pub room: String,
    pub user: String,
    pub kind: PresenceChangeKind,
}

/// The kind of a [`PresenceChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceChangeKind {
    /// The user is on this node; `data` replaces what is known of the user. Repetitions have no effect.
    Enter { data: Option<String> },
    /// The user is not on this node any more. If no other node has the user, the departure is due after `delay`, even if
    /// the store does not know the user because it lost its data; it then has `data`.
    Leave {
        delay: Duration,
        data: Option<String>,
    },
    /// The same for a departure that was applied before, in case the store has lost that: only if it has the user.
    LeaveAgain { delay: Duration },
}

impl PresenceChangeKind {
    /// The time after which the departure is due, if it is one.
    pub fn leave_delay(&self) -> Option<Duration> {
        match self {
            Self::Leave { delay, .. } | Self::LeaveAgain { delay } => Some(*delay),
            Self::Enter { .. } => None,
        }
    }
}

/// What a change has caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceEvent {
    /// The user was not present.
    Joined,
    /// The user has other data.
    Updated,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOutcome {
    pub event: Option<PresenceEvent>,
    /// Grows with each event of the room.
    pub version: u64,
    /// Number of users in the room.
    pub count: u64,
    /// The data of the user.
    pub data: Option<String>,
}

/// A user who is not present any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceDeparture {
    pub room: String,
    pub user: String,
    /// Grows with each event of the room.
    pub version: u64,
    /// Number of users left.
    pub count: u64,
    /// The data that the user had.
    pub data: Option<String>,
}

/// Identifies a request of a node, which repeats it with the same number until it has the outcome, before any later
/// one. Displayed as a text without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberedRequest {
    pub node: String,
    /// Random: distinguishes processes that have the name of the node one after the other.
    pub process: u64,
    /// Grows.
    pub number: u64,
}

impl fmt::Display for NumberedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            process,
            number,
        } = self;
        write!(f, "{node}:{process:016x}:{number}")
    }
}

/// Which departures a node takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceSweepRequest {
    pub id: NumberedRequest,
    /// An earlier sweep whose departures the members have received.
    pub emitted: Option<NumberedRequest>,
    /// Maximum number of departures; 0 only confirms `emitted`.
    pub limit: usize,
    /// The departures are due again if it is not confirmed within this time that members have received them.
    pub time_to_emit: Duration,
}

/// Departures that were due, and the time until the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceSweep {
    pub departures: Vec<PresenceDeparture>,
    pub next: Option<Duration>,
}

/// Some of the users of a room, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresencePage {
    /// Number of users in the room.
    pub count: u64,
    /// That of the last event; 0 if the room is empty.
    pub version: u64,
    /// Users with their data.
    pub users: Vec<(String, Option<String>)>,
}

/// Who is present in rooms. `base` is the prefix of all keys.
///
/// Every operation is atomic, and fails with a [`StoreError`](super::StoreError) if the store is unreachable.
pub trait PresenceStore {
    /// Applies changes of a node, in order, once: the last request of a node, repeated, has the same events. `None`: the
    /// node was removed, and nothing is applied.
    fn presence_apply(
        &self,
        base: &str,
        request: &NumberedRequest,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>>;

    /// Takes departures that are due. They are returned again to the same request, and to another one if they are not
    /// confirmed in time, except those of users who have come back.
    fn presence_sweep(
        &self,
        base: &str,
        request: PresenceSweepRequest,
    ) -> StoreFuture<PresenceSweep>;

    /// At most `limit` users of a room in the order of their bytes: those after `after`, or the first ones.
    fn presence_page(
        &self,
        base: &str,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage>;

    /// A node is gone for good: it leaves at most `limit` of the users it has, with departures due after `delay`, and
    /// can enter none any more. Returns how many it still has.
    fn presence_remove_node(
        &self,
        base: &str,
        node: &str,
        delay: Duration,
        limit: usize,
    ) -> StoreFuture<u64>;
}
