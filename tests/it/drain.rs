//! Draining a node: which clients are rejected, which sessions are closed when, and what is awaited.

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
async fn sessions_are_closed_one_by_one_and_new_ones_are_rejected() {
    // The slowest possible rate: the last close begins at 3/4 of the timeout.
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
        let rejected = server.send(Request::get(OPEN)).await;
        assert_eq!(rejected.status, 503);
        assert_eq!(rejected.header("retry-after"), Some("1"));
        let metrics = server.metrics();
        // Some sessions have ended while others continue.
        eventually("some sessions have ended", || {
            (1..20).contains(&metrics.sessions.get())
        })
        .await;
        assert!(metrics.drain_closed_total.get() < 20);
    };
    // Each client closes its connection after the close frame.
    let closed = clients.into_iter().map(|mut client| async move {
        assert_eq!(client.rest().await, ended());
    });
    let closed = futures_util::future::join_all(closed);
    tokio::join!(server.server.drain(), watch, closed);
    assert_eq!(server.metrics().sessions.get(), 0);
    assert_eq!(server.metrics().drain_closed_total.get(), 20);
    assert_eq!(server.metrics().drain_sessions_left.get(), 0);
    for sid in sids {
        assert_eq!(close_reason(&sid).await, "server shutting down");
    }
}

#[actix_rt::test]
async fn a_drain_without_sessions_ends_at_once() {
    let settings = [("DRAIN__TIMEOUT", "1h"), ("DRAIN__GRACE", "59m")];
    let server = TestServer::with(&settings).await;
    crate::support::within_deadline("an end", server.server.drain()).await;
}

#[actix_rt::test]
async fn a_drain_waits_for_a_pending_ack() {
    let settings = [
        ("DRAIN__GRACE", "0s"),
        ("DRAIN__TIMEOUT", "60s"),
        ("DRAIN__ACK_TIMEOUT", "50s"),
    ];
    let TestCluster {
        nodes: [requesting, draining],
        ..
    } = TestCluster::<2>::with(&settings).await;
    let (mut a, mut b) = (requesting.member().await, draining.member().await);
    let mut idle = draining.member().await;
    let to = b.socket.clone();
    a.send(&format!(r#"427["roomwire:ask","{to}","question"]"#))
        .await;
    let (id, _) = event_with_ack(&mut b).await;
    let watch = async {
        assert_eq!(idle.rest().await, ended());
        eventually("both closes have begun", || {
            draining.metrics().drain_closed_total.get() == 2
        })
        .await;
        // Its close has begun, but it is served until its ack has arrived.
        b.quiet().await;
        b.send(&format!(r#"43{id}["yes"]"#)).await;
        a.expect(r#"437[{"ok":true,"answer":["yes"]}]"#).await;
        assert_eq!(b.rest().await, ended());
    };
    tokio::join!(draining.server.drain(), watch);
    assert_eq!(draining.metrics().sessions.get(), 0);
}

#[actix_rt::test]
async fn a_missing_ack_delays_a_drain_until_ack_timeout() {
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
    let _never_acknowledged = event_with_ack(&mut b).await;
    let (rest, ()) = tokio::join!(b.rest(), server.server.drain());
    assert_eq!(rest, ended());
}

#[actix_rt::test]
async fn a_drain_ends_at_the_timeout_despite_a_client_that_does_not_poll() {
    let settings = [("DRAIN__GRACE", "0s"), ("DRAIN__TIMEOUT", "500ms")];
    let server = TestServer::with(&settings).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    crate::support::within_deadline("an end", server.server.drain()).await;
    assert_eq!(server.metrics().sessions.get(), 1);
    assert_eq!(server.metrics().drain_sessions_left.get(), 1);
    // Its next poll still returns the close packet.
    assert_eq!(polling.get().await.summary(), (200, "1"));
}

#[actix_rt::test]
async fn a_pending_poll_returns_the_close_packet() {
    let server = TestServer::with(&[("DRAIN__GRACE", "0s")]).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    let (last, ()) = tokio::join!(polling.get(), server.server.drain());
    assert_eq!(last.summary(), (200, "1"));
    assert_eq!(server.metrics().sessions.get(), 0);
}

#[actix_rt::test]
async fn a_polling_client_receives_queued_events_before_the_close_packet() {
    // More than one batch can hold.
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
async fn websockets_held_for_other_nodes_are_closed_with_their_sessions() {
    let settings = [("DRAIN__GRACE", "0s"), ("DRAIN__TIMEOUT", "60s")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut stays = owner.member().await;
    let (client, mut websocket) = held(owner, edge).await;
    websocket.join("r").await;
    stays.join("r").await;
    // A websocket that has only probed is closed; its session continues.
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
async fn a_draining_node_holds_no_new_websocket_for_other_nodes() {
    let settings = [("DRAIN__GRACE", "59m"), ("DRAIN__TIMEOUT", "1h")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let _open_session = edge.member().await;
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
        let rejected = edge.send(Request::get(&target).headers(&upgrade)).await;
        assert_eq!(rejected.status, 503);
        assert_eq!(rejected.header("retry-after"), Some("1"));
        // Its polls are still forwarded, and the session continues.
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
async fn a_drained_node_leaves_no_subscriptions() {
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
