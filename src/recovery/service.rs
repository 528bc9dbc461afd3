//! Opens sessions that can be recovered, and recovers them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast};

use super::event_logs::{EventLogs, LogsOfRooms};
use super::missed::{MissedLimits, MissedReader};
use super::node_sessions::NodeSessions;
use super::node_streams::NodeStreams;
use super::opened::{Missed, NewSocket, OpenedSession, SessionGap};
use super::pid::Pid;
use super::record::{JoinedRoom, SessionRecord};
use super::request::{RecoveryRequest, Resume, Tracking};
use super::shared_logs::SharedLogs;
use super::stream_logs::StreamLogs;
use super::time_limit::{within_recovery_time, within_time};
use super::turns::RecoveryTurns;
use crate::config::{RecoveryConfig, RecoveryMode};
use crate::history::{History, LogName};
use crate::metrics::Metrics;
use crate::metrics::labels::RecoveryResult;
use crate::model::{Epoch, Position, Random, Room};
use crate::store::{Store, StoreError};

/// Number of missed events that a node holds in memory for sessions whose clients receive them. Those of sessions that are
/// being opened come on top.
const HELD_EVENTS: u32 = 200_000;
/// Number of claims that wait for a worker. The worker notices further ones when it writes the record of the session.
const WAITING_CLAIMS: usize = 4096;

/// What recovery needs of its node.
pub struct RecoveryParts {
    pub store: Arc<dyn Store>,
    /// `bus.prefix`.
    pub prefix: String,
    pub history: Arc<History>,
    /// Set if the sessions are shared with Socket.IO servers in Node.
    pub node_sessions: Option<NodeSessionParts>,
    pub random: Arc<dyn Random>,
    pub metrics: Arc<Metrics>,
    /// Notifies the trackers of all nodes of a session that continues elsewhere.
    pub announce: Box<dyn Fn(Bytes) + Send + Sync>,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
}

/// What recovery needs to share sessions with Socket.IO servers in Node.
pub struct NodeSessionParts {
    /// `bus.node_session_key`.
    pub key_prefix: String,
    pub streams: NodeStreams,
}

/// The recovery of a node.
pub struct Recovery {
    config: RecoveryConfig,
    parts: RecoveryParts,
    local: LogsOfRooms,
    /// Set if the logs are in Redis.
    shared: Option<SharedLogs>,
    /// Set if the sessions are shared with Socket.IO servers in Node.
    node_sessions: Option<NodeSessions>,
    /// Number of entries of a stream that are read for a session.
    max_entries: usize,
    claims: broadcast::Sender<SessionClaim>,
    recovering: RecoveryTurns,
    /// Permits to hold missed events, one for each.
    held: Arc<Semaphore>,
}

/// A session continues with another socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionClaim {
    pub pid: Pid,
    /// The generation of that socket. Those with a lower one have lost the session.
    pub generation: u64,
}

impl SessionClaim {
    fn encode(self) -> Bytes {
        let Self { pid, generation } = self;
        format!("{generation} {}", pid.as_str()).into()
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (generation, pid) = std::str::from_utf8(body).ok()?.split_once(' ')?;
        let (generation, pid) = (generation.parse().ok()?, pid.parse().ok()?);
        Some(Self { pid, generation })
    }
}

impl Recovery {
    /// The recovery of a node; `None` if it is off.
    pub fn new(config: RecoveryConfig, mut parts: RecoveryParts) -> Option<Self> {
        let (claims, _) = broadcast::channel(WAITING_CLAIMS);
        let sessions = parts.node_sessions.take();
        let (prefix, streams) = sessions.map(|it| (it.key_prefix, it.streams)).unzip();
        let of_stream = streams.as_ref().map(|it: &NodeStreams| it.max_entries);
        let node_sessions = prefix.map(|prefix| NodeSessions {
            store: Arc::clone(&parts.store),
            prefix,
        });
        let of_rooms = LogsOfRooms(Arc::clone(parts.history.logs()));
        let streams = streams.map(|streams| {
            Arc::new(StreamLogs {
                store: Arc::clone(&parts.store),
                streams: Arc::new(streams),
            }) as Arc<dyn EventLogs>
        });
        let in_memory = parts.history.in_memory().is_some();
        let logs = streams.or_else(|| (!in_memory).then(|| Arc::new(of_rooms.clone()) as _));
        let shared = logs.map(|logs| SharedLogs::new(logs, Arc::clone(&parts.metrics)));
        (!config.namespaces.is_empty()).then(|| Self {
            config,
            local: of_rooms,
            shared,
            node_sessions,
            max_entries: of_stream.unwrap_or(usize::MAX),
            claims,
            recovering: RecoveryTurns::new(),
            held: Arc::new(Semaphore::new(HELD_EVENTS as usize)),
            parts,
        })
    }

    /// The body of an announcement of [`RecoveryParts::announce`] was received.
    pub fn announced(&self, body: &[u8]) {
        if let Some(claim) = SessionClaim::decode(body) {
            // Fails if there are no trackers yet.
            let _ = self.claims.send(claim);
        }
    }

