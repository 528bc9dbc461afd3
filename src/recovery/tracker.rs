//! Keeps the records of the sessions of a worker up to date.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::opened::OpenedSession;
use super::pid::Pid;
use super::record::{JoinedRoom, SessionRecord};
use super::service::{Recovery, SessionClaim};
use crate::broker::messages::Notice;
use crate::broker::{Observer, Shard};
use crate::clock;
use crate::model::{Position, Room, Selector, SocketChange, SocketEvent, SocketId};
use crate::store::StoreError;

/// Pause before a write that failed is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often the last write of a session is tried.
const LAST_ATTEMPTS: usize = 5;
/// Number of notes of what was sent that are kept for a session.
const SENT_NOTES: u32 = 4;
/// How often sessions are looked for whose record must be refreshed, within the time of one refresh.
const REFRESH_STEPS: u32 = 16;
/// Number of records that are written at once after an interruption, and the pause after them.
const REWRITES_AT_ONCE: usize = 50;
const REWRITE_PAUSE: Duration = Duration::from_millis(20);
/// Reasons after which a session is over: its client or the server has ended it.
const FINAL_REASONS: [&str; 2] = ["client namespace disconnect", "server namespace disconnect"];

/// The sessions of a worker that can be recovered.
pub struct Tracker {
    recovery: Arc<Recovery>,
    shard: Rc<Shard>,
    sessions: RefCell<HashMap<SocketId, TrackedSession>>,
    /// The newest socket of each session.
    by_pid: RefCell<HashMap<Pid, SocketId>>,
    /// The sessions that connected sockets had, whose disconnect is under way.
    lost: RefCell<HashMap<SocketId, Pid>>,
}

struct TrackedSession {
    pid: Pid,
    generation: u64,
    record: SessionRecord,
    /// Rooms that are not in the record yet.
    joined: Vec<JoinedRoom>,
    /// Rooms that it left.
    left: Vec<Room>,
    /// Whether the socket is being disconnected, by which it leaves all rooms.
    is_ending: bool,
    /// Whether the record differs from the one in the store.
    dirty: bool,
    writing: bool,
    refresh_at: Instant,
    /// When which events had been sent, oldest first.
    sent: VecDeque<(Instant, Position)>,
    /// Notified when the record is written, dropped if that fails.
    unsaved: Vec<oneshot::Sender<()>>,
}

/// Notifies a tracker of the rooms of its sessions.
pub struct TrackerObserver(pub Rc<Tracker>);

impl Observer for TrackerObserver {
    fn on_event(&self, event: &SocketEvent) {
        match &event.change {
            SocketChange::Joined(room) => self.0.joined(event.socket, room),
            SocketChange::Left(room) => self.0.left(event.socket, room),
            SocketChange::Disconnected { reason } => self.0.disconnected(event.socket, reason),
            SocketChange::Connected { .. } | SocketChange::Identified { .. } => {}
        }
    }
}

impl TrackedSession {
    /// Notes that the events up to `newest` have been sent, and which are certain to be received.
    fn note_sent(&mut self, newest: Option<Position>, proving_time: Duration) {
        let now = clock::now();
        while let Some((sent, position)) = self.sent.front()
            && *sent + proving_time <= now
        {
            self.record.received = position.n;
            self.sent.pop_front();
        }
        if let Some(newest) = newest
            && self
                .sent
                .back()
                .is_none_or(|(sent, _)| *sent + proving_time / SENT_NOTES <= now)
        {
            self.sent.push_back((now, newest));
        }
    }

    /// The record with the changes so far, and the rooms that it has joined since.
    fn take_changes(&mut self) -> (SessionRecord, Vec<JoinedRoom>) {
        let left = self.left.drain(..).collect::<HashSet<Room>>();
        self.record.rooms.retain(|(room, _)| !left.contains(room));
        self.dirty = false;
        (self.record.clone(), self.joined.clone())
    }
}

