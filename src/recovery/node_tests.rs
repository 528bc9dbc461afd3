//! Sessions that are shared with Socket.IO servers in Node, which this test plays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use base64::Engine;
use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::broker::messages::Notice;
use crate::broker::{Directory, Shard, ShardLimits};
use crate::config::Config;
use crate::history::{History, LogName, LogReader, Page, Tails};
use crate::metrics::Metrics;
use crate::metrics::labels::{LogReadSource, RecoveryResult};
use crate::model::base64::BASE64;
use crate::model::random::OsRandom;
use crate::model::{Emit, Namespace, NodeId, Payload, Position, Room, Selector, SocketId};
use crate::outbox::{Bounds, Share};
use crate::protocol::WireFormat;
use crate::store::{MemoryStore, SharedEntry, Store, StoreFuture};

mod rejected;

const STREAM: &str = "socket.io";
const TTL: Option<Duration> = Some(Duration::from_secs(60));

struct NoLogs;

impl LogReader<Emit> for NoLogs {
    fn read(&self, _: &LogName, _: u64, _: Option<u64>, _: usize) -> StoreFuture<Page<Emit>> {
        unreachable!("the events are in the stream")
    }

    fn read_back(&self, _: &LogName, _: Option<u64>, _: usize) -> StoreFuture<Page<Emit>> {
        unreachable!("the events are in the stream")
    }

    fn tails(&self, _: &[LogName]) -> StoreFuture<Tails> {
        unreachable!("the events are in the stream")
    }

    fn size(&self, _: &[LogName]) -> StoreFuture<u64> {
        unreachable!("the events are in the stream")
    }
}

/// An entry has the rooms of an event, separated by spaces, and its payload.
fn decode(_: &str, entry: &SharedEntry, namespace: &Namespace) -> Option<StreamedEvent> {
    let [(nsp, rooms), (_, payload)] = &*entry.fields else {
        return None;
    };
    let rooms = std::str::from_utf8(rooms).unwrap().split_whitespace();
    let is_of_namespace = *nsp == namespace.as_str();
    is_of_namespace.then(|| StreamedEvent {
        emit: Emit {
            to: Selector {
                rooms: rooms.map(Room::from).collect(),
                ..Selector::everybody(namespace.clone())
            },
            payload: Payload::text(std::str::from_utf8(payload).unwrap()),
            volatile: false,
            ack: None,
            conflate: None,
        },
        number: None,
        may_be_repeated: false,
    })
}

struct Cluster {
    store: MemoryStore,
    recovery: Arc<Recovery>,
    announced: Arc<Mutex<Vec<Bytes>>>,
    node: NodeId,
}

fn history() -> Arc<History> {
    let shared = ["/".to_owned(), "/other".to_owned()];
    let config = Config::default().history;
    Arc::new(History::of_cluster(&config, &shared, Arc::new(NoLogs)).unwrap())
}

fn cluster() -> Cluster {
    let mut config = Config::default();
    config.recovery.namespaces = vec!["/".to_owned(), "/other".to_owned()];
    config.recovery.max_events = 20;
    let store = MemoryStore::default();
    let announced = Arc::<Mutex<Vec<Bytes>>>::default();
    let announcing = Arc::clone(&announced);
    let parts = RecoveryParts {
        store: Arc::new(store.clone()),
        prefix: "p".to_owned(),
        history: history(),
        node_sessions: Some(NodeSessionParts {
            key_prefix: "sio:session:".to_owned(),
            streams: NodeStreams {
                stream_of: Box::new(|_| STREAM.to_owned()),
                decode: Box::new(decode),
                read_count: 7,
                max_entries: 1000,
            },
        }),
        random: Arc::new(OsRandom),
        metrics: Arc::<Metrics>::default(),
        announce: Box::new(move |body| announcing.lock().unwrap().push(body)),
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
    };
    Cluster {
        store,
        recovery: Arc::new(Recovery::new(config.recovery, parts).unwrap()),
        announced,
        node: NodeId::random(&OsRandom),
    }
}

impl Cluster {
    /// An event for these rooms; returns its position.
    fn emit(&self, namespace: &'static str, rooms: &'static str, payload: &str) -> Position {
        let fields = vec![
            (Bytes::from(namespace), Bytes::from(rooms)),
            (Bytes::from("data"), Bytes::from(payload.to_owned())),
        ];
        let id = self.store.stream_append(STREAM, fields);
        id.parse().unwrap()
    }