    /// The sessions that continue with other sockets from now on.
    pub(super) fn watch_claims(&self) -> broadcast::Receiver<SessionClaim> {
        self.claims.subscribe()
    }

    /// Permits to recover a session, and to hold a missed event, that nobody has.
    #[cfg(test)]
    pub(super) fn permits(&self) -> (usize, usize) {
        let recovering = self.recovering.available();
        (recovering, self.held.available_permits())
    }

    /// The metrics of the node.
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// `recovery.window`.
    pub fn window(&self) -> Duration {
        self.config.window
    }

    /// `recovery.offset_interval`.
    pub fn offset_interval(&self) -> Duration {
        self.config.offset_interval
    }

    /// The logs of the node.
    pub fn logs(&self) -> &dyn EventLogs {
        match &self.shared {
            Some(shared) => shared,
            None => &self.local,
        }
    }

    /// Removes what sessions have read of logs, and no other one has read since.
    pub(super) fn expire_reads(&self) {
        if let Some(shared) = &self.shared {
            shared.expire();
        }
    }

    /// What a client requests with the payload of its CONNECT, or `by_query` of its connection; `None` if its session cannot
    /// be recovered.
    pub fn request(&self, namespace: &str, auth: &str, by_query: bool) -> Option<RecoveryRequest> {
        let mut namespaces = self.config.namespaces.iter();
        namespaces.find(|known| *known == namespace)?;
        let is_default = by_query || self.config.mode == RecoveryMode::All;
        RecoveryRequest::parse(auth, is_default, self.is_shared())
    }

    /// Continues the session that a client requests, or opens a new one. Never fails: without access to the store, the
    /// session is new.
    pub async fn open(&self, request: RecoveryRequest, socket: NewSocket) -> OpenedSession {
        let Some(resume) = request.resume else {
            return self.open_new(request.tracking, socket, None).await;
        };
        let turn = self.recovering.wait().await;
        let resumed = match &turn {
            Some(_) => self.resume(request.tracking, &resume, &socket).await,
            None => Err(RecoveryResult::Unavailable.into()),
        };
        let result = match &resumed {
            Ok(_) => RecoveryResult::Recovered,
            Err(gap) => gap.reason,
        };
        if let Some(turn) = turn {
            self.recovering.note(result);
            drop(turn);
        }
        self.metrics().recoveries_total.of(result).increment();
        match resumed {
            Ok(session) => session,
            Err(gap) => self.open_new(request.tracking, socket, Some(gap)).await,
        }
    }

    async fn open_new(
        &self,
        tracking: Tracking,
        socket: NewSocket,
        gap: Option<SessionGap>,
    ) -> OpenedSession {
        let all = LogName::of_namespace(socket.namespace.clone());
        let tails = within_time(self.logs().tails(&[all])).await.ok();
        let start = tails
            .as_ref()
            .and_then(|tails| tails.tails.first().copied());
        let record = SessionRecord {
            namespace: socket.namespace,
            user: socket.user,
            sockets: vec![socket.id],
            epoch: tails.and_then(|tails| tails.epoch),
            start: start.unwrap_or(0),
            rooms: Vec::new(),
            received: 0,
            data: None,
        };
        let pid = match self.node_sessions {
            Some(_) => Pid::random_for_node_js(&*self.parts.random),
            None => Pid::random(&*self.parts.random),
        };
        let generation = 1;
        // What fails is repeated with the first change.
        let _ = self.write(pid, generation, &record).await;
        OpenedSession {
            pid,
            generation,
            offset: record.epoch.map(|epoch| Position {
                epoch,
                n: record.start,
            }),
            record,
            tracking,
            missed: None,
            gap,
        }
    }

    async fn resume(
        &self,
        tracking: Tracking,
        resume: &Resume,
        socket: &NewSocket,
    ) -> Result<OpenedSession, SessionGap> {
        let offset = match resume.offset {
            Some(offset) => Some(offset.map_err(|()| RecoveryResult::Position)?),
            None => None,
        };
        let (generation, record) = match &self.node_sessions {
            Some(shared) => {
                let claim = shared.claim(resume.pid, socket, offset, self.lifetime());
                claim.await?
            }
            None => self.claim(resume.pid, socket).await?,
        };
        let mut reader = self.reader(&record, offset);
        let (events, until) = reader.read(self.logs()).await?;
        let number = u32::try_from(events.len()).unwrap_or(HELD_EVENTS);
        let held = Arc::clone(&self.held);
        let held = held.acquire_many_owned(number.min(HELD_EVENTS)).await.ok();
        reader.add(
            LogName::of_room(record.namespace.clone(), Room::from(socket.id.as_str())),
            0,
        );
        let mut record = record;
        record.continue_as(socket.id);
        let pid = resume.pid;
        (self.parts.announce)(SessionClaim { pid, generation }.encode());
        let start = record.start;
        let begin = || record.epoch.map(|epoch| Position { epoch, n: start });
        Ok(OpenedSession {
            pid,
            generation,
            offset: offset.or_else(begin),
            record,
            tracking,
            missed: Some(Missed {
                events,
                until,
                reader,
                held,
            }),
            gap: None,
        })
    }

