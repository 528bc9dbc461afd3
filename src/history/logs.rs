//! Where events are logged.

use super::LogTargets;

/// What an event is appended to before it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// The logs of its rooms.
    Rooms(LogTargets),
    /// The stream of its namespace, which Socket.IO servers in Node read too.
    Stream,
}
