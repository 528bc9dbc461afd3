//! Sessions that are opened for sockets: new ones, and those that continue.

use log::warn;
use tokio::sync::OwnedSemaphorePermit;

use super::missed::{MissedEvents, MissedReader, Unreadable};
use super::pid::Pid;
use super::record::SessionRecord;
use super::request::Tracking;
use crate::config::UserRoom;
use crate::logging::Burst;
use crate::metrics::labels::RecoveryResult;
use crate::model::{Namespace, Position, Room, SocketId};
use crate::store::StoreError;

/// A socket that requests a session.
#[derive(Debug, Clone)]
pub struct NewSocket {
    pub namespace: Namespace,
    pub user: Option<String>,
    /// The rooms of users; `None` if no client has an identity.
    pub user_rooms: Option<UserRoom>,
    pub id: SocketId,
}

/// A session of a socket that is about to be connected: a new one, or one that continues.
#[derive(Debug)]
pub struct OpenedSession {
    pub pid: Pid,
    /// Fences the sockets that held the session before.
    pub generation: u64,
    pub record: SessionRecord,
    pub tracking: Tracking,
    /// Where the session begins, or was interrupted; `None` if nothing had ever been logged.
    pub offset: Option<Position>,
    /// Set if it continues: what was missed.
    pub missed: Option<Missed>,
    /// Set if the session that the client requested is not continued: why.
    pub gap: Option<SessionGap>,
}

/// What a session has missed.
#[derive(Debug)]
pub struct Missed {
    pub events: MissedEvents,
    /// The number up to which `events` is complete.
    pub until: u64,
    /// Reads the events after `until`.
    pub reader: MissedReader,
    /// Permits to hold the events in memory; dropped once they are sent.
    pub held: Option<OwnedSemaphorePermit>,
}

/// Why a session is not recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGap {
    pub reason: RecoveryResult,
    /// The room whose events are missing; `None` if it is not a single one.
    pub room: Option<Room>,
}

impl From<RecoveryResult> for SessionGap {
    fn from(reason: RecoveryResult) -> Self {
        Self { reason, room: None }
    }
}

impl From<Unreadable> for SessionGap {
    fn from(problem: Unreadable) -> Self {
        match problem {
            Unreadable::Epoch => RecoveryResult::Epoch.into(),
            Unreadable::Trimmed(log) => Self {
                reason: RecoveryResult::Trimmed,
                room: log.room,
            },
            Unreadable::TooMuch => RecoveryResult::TooMuch.into(),
            Unreadable::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for SessionGap {
    fn from(error: StoreError) -> Self {
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(error:%, others; "session not recovered: no access to its record or to the logs");
        }
        RecoveryResult::Unavailable.into()
    }
}

impl OpenedSession {
    /// The `pid` of the CONNECT response, with which stock clients recover the session by themselves.
    pub fn sent_pid(&self) -> Option<&str> {
        (self.tracking == Tracking::Appended).then(|| self.pid.as_str())
    }
}
