//! Sessions that are lost and recovered again and again, without transports, in virtual time.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use actix::{Actor, Context, Handler, Recipient};

use super::*;
use crate::broker::messages::Notice;
use crate::broker::{Directory, Replay, Shard, ShardLimits, SocketKey};
use crate::config::{Config, HistoryEntry, Pattern};
use crate::history::{History, LogName, LogPage, LogReader, LogTable, LogTarget, Tails};
use crate::metrics::labels::{LogReadSource, RecoveryResult};
use crate::model::random::OsRandom;
use crate::model::{
    Emit, Epoch, Namespace, NodeId, Payload, Position, Room, Selector, SocketId, WorkerIndex,
};
use crate::outbox::{Bounds, LaneId, Share};
use crate::protocol::WireFormat;
use crate::store::{MemoryStore, StoreFuture};

const SESSIONS: usize = 500;
const ROOMS: usize = 10;
/// In all 100 000 recoveries, 20 000 in a debug build.
const ROUNDS: usize = if cfg!(debug_assertions) { 40 } else { 200 };
/// Events of each room while the sessions are away.
const MISSED: usize = 3;

/// The logs of a cluster.
struct TableLogs(Mutex<LogTable<Emit>>);

impl LogReader<Emit> for TableLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<LogPage> {
        let page = self.0.lock().unwrap().read(log, after, until, limit);
        Box::pin(async { Ok(page) })
    }

    fn read_back(&self, log: &LogName, before: Option<u64>, limit: usize) -> StoreFuture<LogPage> {
        let page = self.0.lock().unwrap().read_back(log, before, limit);
        Box::pin(async { Ok(page) })
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        let tails = self.0.lock().unwrap().tails(logs);
        Box::pin(async { Ok(tails) })
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        let size = self.0.lock().unwrap().size(logs);
        Box::pin(async move { Ok(size) })
    }
}

struct Session;

impl Actor for Session {
    type Context = Context<Self>;
}

impl Handler<Notice> for Session {
    type Result = ();

    fn handle(&mut self, _: Notice, _: &mut Context<Self>) {}
}

struct Node {
    node: NodeId,
    logs: Arc<TableLogs>,
    store: MemoryStore,
    recovery: Arc<Recovery>,
    shard: std::rc::Rc<Shard>,
    tracker: std::rc::Rc<Tracker>,
    session: Recipient<Notice>,
}

/// A session as its client knows it.
struct ClientSession {
    room: Room,
    resume: Option<Resume>,
    connected: Option<Connected>,
}

type Connected = (SocketId, SocketKey, LaneId, Replay);

fn node() -> Node {
    let mut config = Config::default();
    config.recovery.namespaces = vec!["/".to_owned()];
    config.history.rooms = vec![HistoryEntry {
        namespace: None,
        rooms: Pattern::from("*"),
        broadcasts: Some(true),
        sockets: Some(true),
        length: None,
        age: None,
    }];
    let logs = Arc::new(TableLogs(Mutex::new(LogTable::new(
        Epoch::random(&OsRandom),
        1 << 26,
    ))));
    let store = MemoryStore::default();
    let announced = Arc::<OnceLock<Weak<Recovery>>>::default();
    let claimed = Arc::clone(&announced);
    let history = History::of_cluster(&config.history, &[], Arc::<TableLogs>::clone(&logs));
    let parts = RecoveryParts {
        store: Arc::new(store.clone()),
        prefix: "p".to_owned(),
        history: Arc::new(history.unwrap()),
        node_sessions: None,
        random: Arc::new(OsRandom),
        metrics: Arc::default(),
        announce: Box::new(move |body| {
            let recovery = claimed.get().and_then(Weak::upgrade);
            recovery.unwrap().announced(&body);
        }),
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
    };
    let recovery = Arc::new(Recovery::new(config.recovery, parts).unwrap());
    announced.set(Arc::downgrade(&recovery)).unwrap();
    let node = NodeId::random(&OsRandom);
    let limits = ShardLimits {
        outbox: Bounds {
            soft: 1 << 20,
            hard: 1 << 20,
        },
        pending_acks: 1,
        rooms: 100,
    };
    let directory = Directory::new(node, 1, None, Arc::default());
    let shard = Shard::new(WorkerIndex::default(), directory, limits, Share::default());
    let tracker = Tracker::start(Arc::clone(&recovery), &shard);
    Node {
        node,
        logs,
        store,
        recovery,
        shard,
        tracker,
        session: Session.start().recipient(),
    }
}

