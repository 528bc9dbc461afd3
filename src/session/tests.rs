//! Ends of a polling session whose order no client can force.

use super::messages::{
    Batch, BatchFormat, Detached, Post, PostId, PostStarted, ProbeStarted, PullError, Ready,
    ShutDown, Upgraded,
};
use super::*;
use crate::app::echo::Echo;
use crate::broker::Directory;
use crate::broker::shard::{Limits as ShardLimits, Shard};
use crate::config::Config;
use crate::limits::{Arrival, Descriptors, Limits};
use crate::model::random::OsRandom;
use crate::model::{NodeId, WorkerIndex};
use crate::outbox::{Bounds, Share};
use crate::protocol::connection::Timing;
use tokio::sync::oneshot;

type Pulled = oneshot::Receiver<Result<Batch, PullError>>;

fn worker() -> Rc<Worker> {
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
    };
    let settings = SessionSettings {
        timing,
        namespaces: Vec::new(),
        inbox_limit: 10_000,
        max_pending_acks: 1,
        slow_timeout: Duration::from_secs(10),
    };
    Worker::new(
        shard,
        Rc::new(Echo),
        settings.into(),
        limits,
        std::sync::Arc::new(OsRandom),
    )
}

fn pull(session: &Addr<Session>) -> Pulled {
    let (outlet, batch) = oneshot::channel();
    session.do_send(Ready {
        format: BatchFormat::Polling,
        outlet,
    });
    batch
}

async fn body(batch: Pulled) -> String {
    let body = batch.await.unwrap().unwrap().body;
    String::from_utf8(body.to_vec()).unwrap()
}

/// A polling session whose client has its handshake.
async fn polling(worker: &Rc<Worker>) -> Addr<Session> {
    let open = OpenPacket {
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
        |_, _| {},
    );
    assert!(body(pull(&session)).await.starts_with("0{"));
    session
}

/// The session is gone before it takes another message.
async fn assert_gone(worker: &Worker, session: &Addr<Session>) {
    assert!(pull(session).await.is_err());
    assert_eq!(worker.session_ids(), []);
}

#[actix_rt::test]
async fn nobody_waits_for_a_client_that_gave_up_its_poll_as_the_session_ended() {
    let worker = worker();
    let session = polling(&worker).await;
    drop(pull(&session));
    let patience = Duration::ZERO;
    session.do_send(ShutDown { patience });
    // All are in before the session looks at its poll.
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted { reply });
    assert_eq!(may_upgrade.await, Ok(false));
    assert_gone(&worker, &session).await;
}

#[actix_rt::test]
async fn a_session_is_gone_once_its_client_said_goodbye() {
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
async fn nobody_waits_for_a_websocket_elsewhere_that_went_as_the_session_ended() {
    let worker = worker();
    let session = polling(&worker).await;
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted { reply });
    assert_eq!(may_upgrade.await, Ok(true));
    session.do_send(Upgraded);
    let patience = Duration::ZERO;
    session.do_send(ShutDown { patience });
    let reason = CloseReason::TransportClose;
    session.do_send(Detached { reason });
    let (reply, may_upgrade) = oneshot::channel();
    session.do_send(ProbeStarted { reply });
    assert!(may_upgrade.await.is_err());
    assert_gone(&worker, &session).await;
}
