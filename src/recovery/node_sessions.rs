//! Sessions that are shared with Socket.IO servers in Node (`bus.node_sessions`): their records, and which socket holds
//! them.
//!
//! A server removes the record when the client of a session returns, and writes a new one when the connection is lost.
//! A node writes the record when the session begins and keeps it up to date, so that the session outlives the node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::node_record::NodeRecord;
use super::opened::{NewSocket, SessionGap};
use super::pid::Pid;
use super::record::SessionRecord;
use super::record_members::UnusableRecord;
use super::time_limit::within_recovery_time;
use crate::metrics::labels::RecoveryResult;
use crate::model::{Position, Room};
use crate::store::{Store, StoreFuture};

/// Number of attempts to claim a session whose record changes at the same time, for example by the node of the former
/// socket.
const ATTEMPTS: usize = 5;

/// The records of shared sessions.
pub(super) struct NodeSessions {
    pub store: Arc<dyn Store>,
    /// `bus.node_session_key`.
    pub prefix: String,
}

impl From<UnusableRecord> for SessionGap {
    fn from(problem: UnusableRecord) -> Self {
        match problem {
            UnusableRecord::Malformed => RecoveryResult::Unknown.into(),
            UnusableRecord::TooLarge => RecoveryResult::RecordSize.into(),
        }
    }
}

impl NodeSessions {
    /// Makes a socket the holder of a session. Returns its generation and the record as it was before.
    ///
    /// The id of the session proves that it belongs to the client, as at servers. If a node has written the record,
    /// user and namespace must also match. Servers do not keep the user, but the room of the user.
    pub(super) async fn claim(
        &self,
        pid: Pid,
        socket: &NewSocket,
        offset: Option<Position>,
        lifetime: Duration,
    ) -> Result<(u64, SessionRecord), SessionGap> {
        if offset.is_some_and(|offset| !offset.is_of_stream()) {
            return Err(RecoveryResult::Epoch.into());
        }
        let key = self.key(pid);
        for _ in 0..ATTEMPTS {
            let held = within_recovery_time(|| self.store.get(&key)).await?;
            let held = held.ok_or(RecoveryResult::Unknown)?;
            let before = usable(&held, socket, offset)?;
            let mut record = before.clone();
            record.continue_as(socket.id);
            let value = NodeRecord::encode(&record, pid);
            let claim = || {
                let (held, value) = (held.clone(), value.clone());
                self.store.shared_claim(&key, held, value, lifetime)
            };
            if let Some(generation) = within_recovery_time(claim).await? {
                return Ok((generation, before));
            }
        }
        Err(RecoveryResult::Unavailable.into())
    }

    /// Writes the record of a session for the holder of a generation; `false` if another socket holds the session.
    pub(super) fn write(
        &self,
        pid: Pid,
        generation: u64,
        record: &SessionRecord,
        lifetime: Duration,
    ) -> StoreFuture<bool> {
        let value = NodeRecord::encode(record, pid);
        let key = self.key(pid);
        self.store.shared_set(&key, generation, value, lifetime)
    }

    /// Removes the record of a session that has ended, if the holder of `generation` still holds it.
    pub(super) fn remove(&self, pid: Pid, generation: u64, lifetime: Duration) -> StoreFuture<()> {
        self.store
            .shared_remove(&self.key(pid), generation, lifetime)
    }

    fn key(&self, pid: Pid) -> String {
        format!("{}{}", self.prefix, pid.as_str())
    }
}

/// Decodes the record of a session, if this socket may continue it.
fn usable(
    held: &Bytes,
    socket: &NewSocket,
    offset: Option<Position>,
) -> Result<SessionRecord, SessionGap> {
    let NodeRecord {
        mut record,
        is_of_roomwire,
    } = NodeRecord::decode(held, &socket.namespace)?;
    if is_of_roomwire {
        let is_own = record.user == socket.user && record.namespace == socket.namespace;
        return is_own
            .then_some(record)
            .ok_or_else(|| RecoveryResult::Foreign.into());
    }
    let is_of_another = |(room, _): &(Room, u64)| is_of_another_user(room, socket);
    if record.rooms.iter().any(is_of_another) {
        return Err(RecoveryResult::Foreign.into());
    }
    // A server does not record where the session began. At the client's offset it was connected, with these rooms.
    let start = offset.ok_or(RecoveryResult::Position)?.n;
    record.user.clone_from(&socket.user);
    record.start = start;
    record
        .rooms
        .iter_mut()
        .for_each(|(_, after)| *after = start);
    Ok(record)
}

/// Whether it is the room of a user, who is not the one of the socket.
fn is_of_another_user(room: &Room, socket: &NewSocket) -> bool {
    let rooms = socket.user_rooms.as_ref();
    let user = rooms.and_then(|rooms| rooms.user(room));
    user.is_some_and(|user| socket.user.as_deref() != Some(user))
}
