//! A node that empties itself bit by bit: who is refused, who is waited for, who goes when.

use crate::acks::event_with_ack;
use crate::support::cluster::{BusPublisher, room};
use crate::support::http::Request;
use crate::support::log::close_reason;
use crate::support::{Frame, PollingClient, TestCluster, TestServer, WebsocketClient, eventually};

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

fn ended() -> Vec<Frame> {
    vec![Frame::Close(None, String::new())]
}

#[actix_rt::test]
async fn clients_go_one_after_the_other_and_nobody_new_comes() {
    // As slow as it goes: the last is told at 3/4 of the time.
    let settings = [
        ("DRAIN__TIMEOUT", "8s"),
        ("DRAIN__GRACE", "1s"),
        ("DRAIN__RATE", "1"),
    ];
    let server = TestServer::with(&settings).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.member().await);
    }
    let sids: Vec<String> = clients.iter().map(WebsocketClient::sid).collect();
    let watch = async {
        assert_eq!(server.readyz("node: draining").await, 503);
        let refused = server.send(Request::get(OPEN)).await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        let metrics = server.metrics();
        // Some are gone while others are there.
        eventually("a part of them", || {
            (1..20).contains(&metrics.sessions.get())
        })
        .await;
        assert!(metrics.drain_closed_total.get() < 20);
    };
    // Each hangs up once it has read the end.
    let hear = clients.into_iter().map(|mut client| async move {
        assert_eq!(client.rest().await, ended());
    });
    let hear = futures_util::future::join_all(hear);
    tokio::join!(server.server.drain(), watch, hear);
    assert_eq!(server.metrics().sessions.get(), 0);
    assert_eq!(server.metrics().drain_closed_total.get(), 20);
    assert_eq!(server.metrics().drain_sessions_left.get(), 0);
    for sid in sids {
        assert_eq!(close_reason(&sid).await, "server shutting down");
    }
}

#[actix_rt::test]
async fn without_sessions_nobody_waits() {
    let settings = [("DRAIN__TIMEOUT", "1h"), ("DRAIN__GRACE", "59m")];
    let server = TestServer::with(&settings).await;
    crate::support::within_deadline("an end", server.server.drain()).await;
}