    fn socket(&self, user: Option<&str>) -> NewSocket {
        NewSocket {
            namespace: Namespace::main(),
            user: user.map(str::to_owned),
            user_rooms: Some(Config::default().identity.user_room),
            id: SocketId::random(self.node, Default::default(), &OsRandom),
        }
    }

    async fn open(&self, resume: Option<Resume>, user: Option<&str>) -> OpenedSession {
        let request = RecoveryRequest {
            tracking: Tracking::Appended,
            resume,
        };
        self.recovery.open(request, self.socket(user)).await
    }

    async fn resume(&self, pid: Pid, offset: Position, user: Option<&str>) -> OpenedSession {
        let offset = Some(Ok(offset));
        self.open(Some(Resume { pid, offset }), user).await
    }

    async fn value(&self, pid: Pid) -> Option<Bytes> {
        let key = format!("sio:session:{}", pid.as_str());
        self.store.get(&key).await.unwrap()
    }

    /// What a server does when the connection of a client is lost.
    async fn persist(&self, pid: &str, session: serde_json::Value) {
        let mut bytes = Vec::new();
        crate::msgpack::write_value(&session.to_string(), &[], &mut bytes);
        let key = format!("sio:session:{pid}");
        let value = BASE64.encode(bytes).into();
        self.store.set(&key, value, TTL).await.unwrap();
    }

    /// What a server does when a client comes back.
    async fn take(&self, pid: Pid) -> bool {
        let key = format!("sio:session:{}", pid.as_str());
        self.store.delete(&key).await.unwrap()
    }
}

fn payloads(opened: &OpenedSession) -> Vec<String> {
    let missed = opened.missed.as_ref().expect("continues");
    let events = missed.events.values();
    events.map(|emit| emit.payload.json().to_owned()).collect()
}

fn reason(opened: &OpenedSession) -> Option<RecoveryResult> {
    opened.gap.as_ref().map(|gap| gap.reason)
}

#[tokio::test]
async fn a_session_continues_with_what_its_rooms_received_since() {
    let cluster = cluster();
    cluster.emit("/", "", "[\"before\"]");
    let opened = cluster.open(None, Some("ada")).await;
    assert_eq!(opened.pid.as_str().len(), 20);
    let begin = opened.offset.unwrap();
    assert!(begin.is_of_stream());
    let first = opened.record.sockets[0];
    let mut record = opened.record.clone();
    cluster.emit("/", "a", "[\"before the join\"]");
    let joined = cluster.emit("/", "b", "[\"newest\"]");
    record.rooms = vec![(Room::from("a"), joined.n)];
    let written = cluster
        .recovery
        .write(opened.pid, opened.generation, &record);
    assert!(written.await.unwrap());
    for (rooms, payload) in [
        ("", "[1]"),
        ("a", "[2]"),
        ("b", "[\"not its room\"]"),
        ("b a", "[3]"),
    ] {
        cluster.emit("/", rooms, payload);
    }
    cluster.emit("/other", "a", "[\"not its namespace\"]");
    cluster.emit("/", "", "[4]");
    // Nothing was done at the end: the node was killed.
    let again = cluster.resume(opened.pid, begin, Some("ada")).await;
    assert_eq!(payloads(&again), ["[1]", "[2]", "[3]", "[4]"]);
    assert_eq!((again.pid, again.offset), (opened.pid, Some(begin)));
    assert!(again.generation > opened.generation);
    assert_eq!(again.record.sockets[0], first);
    assert_eq!(again.record.rooms, record.rooms);
    assert_eq!(cluster.announced.lock().unwrap().len(), 1);
    // The former socket, if it is still there, can no longer write.
    let late = cluster
        .recovery
        .write(opened.pid, opened.generation, &record);
    assert!(!late.await.unwrap());
    // Twice in a row, with an event to the first id between.
    let own: &'static str = String::from(first.as_str()).leak();
    cluster.emit("/", own, "[5]");
    let newest = again.missed.as_ref().unwrap().until;
    let newest = Position { n: newest, ..begin };
    let third = cluster.resume(opened.pid, newest, Some("ada")).await;
    assert_eq!(payloads(&third), ["[5]"]);
    assert_eq!(third.record.sockets.len(), 3);
    let reads = &cluster.recovery.metrics().recovery_reads_total;
    assert_eq!(reads.of(LogReadSource::Shared).get(), 0);
}

