//! Stopping a node without a drain.

use crate::support::http::Request;
use crate::support::log::close_reason;
use crate::support::{Frame, TestCluster, TestServer};

#[actix_rt::test]
async fn every_client_is_notified_and_the_port_is_released() {
    let server = TestServer::start().await;
    let address = server.address();
    let mut idle = server.websocket().await;
    let mut member = server.member().await;
    let mut polling = server.polling().await;
    polling.connect().await;
    let sid = member.sid();
    let (last, ()) = tokio::join!(polling.get(), async {
        // The poll must wait before the node stops.
        member.quiet().await;
        server.server.stop().await;
    });
    assert_eq!(idle.rest().await, [Frame::Close(None, String::new())]);
    assert_eq!(member.rest().await, [Frame::Close(None, String::new())]);
    assert_eq!(last.summary(), (200, "1"));
    assert_eq!(close_reason(&sid).await, "server shutting down");
    std::net::TcpListener::bind(&address).unwrap();
}

#[actix_rt::test]
async fn queued_events_arrive_before_the_close_frame() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    for number in 0..200 {
        a.emit("r", &format!(r#""n",{number}"#)).await;
    }
    a.quiet().await;
    server.server.stop().await;
    let rest = b.rest().await;
    assert_eq!(rest.len(), 201);
    assert_eq!(rest[199], Frame::Text(r#"42["n",199]"#.into()));
    assert_eq!(rest[200], Frame::Close(None, String::new()));
}

#[actix_rt::test]
async fn a_stopping_node_rejects_new_sessions() {
    let server = TestServer::start().await;
    let address = server.address();
    // A session whose client does not poll delays the stop up to its time limit.
    let mut lingering = server.polling().await;
    lingering.connect().await;
    let (rejected, ()) = tokio::join!(
        async {
            loop {
                let response = Request::get("/socket.io/?EIO=4&transport=polling")
                    .send(&address)
                    .await;
                if response.summary().0 != 200 {
                    break response;
                }
            }
        },
        server.server.stop()
    );
    assert_eq!(
        rejected.summary(),
        (503, r#"{"code":6,"message":"Server shutting down"}"#)
    );
    assert_eq!(rejected.header("retry-after"), Some("1"));
}

#[actix_rt::test]
async fn a_node_without_sessions_stops_at_once() {
    // With sessions it waits for 2 s. The machine may stall meanwhile, but not each time.
    let mut shortest = std::time::Duration::MAX;
    for _ in 0..20 {
        let server = TestServer::start().await;
        let start = std::time::Instant::now();
        server.server.stop().await;
        shortest = shortest.min(start.elapsed());
        if shortest.as_secs() < 2 {
            break;
        }
    }
    assert!(shortest.as_secs() < 2, "{shortest:?}");
}

#[actix_rt::test]
async fn the_other_nodes_continue() {
    let TestCluster {
        nodes: [stopping, staying],
        ..
    } = TestCluster::<2>::start().await;
    let (mut a, mut b) = (staying.member().await, staying.member().await);
    let mut gone = stopping.member().await;
    gone.join("r").await;
    b.join("r").await;
    stopping.server.stop().await;
    assert!(matches!(gone.rest().await[..], [Frame::Close(..)]));
    a.emit("r", r#""still""#).await;
    b.expect(r#"42["still"]"#).await;
    assert_eq!(staying.readyz("bus: up").await, 200);
}
