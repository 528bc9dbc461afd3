//! Observers of the sockets of one worker.

use crate::model::SocketEvent;

/// Notified of every [`SocketEvent`] of one worker, on its thread, in the order of the events.
///
/// An observer may call the shard. All observers are notified of the resulting events after the events at hand.
pub trait Observer {
    /// The event has taken effect. Must not block.
    fn on_event(&self, event: &SocketEvent);
}