#[tokio::test]
async fn a_session_goes_to_a_server_and_comes_back_with_its_data() {
    let cluster = cluster();
    let opened = cluster.open(None, None).await;
    let pid = opened.pid;
    let value = cluster.value(pid).await.unwrap();
    let sid = opened.record.sockets[0];
    assert!(cluster.take(pid).await);
    let write = || {
        cluster
            .recovery
            .write(pid, opened.generation, &opened.record)
    };
    assert!(!write().await.unwrap(), "the server has it");
    assert_eq!(cluster.value(pid).await, None);
    // As the server does: with the id of the socket that it continues.
    let session = json!({
        "sid": sid.as_str(),
        "pid": pid.as_str(),
        "rooms": [sid.as_str(), "r"],
        "data": {"user": 7},
    });
    cluster.persist(pid.as_str(), session.clone()).await;
    assert!(!write().await.unwrap());
    let offset = cluster.emit("/", "r", "[\"received\"]");
    cluster.emit("/", "r", "[1]");
    let to_id: &'static str = String::from(sid.as_str()).leak();
    cluster.emit("/", to_id, "[2]");
    let back = cluster.resume(pid, offset, Some("ada")).await;
    assert_eq!(payloads(&back), ["[1]", "[2]"]);
    assert_eq!(back.record.sockets[0], sid);
    assert_eq!(back.record.rooms, [(Room::from("r"), offset.n)]);
    assert_eq!(back.record.user.as_deref(), Some("ada"));
    assert_ne!(cluster.value(pid).await, Some(value));
    let written = cluster.value(pid).await.unwrap();
    let written = NodeRecord::decode(&written, &Namespace::main()).unwrap();
    assert!(written.is_of_roomwire);
    assert_eq!(written.record, back.record);
    assert_eq!(
        written.record.data.as_deref(),
        Some(&[0x81, 0xa4, b'u', b's', b'e', b'r', 7][..])
    );
    // From now on it belongs to the user.
    let foreign = cluster.resume(pid, offset, Some("eve")).await;
    assert_eq!(reason(&foreign), Some(RecoveryResult::Foreign));
    let own = cluster.resume(pid, offset, Some("ada")).await;
    assert_eq!(payloads(&own), ["[1]", "[2]"]);
    // It ends: the record is removed, and a former socket does not bring it back.
    cluster.recovery.remove(pid, own.generation).await.unwrap();
    assert!(!write().await.unwrap());
    assert_eq!(cluster.value(pid).await, None);
}

#[tokio::test]
async fn a_session_that_cannot_continue_is_replaced_by_a_new_one_with_the_reason() {
    let cluster = cluster();
    let begin = |opened: &OpenedSession| opened.offset.unwrap();
    let opened = cluster.open(None, None).await;
    let offset = begin(&opened);
    let unknown = cluster
        .resume(Pid::random_for_node_js(&OsRandom), offset, None)
        .await;
    assert_eq!(reason(&unknown), Some(RecoveryResult::Unknown));
    let of_logs: Position = "abcdef-7".parse().unwrap();
    let other = cluster.resume(opened.pid, of_logs, None).await;
    assert_eq!(reason(&other), Some(RecoveryResult::Epoch));
    let beyond = Position {
        n: offset.n + (1 << 30),
        ..offset
    };
    let beyond = cluster.resume(opened.pid, beyond, None).await;
    assert_eq!(reason(&beyond), Some(RecoveryResult::Epoch));
    // Without its offset a session of a server has no beginning.
    let of_server = "Xa-2vT1Y_0hJqVbGAAAB";
    let session = json!({"sid": "s", "pid": of_server, "rooms": ["s"], "data": {}});
    cluster.persist(of_server, session.clone()).await;
    let pid: Pid = of_server.parse().unwrap();
    let without = cluster.open(Some(Resume { pid, offset: None }), None).await;
    assert_eq!(reason(&without), Some(RecoveryResult::Position));
    let large = json!({"sid": "s", "rooms": [], "data": "x".repeat(17_000)});
    cluster.persist(of_server, large).await;
    let large = cluster.resume(pid, offset, None).await;
    assert_eq!(reason(&large), Some(RecoveryResult::RecordSize));
    // 21 events for it are too many, whatever others received.
    for _ in 0..50 {
        cluster.emit("/", "others", "[0]");
    }
    for _ in 0..20 {
        cluster.emit("/", "", "[0]");
    }
    cluster.persist(of_server, session.clone()).await;
    assert_eq!(payloads(&cluster.resume(pid, offset, None).await).len(), 20);
    cluster.emit("/", "s", "[0]");
    let many = cluster.resume(pid, offset, None).await;
    assert_eq!(reason(&many), Some(RecoveryResult::TooMuch));
}

