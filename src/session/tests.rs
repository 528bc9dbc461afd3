//! Sequences of messages that no client can force, and the gates before the app.

mod handles;
mod late_decisions;

use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::messages::{
    Batch, BatchFormat, Detached, Post, PostId, PostStarted, ProbeStarted, PullError, Ready,
    ShutDown, Upgraded,
};
use super::*;
use crate::app::echo::Echo;
use crate::app::gate::{ConnectGate, Decision, GateOutcome, GateRequest, Gates};
use crate::app::{App, Effect, Effects, Event, Outcome, SocketContext, SocketHandler};
use crate::auth::Users;
use crate::protocol::WireFormat;

use crate::broker::{Directory, Shard, ShardLimits};
use crate::config::Config;
use crate::limits::{Arrival, Descriptors, Limits};
use crate::model::random::OsRandom;
use crate::model::{
    Command, Emit, Handshake, Identity, Namespace, NodeId, Payload, Room, Selector, TransportName,
    WorkerIndex,
};
use crate::outbox::{Bounds, Share};
use crate::protocol::connection::{Mode, Timing};
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::wire_format::Compression;

type Pulled = oneshot::Receiver<Result<Batch, PullError>>;

fn worker() -> Rc<Worker> {
    worker_with(Rc::new(Echo), Gates::default())
}

fn worker_with(app: Rc<dyn App>, gates: Gates) -> Rc<Worker> {
    let directory = Directory::new(NodeId::random(&OsRandom), 1, None, Default::default());
    let shard_limits = ShardLimits {
        outbox: Bounds {
            soft: 10_000,
            hard: 20_000,
        },
        pending_acks: 1,
        rooms: 1,
    };
    let shard = Shard::new(
        WorkerIndex::default(),
        directory,
        shard_limits,
        Share::default(),
    );
    let limits = Limits::new(
        &Config::default().limits,
        Descriptors::of(1_000, 1),
        Default::default(),
    );
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(45),
        max_namespaces: 1,
        max_payload: 10_000,
        max_depth: 100,
        msgpack: true,
    };
    let settings = SessionSettings {
        timing,
        namespaces: Config::default().socket.namespaces,
        inbox_limit: 10_000,
        max_pending_acks: 1,
        slow_timeout: Duration::from_secs(10),
        identity: Config::default().identity,
        shown_headers: Vec::new(),
    };
    let users = Users::alone(
        &settings.identity,
        NodeId::random(&OsRandom),
        &std::sync::Arc::default(),
    );
    Worker::new(
        shard,
        app,
        None,
        Identification { gates, users },
        settings.into(),
        limits,
        std::sync::Arc::new(OsRandom),
    )
}

fn pull(session: &Addr<Session>) -> Pulled {
    let (reply, batch) = oneshot::channel();
    session.do_send(Ready {
        format: BatchFormat::Polling,
        reply,
    });
    batch
}

async fn body(batch: Pulled) -> String {
    let body = batch.await.unwrap().unwrap().body;
    String::from_utf8(body.to_vec()).unwrap()
}

/// A polling session whose client has received its handshake.
async fn polling(worker: &Rc<Worker>) -> Addr<Session> {
    polling_with(worker, None).await
}

async fn polling_with(worker: &Rc<Worker>, credentials: Option<Credentials>) -> Addr<Session> {
    let open = OpenPacket {
        client: crate::metrics::labels::ClientKind::Node,
        main_auth: String::new(),
        format: WireFormat::default(),
        may_upgrade: false,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 10_000,
    };
    let arrival = worker
        .limits
        .admit(Arrival::Handshake, None, crate::clock::now());
    let session = Session::open(
        worker,
        Mode::SocketIo,
        TransportName::Polling,
        open,
        arrival.unwrap(),
        credentials,
        |_, _| {},
    );
    assert!(body(pull(&session)).await.starts_with("0{"));
    session
}

