//! Sessions that continue after their connection was lost (`docs/delivery.md`).
//!
//! The store has a [`SessionRecord`] of each session: whose it is, in which rooms, and from which positions on it receives
//! the events of each. A [`Tracker`] for each worker keeps the records of its sockets up to date. A client that comes back,
//! to any node, names its session and the position of the last event that it received: [`Recovery`] claims the record,
//! which fences the socket that had it, and reads from the logs what was missed (`history`).

mod event_logs;
mod missed;
mod node_record;
mod node_sessions;
mod node_streams;
mod opened;
mod pid;
mod record;
mod record_members;
mod request;
mod segments;
mod service;
mod shared_logs;
mod stream_logs;
mod stream_read;
mod tail_batches;
mod time_limit;
mod tracker;
mod turns;

pub use event_logs::{EventLogs, EventPage};
pub use missed::{MissedEvents, MissedLimits, MissedReader, Unreadable};
pub use node_record::NodeRecord;
pub use node_streams::{DecodeEntry, NodeStreams, StreamedEvent};
pub use opened::{Missed, NewSocket, OpenedSession, SessionGap};
pub use pid::{InvalidPid, Pid};
pub use record::SessionRecord;
pub use record_members::UnusableRecord;
pub use request::{RecoveryRequest, Resume, Tracking};
pub use service::{NodeSessionParts, Recovery, RecoveryParts, SessionClaim};
pub use tracker::{Tracker, TrackerObserver};

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests;