impl Tracker {
    /// A tracker without sessions, which refreshes their records.
    pub fn start(recovery: Arc<Recovery>, shard: &Rc<Shard>) -> Rc<Self> {
        let tracker = Rc::new(Self {
            recovery,
            shard: Rc::clone(shard),
            sessions: RefCell::default(),
            by_pid: RefCell::default(),
            lost: RefCell::default(),
        });
        shard.observe(Rc::new(TrackerObserver(Rc::clone(&tracker))));
        let (watching, mut claims) = (Rc::clone(&tracker), tracker.recovery.watch_claims());
        actix_rt::spawn(async move {
            loop {
                match claims.recv().await {
                    Ok(claim) => watching.claimed(claim),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let (rewriting, mut connects) = (Rc::clone(&tracker), shard.directory().watch_connects());
        actix_rt::spawn(async move {
            while connects.changed().await.is_ok() {
                rewriting.rewrite().await;
            }
        });
        let refreshing = Rc::clone(&tracker);
        actix_rt::spawn(async move {
            loop {
                sleep(refreshing.recovery.refresh_interval() / REFRESH_STEPS).await;
                refreshing.refresh();
                refreshing.recovery.expire_reads();
            }
        });
        tracker
    }

    /// The recovery of the node.
    pub fn recovery(&self) -> &Arc<Recovery> {
        &self.recovery
    }

    /// Number of tracked sockets, and of sessions with a newest one.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.sessions.borrow().len(), self.by_pid.borrow().len())
    }

    /// Keeps the record of a session up to date from now on, until its socket is disconnected.
    pub fn track(self: &Rc<Self>, socket: SocketId, session: &OpenedSession) {
        let tracked = TrackedSession {
            pid: session.pid,
            generation: session.generation,
            record: session.record.clone(),
            joined: Vec::new(),
            left: Vec::new(),
            is_ending: false,
            dirty: false,
            writing: false,
            refresh_at: clock::now() + self.recovery.refresh_interval(),
            sent: VecDeque::new(),
            unsaved: Vec::new(),
        };
        // A former socket of this worker has lost it.
        self.claimed(SessionClaim {
            pid: session.pid,
            generation: session.generation,
        });
        self.by_pid.borrow_mut().insert(session.pid, socket);
        self.sessions.borrow_mut().insert(socket, tracked);
        self.recovery.metrics().recovery_sessions.add(1);
        if session.missed.is_some() {
            // The id of its socket is new.
            self.change(socket, |_| {});
        }
    }

    /// Waits until the rooms of a session are in the store, after which the death of this node does not undo a join: `false`
    /// if the store is unavailable. `None` if they are there.
    pub fn saved(&self, socket: SocketId) -> Option<impl Future<Output = bool> + use<>> {
        let mut sessions = self.sessions.borrow_mut();
        let tracked = sessions
            .get_mut(&socket)
            .filter(|tracked| tracked.writing)?;
        let (unsaved, saved) = oneshot::channel();
        tracked.unsaved.push(unsaved);
        Some(async move { saved.await.is_ok() })
    }

    /// A session continues without these rooms.
    pub fn lose_rooms(self: &Rc<Self>, socket: SocketId, rooms: &[Room]) {
        self.change(socket, |tracked| tracked.left.extend_from_slice(rooms));
    }

    /// Whether a connected socket of this worker has, or had until just now, the session with this id.
    pub fn has_session(&self, socket: SocketId, pid: Pid) -> bool {
        let sessions = self.sessions.borrow();
        let tracked = sessions.get(&socket).map(|tracked| tracked.pid);
        tracked.or_else(|| self.lost.borrow().get(&socket).copied()) == Some(pid)
    }

    /// A socket is about to be disconnected: the session stays in the rooms in which it is now.
    pub fn ending(&self, socket: SocketId) {
        if let Some(tracked) = self.sessions.borrow_mut().get_mut(&socket) {
            tracked.is_ending = true;
        }
    }

    /// A session continues with another socket.
    fn claimed(&self, claim: SessionClaim) {
        let Some(socket) = self.by_pid.borrow().get(&claim.pid).copied() else {
            return;
        };
        let sessions = self.sessions.borrow();
        let tracked = sessions.get(&socket);
        let has_lost = tracked.is_some_and(|tracked| tracked.generation < claim.generation);
        drop(sessions);
        if has_lost {
            self.replaced(socket);
        }
    }

    fn joined(self: &Rc<Self>, socket: SocketId, room: &Room) {
        self.change(socket, |tracked| {
            let after = self.recovery.is_shared();
            let after = after.then(|| self.applied_up_to(&tracked.record));
            tracked.left.retain(|left| left != room);
            let record = &tracked.record;
            let is_own = record.sockets.iter().any(|id| id.as_str() == room.as_str());
            let is_known = record.rooms.iter().any(|(known, _)| known == room);
            let is_new = tracked.joined.iter().all(|joined| joined.room != *room);
            if !is_own && !is_known && is_new {
                let room = room.clone();
                tracked.joined.push(JoinedRoom { room, after });
            }
        });
    }

    /// The number after which a session that joins a room now receives the events of the room: this worker has
    /// certainly delivered the events up to it before.
    fn applied_up_to(&self, record: &SessionRecord) -> u64 {
        let namespace = &record.namespace;
        let newest = self.shard.newest_position(namespace);
        let history = self.shard.directory().history();
        let applied = history.map_or(0, |history| history.applied_up_to(namespace));
        applied
            .max(newest.map_or(0, |newest| newest.n))
            .max(record.start)
    }

    fn left(self: &Rc<Self>, socket: SocketId, room: &Room) {
        self.change(socket, |tracked| {
            if tracked.is_ending {
                return;
            }
            tracked.joined.retain(|joined| joined.room != *room);
            tracked.left.push(room.clone());
        });
    }

    /// Changes what is known of a session, and writes its record soon.
    fn change(self: &Rc<Self>, socket: SocketId, change: impl FnOnce(&mut TrackedSession)) {
        let mut sessions = self.sessions.borrow_mut();
        let Some(tracked) = sessions.get_mut(&socket) else {
            return;
        };
        change(tracked);
        tracked.dirty = true;
        if !std::mem::replace(&mut tracked.writing, true) {
            actix_rt::spawn(Rc::clone(self).write(socket));
        }
    }

    /// Writes the record of a session until it has not changed meanwhile.
    async fn write(self: Rc<Self>, socket: SocketId) {
        while let Some((pid, generation, record, joined)) = self.begin_write(socket) {
            match self
                .write_once(pid, generation, record, joined.clone())
                .await
            {
                Ok((true, record)) => self.written(socket, record, &joined),
                Ok((false, _)) => return self.replaced(socket),
                Err(_unavailable) => {
                    if let Some(tracked) = self.sessions.borrow_mut().get_mut(&socket) {
                        tracked.dirty = true;
                        tracked.unsaved.clear();
                    }
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn begin_write(&self, socket: SocketId) -> Option<(Pid, u64, SessionRecord, Vec<JoinedRoom>)> {
        let mut sessions = self.sessions.borrow_mut();
        let tracked = sessions.get_mut(&socket)?;
        if !tracked.dirty {
            tracked.writing = false;
            for unsaved in tracked.unsaved.drain(..) {
                // The join may no longer be awaited.
                let _ = unsaved.send(());
            }
            return None;
        }
        let newest = self.shard.newest_position(&tracked.record.namespace);
        tracked.note_sent(newest, self.recovery.proving_time());
        let (record, joined) = tracked.take_changes();
        Some((tracked.pid, tracked.generation, record, joined))
    }

    async fn write_once(
        &self,
        pid: Pid,
        generation: u64,
        mut record: SessionRecord,
        joined: Vec<JoinedRoom>,
    ) -> Result<(bool, SessionRecord), StoreError> {
        self.recovery.note_joined(&mut record, joined).await?;
        let is_ours = self.recovery.write(pid, generation, &record).await?;
        Ok((is_ours, record))
    }

    fn written(&self, socket: SocketId, record: SessionRecord, joined: &[JoinedRoom]) {
        if let Some(tracked) = self.sessions.borrow_mut().get_mut(&socket) {
            tracked.joined.retain(|room| !joined.contains(room));
            tracked.record = record;
            tracked.refresh_at = clock::now() + self.recovery.refresh_interval();
        }
    }

    /// Another socket has the session: this one is disconnected, in a way after which its client does not come back.
    fn replaced(&self, socket: SocketId) {
        let Some(tracked) = self.forget(socket) else {
            return;
        };
        self.lost.borrow_mut().insert(socket, tracked.pid);
        let namespace = tracked.record.namespace;
        let selector = Selector::socket(namespace.clone(), socket);
        let notice = Notice::Replaced { namespace, socket };
        self.shard.notify_selected(&selector, &notice);
    }

    fn forget(&self, socket: SocketId) -> Option<TrackedSession> {
        let tracked = self.sessions.borrow_mut().remove(&socket)?;
        let mut by_pid = self.by_pid.borrow_mut();
        if by_pid.get(&tracked.pid) == Some(&socket) {
            by_pid.remove(&tracked.pid);
        }
        self.recovery.metrics().recovery_sessions.add(-1);
        Some(tracked)
    }

    fn disconnected(self: &Rc<Self>, socket: SocketId, reason: &str) {
        self.lost.borrow_mut().remove(&socket);
        let Some(mut tracked) = self.forget(socket) else {
            return;
        };
        let is_final = FINAL_REASONS.contains(&reason);
        let tracker = Rc::clone(self);
        actix_rt::spawn(async move {
            for _ in 0..LAST_ATTEMPTS {
                let (pid, generation) = (tracked.pid, tracked.generation);
                let written = match is_final {
                    true => tracker
                        .recovery
                        .remove(pid, generation)
                        .await
                        .map(|()| true),
                    false => {
                        let (record, joined) = tracked.take_changes();
                        let write = tracker.write_once(pid, generation, record, joined);
                        write.await.map(|(is_ours, _)| is_ours)
                    }
                };
                if written.is_ok() {
                    return;
                }
                sleep(RETRY_PAUSE).await;
            }
        });
    }

    /// Writes all records, because the store may have lost them.
    async fn rewrite(self: &Rc<Self>) {
        let sockets: Vec<SocketId> = self.sessions.borrow().keys().copied().collect();
        for part in sockets.chunks(REWRITES_AT_ONCE) {
            for socket in part {
                self.change(*socket, |_| {});
            }
            sleep(REWRITE_PAUSE).await;
        }
    }

    /// Writes the records that must be refreshed.
    fn refresh(self: &Rc<Self>) {
        let now = clock::now();
        let sessions = self.sessions.borrow();
        let due = sessions.iter().filter(|(_, it)| it.refresh_at <= now);
        let due: Vec<SocketId> = due.map(|(socket, _)| *socket).collect();
        drop(sessions);
        for socket in due {
            self.change(socket, |_| {});
        }
    }
}