/// Checks that the session is gone before it handles another message.
async fn assert_gone(worker: &Worker, session: &Addr<Session>) {
    assert!(pull(session).await.is_err());
    assert_eq!(worker.session_ids(), []);
}

#[actix_rt::test]
async fn a_session_ends_at_once_if_its_client_aborted_the_poll_meanwhile() {
    let worker = worker();
    let session = polling(&worker).await;
    drop(pull(&session));
    let ack_timeout = Duration::ZERO;
    session.do_send(ShutDown {
        ack_timeout,
        is_fenced: false,
    });
    // All messages are queued before the session checks its poll.
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted {
        reply,
        base64: false,
    });
    assert_eq!(may_upgrade.await, Ok(false));
    assert_gone(&worker, &session).await;
}

#[actix_rt::test]
async fn a_close_packet_of_the_client_ends_its_poll_and_the_session() {
    let worker = worker();
    let session = polling(&worker).await;
    let waiting = pull(&session);
    let post = PostId(1);
    session.do_send(PostStarted { post, open: None });
    let (reply, answer) = oneshot::channel();
    let body_of_post = Bytes::from_static(b"1");
    session.do_send(Post {
        post,
        body: body_of_post,
        reply,
    });
    assert_eq!(body(waiting).await, "6");
    assert_eq!(answer.await.unwrap(), Ok(()));
    assert_gone(&worker, &session).await;
}

#[actix_rt::test]
async fn a_session_ends_at_once_if_its_websocket_on_another_node_closed_meanwhile() {
    let worker = worker();
    let session = polling(&worker).await;
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted {
        reply,
        base64: false,
    });
    assert_eq!(may_upgrade.await, Ok(true));
    session.do_send(Upgraded {
        compression: Compression::None,
    });
    let ack_timeout = Duration::ZERO;
    session.do_send(ShutDown {
        ack_timeout,
        is_fenced: false,
    });
    let reason = CloseReason::TransportClose;
    session.do_send(Detached { reason });
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted {
        reply,
        base64: false,
    });
    assert!(may_upgrade.await.is_err());
    assert_gone(&worker, &session).await;
}

/// Records the user and the query parameter `room` of each socket that connects, and the users of those that leave.
#[derive(Default)]
struct RecordingApp(std::cell::RefCell<Vec<String>>);

impl RecordingApp {
    fn record(&self, what: &str, socket: &SocketContext<'_>) {
        let user = socket.identity.map_or("nobody", |identity| &identity.user);
        let room = socket.handshake.and_then(|it| it.query_value("room"));
        let record = format!("{what} {user} {}", room.unwrap_or_default());
        self.0.borrow_mut().push(record);
    }
}

impl App for RecordingApp {
    fn open(self: Rc<Self>, _socket: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        self
    }
}

impl SocketHandler for RecordingApp {
    fn on_connect(&self, socket: &SocketContext<'_>, _auth: &str) -> Outcome {
        self.record("connect", socket);
        Outcome::none()
    }

    fn on_event(&self, _socket: &SocketContext<'_>, _event: Event) -> Outcome {
        Outcome::none()
    }

    fn on_disconnect(&self, socket: &SocketContext<'_>, _reason: &str) {
        self.record("disconnect", socket);
    }
}

/// Takes the payload of a CONNECT as the name of the user, after a pause if it is `"slow"`.
struct NameGate;

impl ConnectGate for NameGate {
    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let identity = Identity {
            user: request.auth.to_owned(),
            generation: 1,
            ..Identity::default()
        };
        let decision = Decision::Allow(identity.into());
        if !request.auth.contains("slow") {
            return GateOutcome::Now(decision);
        }
        GateOutcome::Later(Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            decision
        }))
    }
}

fn credentials() -> Credentials {
    Credentials {
        handshake: Handshake {
            query: "EIO=4&room=blue".into(),
            headers: Vec::new(),
            cookies: String::new(),
            address: None,
            secure: false,
            revision: 4,
        }
        .into(),
        identity: None,
    }
}