    /// Makes a socket the holder of a session of its user. Returns the new generation and the record.
    async fn claim(
        &self,
        pid: Pid,
        socket: &NewSocket,
    ) -> Result<(u64, SessionRecord), SessionGap> {
        let store = &self.parts.store;
        let key = self.key(pid);
        let claim = || store.claim_fenced(&key, self.lifetime());
        let (generation, record) = within_recovery_time(claim)
            .await?
            .and_then(|(generation, value)| Some((generation, SessionRecord::decode(&value)?)))
            .ok_or(RecoveryResult::Unknown)?;
        if record.user != socket.user || record.namespace != socket.namespace {
            return Err(RecoveryResult::Foreign.into());
        }
        Ok((generation, record))
    }

    /// A reader of what a session missed since `offset`, up to which its client has received everything.
    fn reader(&self, record: &SessionRecord, offset: Option<Position>) -> MissedReader {
        let epoch: Option<Epoch> = offset.map(|offset| offset.epoch).or(record.epoch);
        let received = offset.map_or(0, |offset| offset.n);
        let logs = record.logs().into_iter();
        let logs = logs.map(|(log, after)| (log, after.max(received)));
        let limits = MissedLimits {
            events: self.config.max_events as usize,
            bytes: self.config.max_bytes,
            entries: self.max_entries,
            received: record.received,
        };
        if self.node_sessions.is_none() {
            return MissedReader::new(logs.collect(), epoch, limits).after_offset(received);
        }
        // Events that the client has certainly received need not be read again, and may have been removed.
        let after = record.start.max(received).max(record.received);
        let log = LogName::of_namespace(record.namespace.clone());
        MissedReader::of_namespace((log, after), logs.collect(), epoch, limits)
            .after_offset(received)
    }

    /// Whether sessions are shared with Socket.IO servers in Node.
    pub(super) fn is_shared(&self) -> bool {
        self.node_sessions.is_some()
    }

    /// Adds rooms that a session has joined to its record, each with the number after which it receives the events of
    /// the room: if this is unknown, the present end of its log.
    pub(super) async fn note_joined(
        &self,
        record: &mut SessionRecord,
        joined: Vec<JoinedRoom>,
    ) -> Result<(), StoreError> {
        let (known, unknown): (Vec<_>, Vec<_>) = joined
            .into_iter()
            .partition(|joined| joined.after.is_some());
        let known = known.into_iter();
        let known = known.map(|joined| (joined.room, joined.after.unwrap_or_default()));
        record.rooms.extend(known);
        if unknown.is_empty() {
            return Ok(());
        }
        let rooms = unknown.into_iter().map(|joined| joined.room);
        let rooms: Vec<Room> = rooms.collect();
        let names = rooms.iter().cloned();
        let names = names.map(|room| LogName::of_room(record.namespace.clone(), room));
        let names: Vec<LogName> = names.collect();
        let tails = within_time(self.logs().tails(&names)).await?;
        record.epoch = tails.epoch.or(record.epoch);
        record.rooms.extend(rooms.into_iter().zip(tails.tails));
        Ok(())
    }

    /// Writes the record of a connected session; `false` if another socket has the session.
    pub(super) async fn write(
        &self,
        pid: Pid,
        generation: u64,
        record: &SessionRecord,
    ) -> Result<bool, StoreError> {
        let written = match &self.node_sessions {
            Some(shared) => shared.write(pid, generation, record, self.lifetime()),
            None => {
                let (key, value) = (self.key(pid), record.encode());
                let store = &self.parts.store;
                store.set_fenced(&key, generation, value, self.lifetime())
            }
        };
        within_time(written).await
    }

    /// Removes the record of a session that its client or the server has ended.
    pub(super) async fn remove(&self, pid: Pid, generation: u64) -> Result<(), StoreError> {
        if let Some(shared) = &self.node_sessions {
            return within_time(shared.remove(pid, generation, self.lifetime())).await;
        }
        let key = self.key(pid);
        let gone = Duration::from_secs(1);
        let store = &self.parts.store;
        let removed = within_time(store.set_fenced(&key, generation, Bytes::new(), gone));
        removed.await.map(|_is_ours| ())
    }

    /// How long after it was sent to a client that is still connected, an event is certain to be received: the client has
    /// responded to a ping after it.
    pub(super) fn proving_time(&self) -> Duration {
        self.parts.ping_interval + 2 * self.parts.ping_timeout
    }

    /// How often the record of a connected session is written.
    pub(super) fn refresh_interval(&self) -> Duration {
        self.config.window / 3
    }

    /// How long a record is kept after it was written, so that at least `recovery.window` is left when a node dies.
    fn lifetime(&self) -> Duration {
        self.config.window + self.refresh_interval()
    }

    fn key(&self, pid: Pid) -> String {
        format!("{}:session:{}", self.parts.prefix, pid.as_str())
    }
}