#[tokio::test]
async fn an_offset_must_be_in_the_stream_unless_the_client_has_certainly_received_later_events() {
    let cluster = cluster();
    let begin = |opened: &OpenedSession| opened.offset.unwrap();
    let opened = cluster.open(None, None).await;
    let offset = begin(&opened);
    let last = cluster.emit("/", "s", "[0]");
    cluster.store.stream_trim(STREAM, &last.to_string());
    let trimmed = cluster.resume(opened.pid, offset, None).await;
    assert_eq!(reason(&trimmed), Some(RecoveryResult::Trimmed));
    assert!(trimmed.missed.is_none() && trimmed.pid != opened.pid);
    assert_eq!(begin(&trimmed), last);
    // What a client has certainly received may have been removed.
    let quiet = cluster.open(None, None).await;
    let mut record = quiet.record.clone();
    record.received = cluster.emit("/", "others", "[0]").n;
    let written = cluster.recovery.write(quiet.pid, quiet.generation, &record);
    assert!(written.await.unwrap());
    let received = Position {
        n: record.received,
        ..offset
    };
    cluster.store.stream_trim(STREAM, &received.to_string());
    cluster.emit("/", "", "[\"missed\"]");
    let continued = cluster.resume(quiet.pid, begin(&quiet), None).await;
    assert_eq!(reason(&continued), None);
    assert_eq!(payloads(&continued), ["[\"missed\"]"]);
}

#[tokio::test]
async fn thousands_that_come_back_read_the_stream_once() {
    let cluster = cluster();
    let mut sessions = Vec::new();
    for _ in 0..500 {
        sessions.push(cluster.open(None, None).await);
    }
    for _ in 0..15 {
        cluster.emit("/", "", "[0]");
    }
    let back = sessions.iter().map(|session| {
        let offset = session.offset.unwrap();
        cluster.resume(session.pid, offset, None)
    });
    for opened in futures_util::future::join_all(back).await {
        assert_eq!(payloads(&opened).len(), 15);
    }
    let reads = &cluster.recovery.metrics().recovery_reads_total;
    let stored = reads.of(LogReadSource::Store).get();
    assert!(stored <= 3, "{stored}");
}

struct Session;

impl Actor for Session {
    type Context = Context<Self>;
}

impl Handler<Notice> for Session {
    type Result = ();

    fn handle(&mut self, _: Notice, _: &mut Context<Self>) {}
}

#[actix_rt::test]
async fn events_from_before_the_join_of_a_room_are_not_replayed() {
    tokio::time::pause();
    let cluster = cluster();
    let directory = Directory::new(cluster.node, 1, None, Arc::default());
    let history = history();
    directory.set_history(Arc::clone(&history));
    let bounds = Bounds {
        soft: 1 << 20,
        hard: 1 << 20,
    };
    let limits = ShardLimits {
        outbox: bounds,
        pending_acks: 1,
        rooms: 100,
    };
    let shard = Shard::new(Default::default(), directory, limits, Share::default());
    let tracker = Tracker::start(Arc::clone(&cluster.recovery), &shard);
    let opened = cluster.open(None, None).await;
    let id = opened.record.sockets[0];
    let lane = shard.open_lane(WireFormat::default(), Session.start().recipient());
    let key = shard.register(&Namespace::main(), id, lane, None);
    tracker.track(id, &opened);
    let join = async |room: &str| {
        drop(shard.join(key, &mut vec![Room::from(room)]));
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    // The node reads the stream, but no worker has a member.
    for payload in ["[1]", "[2]"] {
        let position = cluster.emit("/", "old new", payload);
        history.note_streamed(&Namespace::main(), position);
    }
    join("new").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    join("old").await;
    cluster.emit("/", "old", "[3]");
    let back = cluster
        .resume(opened.pid, opened.offset.unwrap(), None)
        .await;
    // Those may have been on their way to the worker when it joined the first room.
    assert_eq!(payloads(&back), ["[1]", "[2]", "[3]"]);
    shard.leave(key, &[Room::from("new")]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let value = cluster.value(opened.pid).await.unwrap();
    let record = NodeRecord::decode(&value, &Namespace::main())
        .unwrap()
        .record;
    let joined: Vec<u64> = record.rooms.iter().map(|(_, after)| *after).collect();
    assert_eq!(joined, [record.start, record.start + (2 << 22)]);
    // The session has another socket now.
    assert_eq!(tracker.sizes(), (0, 0));
}