async fn post(session: &Addr<Session>, number: u64, payload: &'static str) {
    let post = PostId(number);
    session.do_send(PostStarted { post, open: None });
    let (reply, answer) = oneshot::channel();
    let body = Bytes::from_static(payload.as_bytes());
    session.do_send(Post { post, body, reply });
    assert_eq!(answer.await.unwrap(), Ok(()));
}

#[actix_rt::test]
async fn the_app_sees_the_identity_of_a_gate_and_the_opening_request() {
    let app = Rc::new(RecordingApp::default());
    let gates = Gates::new(&[std::sync::Arc::new(|| Box::new(NameGate))]);
    let worker = worker_with(app.clone(), gates);
    for (connect, user) in [
        (r#"40{"at":"once"}"#, r#"{"at":"once"}"#),
        (r#"40{"at":"slow"}"#, r#"{"at":"slow"}"#),
    ] {
        let session = polling_with(&worker, Some(credentials())).await;
        post(&session, 1, connect).await;
        assert!(body(pull(&session)).await.starts_with("40{"));
        post(&session, 2, "41").await;
        let seen = std::mem::take(&mut *app.0.borrow_mut());
        let expected = [
            format!("connect {user} blue"),
            format!("disconnect {user} blue"),
        ];
        assert_eq!(seen, expected);
    }
}

#[actix_rt::test]
async fn the_app_does_not_see_a_client_that_leaves_before_a_gate_decides() {
    let app = Rc::new(RecordingApp::default());
    let gates = Gates::new(&[std::sync::Arc::new(|| Box::new(NameGate))]);
    let worker = worker_with(app.clone(), gates);
    let session = polling_with(&worker, Some(credentials())).await;
    post(&session, 1, r#"40{"at":"slow"}"#).await;
    session.do_send(ShutDown {
        is_fenced: false,
        ack_timeout: Duration::ZERO,
    });
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(app.0.borrow().is_empty());
}

#[actix_rt::test]
async fn a_session_keeps_no_handshake_unless_it_is_read() {
    assert_eq!(worker().handshake_headers(), None);
    let gates = Gates::new(&[std::sync::Arc::new(|| Box::new(NameGate))]);
    let worker = worker_with(Rc::new(Echo), gates);
    assert_eq!(worker.handshake_headers(), Some(&[][..]));
}

/// Takes each socket that sends an event out of the room of its user, and out of all rooms.
struct LeavingApp;

impl App for LeavingApp {
    fn open(self: Rc<Self>, _socket: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        self
    }
}

impl SocketHandler for LeavingApp {
    fn on_event(&self, socket: &SocketContext<'_>, _event: Event) -> Outcome {
        let user = socket.identity.map_or("", |identity| &identity.user);
        let room = Room::from(format!("user:{user}"));
        [
            Effect::Join(vec!["r".into()]),
            Effect::Leave(vec![room]),
            Effect::LeaveAll,
        ]
        .into_iter()
        .collect::<Effects>()
        .into()
    }
}

#[actix_rt::test]
async fn an_app_does_not_take_a_socket_out_of_the_room_of_its_user() {
    let gates = Gates::new(&[std::sync::Arc::new(|| Box::new(NameGate))]);
    let worker = worker_with(Rc::new(LeavingApp), gates);
    let session = polling_with(&worker, Some(credentials())).await;
    post(&session, 1, r#"40{"at":"once"}"#).await;
    assert!(body(pull(&session)).await.starts_with("40{"));
    post(&session, 2, r#"42["leave"]"#).await;
    for (room, name) in [("r", "gone"), (r#"user:{"at":"once"}"#, "there")] {
        let room = Room::from(room);
        worker.shard.dispatch(Command::Emit(Emit {
            to: Selector::room(Namespace::main(), room),
            payload: Payload::event(name, []),
            volatile: false,
            ack: None,
            conflate: None,
        }));
    }
    assert_eq!(body(pull(&session)).await, r#"42["there"]"#);
}