impl Node {
    /// Emits an event to each room.
    fn emit(&self) {
        for room in 0..ROOMS {
            let room = Room::from(format!("room{room}"));
            let target = LogTarget {
                index: 0,
                name: LogName::of_room(Namespace::main(), room.clone()),
                length: 1000,
                age: Duration::from_secs(600),
            };
            let emit = Emit {
                to: Selector::room(Namespace::main(), room),
                payload: Payload::text(r#"["event",1]"#),
                volatile: false,
                ack: None,
                conflate: None,
            };
            let now = self.now();
            self.logs
                .0
                .lock()
                .unwrap()
                .append(now, &[target], 11, &emit);
        }
    }

    /// Microseconds of the virtual time.
    fn now(&self) -> u64 {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let start = *START.get_or_init(crate::clock::now);
        1 + crate::clock::now()
            .saturating_duration_since(start)
            .as_micros() as u64
    }

    async fn connect(&self, session: &mut ClientSession) {
        let request = RecoveryRequest {
            tracking: Tracking::Appended,
            resume: session.resume.clone(),
        };
        let id = SocketId::random(self.node, WorkerIndex::default(), &OsRandom);
        let socket = NewSocket {
            namespace: Namespace::main(),
            user: None,
            user_rooms: None,
            id,
        };
        let opened = self.recovery.open(request, socket).await;
        assert_eq!(opened.gap, None);
        let lane = self
            .shard
            .open_lane(WireFormat::default(), self.session.clone());
        let key = self.shard.register(&Namespace::main(), id, lane, None);
        self.tracker.track(id, &opened);
        let replay = self.shard.replay(key, None).unwrap();
        let former = opened.record.sockets.iter().filter(|former| **former != id);
        let former = former.map(|former| Room::from(former.as_str()));
        let mut rooms: Vec<Room> = former.chain([session.room.clone()]).collect();
        drop(self.shard.join(key, &mut rooms));
        let mut offset = opened.offset;
        if let Some(missed) = opened.missed {
            assert_eq!(missed.events.len(), MISSED);
            let epoch = missed.reader.epoch().unwrap();
            for (n, emit) in missed.events {
                let position = Position { epoch, n };
                assert!(replay.deliver(&emit, position));
                offset = Some(position);
            }
        }
        assert!(replay.finish(offset));
        session.resume = Some(Resume {
            pid: opened.pid,
            offset: offset.map(Ok),
        });
        session.connected = Some((id, key, lane, replay));
    }

    fn lose(&self, connected: Option<Connected>) {
        if let Some((id, key, lane, replay)) = connected {
            drop(replay);
            self.tracker.ending(id);
            self.shard.unregister(key, "transport close");
            self.shard.release_lane(lane);
        }
    }

    /// What could grow with each recovery.
    fn sizes(&self) -> Sizes {
        let metrics = self.shard.directory().metrics();
        let (tracked, by_pid) = self.tracker.sizes();
        Sizes {
            tracked,
            by_pid,
            records: self.store.key_count(),
            permits: self.recovery.permits(),
            sockets: metrics.sockets.get(),
            rooms: metrics.rooms.get(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    tracked: usize,
    by_pid: usize,
    records: usize,
    permits: (usize, usize),
    sockets: i64,
    rooms: i64,
}

#[actix_rt::test]
async fn many_thousands_of_recoveries_leave_nothing_behind() {
    tokio::time::pause();
    let node = node();
    let session = |number: usize| ClientSession {
        room: Room::from(format!("room{}", number % ROOMS)),
        resume: None,
        connected: None,
    };
    let mut sessions: Vec<ClientSession> = (0..SESSIONS).map(session).collect();
    node.emit();
    for session in &mut sessions {
        node.connect(session).await;
    }
    let mut before = None;
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Once every session has as many former ids as are kept.
        if round == 12 {
            before = Some(node.sizes());
        }
        let lost = sessions.iter_mut().skip(round % 2).step_by(2);
        lost.for_each(|session| node.lose(session.connected.take()));
        (0..MISSED).for_each(|_| node.emit());
        for session in &mut sessions {
            // The others are not noticed to be lost before they are back.
            let unnoticed = session.connected.take();
            node.connect(session).await;
            node.lose(unnoticed);
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(Some(node.sizes()), before);
    let expected = (SESSIONS, SESSIONS, SESSIONS);
    let sizes = node.sizes();
    assert_eq!((sizes.tracked, sizes.by_pid, sizes.records), expected);
    let metrics = node.recovery.metrics();
    let recovered = metrics.recoveries_total.of(RecoveryResult::Recovered);
    assert_eq!(recovered.get() as usize, SESSIONS * ROUNDS);
    let reads = metrics.recovery_reads_total.of(LogReadSource::Store).get();
    assert!(reads as usize <= 2 * ROOMS * ROUNDS, "{reads} reads");
    // Later nothing is left of what was read, and nothing at all of the sessions.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(metrics.recovery_shared_bytes.get(), 0);
    for session in &mut sessions {
        node.lose(session.connected.take());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sizes = node.sizes();
    assert_eq!((sizes.tracked, sizes.by_pid), (0, 0));
    assert_eq!((sizes.sockets, sizes.rooms), (0, 0));
}

/// The record of a session lacks the rooms that its node could not save. The socket that continues it joins them anew.
#[actix_rt::test]
async fn what_a_client_has_received_of_a_room_is_not_read_again_with_the_room() {
    tokio::time::pause();
    let node = node();
    node.emit();
    let open = async |resume| {
        let request = RecoveryRequest {
            tracking: Tracking::Appended,
            resume,
        };
        let socket = NewSocket {
            namespace: Namespace::main(),
            user: None,
            user_rooms: None,
            id: SocketId::random(node.node, WorkerIndex::default(), &OsRandom),
        };
        node.recovery.open(request, socket).await
    };
    let opened = open(None).await;
    node.emit();
    let room = LogName::of_room(Namespace::main(), Room::from("room0"));
    let tails = node.logs.tails(std::slice::from_ref(&room)).await.unwrap();
    let (epoch, n) = (tails.epoch.unwrap(), tails.tails[0]);
    let offset = Some(Ok(Position { epoch, n }));
    let pid = opened.pid;
    let mut missed = open(Some(Resume { pid, offset })).await.missed.unwrap();
    assert!(missed.events.is_empty());
    missed.reader.add(room, missed.until);
    let (events, _until) = missed.reader.read(node.recovery.logs()).await.unwrap();
    assert!(events.is_empty(), "{events:?}");
}