#[actix_rt::test]
async fn an_answer_under_way_is_waited_for() {
    let settings = [
        ("DRAIN__GRACE", "0s"),
        ("DRAIN__TIMEOUT", "60s"),
        ("DRAIN__ACK_TIMEOUT", "50s"),
    ];
    let TestCluster {
        nodes: [asking, draining],
        ..
    } = TestCluster::<2>::with(&settings).await;
    let (mut a, mut b) = (asking.member().await, draining.member().await);
    let mut idle = draining.member().await;
    let to = b.socket.clone();
    a.send(&format!(r#"427["roomwire:ask","{to}","question"]"#))
        .await;
    let (id, _) = event_with_ack(&mut b).await;
    let watch = async {
        assert_eq!(idle.rest().await, ended());
        eventually("both told", || {
            draining.metrics().drain_closed_total.get() == 2
        })
        .await;
        // Told to go, but served until it has answered.
        b.quiet().await;
        b.send(&format!(r#"43{id}["yes"]"#)).await;
        a.expect(r#"437[{"ok":true,"answer":["yes"]}]"#).await;
        assert_eq!(b.rest().await, ended());
    };
    tokio::join!(draining.server.drain(), watch);
    assert_eq!(draining.metrics().sessions.get(), 0);
}

#[actix_rt::test]
async fn an_answer_that_does_not_come_holds_nobody_for_ever() {
    let settings = [
        ("DRAIN__GRACE", "0s"),
        ("DRAIN__ACK_TIMEOUT", "300ms"),
        ("DRAIN__TIMEOUT", "15m"),
    ];
    let server = TestServer::with(&settings).await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(r#"427["roomwire:ask","{to}","question"]"#))
        .await;
    let _never_answered = event_with_ack(&mut b).await;
    let (rest, ()) = tokio::join!(b.rest(), server.server.drain());
    assert_eq!(rest, ended());
}

#[actix_rt::test]
async fn a_client_that_does_not_come_to_hear_of_it_is_left_at_the_timeout() {
    let settings = [("DRAIN__GRACE", "0s"), ("DRAIN__TIMEOUT", "500ms")];
    let server = TestServer::with(&settings).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    crate::support::within_deadline("an end", server.server.drain()).await;
    assert_eq!(server.metrics().sessions.get(), 1);
    assert_eq!(server.metrics().drain_sessions_left.get(), 1);
    // It is still told, should it come.
    assert_eq!(polling.get().await.summary(), (200, "1"));
}

#[actix_rt::test]
async fn a_polling_client_hears_of_it_by_its_poll() {
    let server = TestServer::with(&[("DRAIN__GRACE", "0s")]).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    let (last, ()) = tokio::join!(polling.get(), server.server.drain());
    assert_eq!(last.summary(), (200, "1"));
    assert_eq!(server.metrics().sessions.get(), 0);
}

#[actix_rt::test]
async fn a_polling_client_fetches_what_waits_and_then_the_end() {
    // More than one batch holds.
    const EVENTS: usize = 40;
    let server = TestServer::with(&[("DRAIN__GRACE", "0s")]).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    polling.join("r").await;
    let mut other = server.member().await;
    for number in 0..EVENTS {
        other.emit("r", &format!(r#""n",{number}"#)).await;
    }
    other.quiet().await;
    let fetch = async {
        assert_eq!(other.rest().await, ended());
        for number in 0..EVENTS {
            polling.expect(&format!(r#"42["n",{number}]"#)).await;
        }
        assert!(polling.take_fetched().is_empty());
        assert_eq!(polling.get().await.summary(), (200, "1"));
    };
    tokio::join!(fetch, server.server.drain());
    assert_eq!(server.metrics().sessions.get(), 0);
}

/// A client of `owner` whose websocket `edge` holds.
async fn held(owner: &TestServer, edge: &TestServer) -> (PollingClient, WebsocketClient) {
    let mut client = owner.polling().await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    (client, websocket)
}

#[actix_rt::test]
async fn websockets_held_for_others_go_too_and_their_sessions_with_them() {
    let settings = [("DRAIN__GRACE", "0s"), ("DRAIN__TIMEOUT", "60s")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut stays = owner.member().await;
    let (client, mut websocket) = held(owner, edge).await;
    websocket.join("r").await;
    stays.join("r").await;
    // One that has not taken over: it goes, its session stays.
    let mut probing_client = owner.polling().await;
    probing_client.connect().await;
    let mut probing = WebsocketClient::upgrading(&edge.address(), &probing_client.sid).await;
    probing.send("2probe").await;
    probing.expect("3probe").await;
    assert_eq!(edge.metrics().forwarded_websockets.get(), 2);
    stays.emit("r", r#""last""#).await;
    let (rest, gone, ()) = tokio::join!(websocket.rest(), probing.rest(), edge.server.drain());
    assert_eq!(
        rest,
        [Frame::Text(r#"42["last"]"#.into()), ended().remove(0)]
    );
    assert!(gone.is_empty() || gone == ended(), "{gone:?}");
    assert_eq!(close_reason(&client.sid).await, "server shutting down");
    assert_eq!(edge.metrics().forwarded_websockets.get(), 0);
    owner.sessions(2).await;
    probing_client.join("r").await;
}

#[actix_rt::test]
async fn a_draining_node_holds_no_new_websocket_for_others() {
    let settings = [("DRAIN__GRACE", "10s"), ("DRAIN__TIMEOUT", "40s")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let _keeps_it_busy = edge.member().await;
    let mut client = owner.polling().await;
    client.connect().await;
    let watch = async {
        edge.readyz("node: draining").await;
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let refused = edge.send(Request::get(&target).headers(&upgrade)).await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        // Its polls are still passed on, and it lives.
        client.turn_to(&edge.address());
        client.join("r").await;
    };
    tokio::select! {
        () = edge.server.drain() => panic!("still in its grace time"),
        () = watch => {}
    }
    assert_eq!(owner.metrics().sessions.get(), 1);
}

#[actix_rt::test]
async fn nothing_of_a_drained_node_is_left_on_the_bus() {
    let settings = [("DRAIN__GRACE", "0s")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [leaving, staying] = cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    let (mut a, mut b) = (leaving.member().await, staying.member().await);
    a.join("r").await;
    b.join("r").await;
    let name = leaving.node();
    publisher.await_subscribers(2, "r").await;
    let (rest, ()) = tokio::join!(a.rest(), leaving.server.drain());
    assert_eq!(rest, ended());
    publisher.await_subscribers(1, "r").await;
    leaving.server.stop().await;
    assert_eq!(publisher.subscribers_of_node(&name).await, 0);
    publisher.emit(room("r"), r#"["on"]"#, false);
    b.expect(r#"42["on"]"#).await;
}
