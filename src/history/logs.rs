//! Where the events of a node are kept.

use super::LogTargets;

/// What an event is appended to before anybody receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// The logs of its rooms.
    Rooms(LogTargets),
    /// The stream of the Socket.IO servers in Node that belongs to its namespace.
    Stream,
}
