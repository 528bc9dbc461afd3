//! A node in front of Socket.IO servers: limits, balancing and lost upstream connections.

use tokio::net::TcpSocket;

use crate::support::upstream::{RawUpstream, front, front_of, front_of_raw};
use crate::support::{TestServer, WebsocketClient, eventually};

#[actix_rt::test]
async fn a_client_whose_upstream_connection_is_lost_in_use_is_disconnected() {
    for (when_lost, packet) in [("close", None), ("disconnect", Some("41"))] {
        let settings = [("APP__UPSTREAM__WHEN_LOST", when_lost)];
        let (front, mut client, upstream, _listener) = front_of_raw(&settings).await;
        drop(upstream);
        let error = client.text().await;
        assert!(error.contains(r#""code":"upstream_lost""#), "{error}");
        match packet {
            Some(packet) => client.expect(packet).await,
            None => {
                let rest = client.rest().await;
                assert!(format!("{rest:?}").contains("Close(Some(1013)"), "{rest:?}");
            }
        }
        assert_eq!(front.metrics().upstream_connections_lost_total.get(), 1);
    }
}

#[actix_rt::test]
async fn clients_connect_once_the_upstream_is_available_again() {
    // Bound, so that no other process takes the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let quick = [("APP__UPSTREAM__CONNECT_TIMEOUT", "5s")];
    let front = front_of(&[address], &quick).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let rest = client.rest().await;
    assert!(format!("{rest:?}").contains("Close(Some(1013)"), "{rest:?}");
    let listener = socket.listen(64).unwrap();
    let accepting = actix_rt::spawn(async move {
        loop {
            // Health checks connect too.
            let mut upstream = RawUpstream::accept(&listener).await;
            if upstream.try_text().await.is_some() {
                upstream.send(r#"40{"sid":"u"}"#).await;
                return upstream;
            }
        }
    });
    loop {
        let mut client = front.websocket().await;
        client.send("40").await;
        if client.frame().await.is_text() {
            break;
        }
    }
    accepting.await.unwrap();
}

#[actix_rt::test]
async fn a_lazy_connection_opens_with_the_first_event_and_closes_when_idle() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let lazy = [
        ("APP__UPSTREAM__CONNECT", "lazy"),
        ("APP__UPSTREAM__IDLE_TIMEOUT", "50ms"),
    ];
    let front = front(&behind, &lazy).await;
    let mut client = front.member().await;
    assert_eq!(front.metrics().upstream_connections_opened_total.get(), 0);
    for round in 1..=3 {
        client.send(r#"421["message-with-ack",1]"#).await;
        client.send(r#"42["message",2]"#).await;
        client.expect(r#"42["auth",{}]"#).await;
        client.expect("431[1]").await;
        client.expect(r#"42["message-back",2]"#).await;
        eventually("the end of the connection", || {
            front.metrics().upstream_connections.get() == 0
        })
        .await;
        assert_eq!(
            front.metrics().upstream_connections_opened_total.get(),
            round
        );
    }
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn upstream_connections_are_limited_per_node_and_per_user() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let limits = [
        ("APP__UPSTREAM__MAX_CONNECTIONS", "3"),
        ("APP__UPSTREAM__MAX_CONNECTIONS_PER_USER", "2"),
    ];
    let front = front(&behind, &limits).await;
    let join = async |auth: &str| -> (WebsocketClient, String) {
        let mut client = front.websocket().await;
        client.send(&format!("40{auth}")).await;
        let response = client.text().await;
        (client, response)
    };
    let a = r#"{"token":"a"}"#;
    let (_first, response) = join(a).await;
    assert!(response.starts_with("40"), "{response}");
    let (second, response) = join(a).await;
    assert!(response.starts_with("40"), "{response}");
    let (_rejected, response) = join(a).await;
    assert!(response.starts_with("44"), "{response}");
    assert!(
        response.contains(r#""code":"too_many_upstream_connections_of_user""#),
        "{response}"
    );
    let (_third, response) = join("").await;
    assert!(response.starts_with("40"), "{response}");
    let (_rejected, response) = join("").await;
    assert!(
        response.contains(r#""code":"too_many_upstream_connections""#),
        "{response}"
    );
    assert_eq!(front.metrics().upstream_connections_rejected_total.get(), 2);
    drop(second);
    eventually("the end of its connection", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    let (_fourth, response) = join(a).await;
    assert!(response.starts_with("40"), "{response}");
}

#[actix_rt::test]
async fn clients_of_a_stopped_upstream_move_to_the_other() {
    let mut upstreams = Vec::new();
    for _ in 0..2 {
        upstreams.push(TestServer::with(&[("APP__KIND", "echo")]).await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|u| u.server.address()).collect();
    let front = front_of(&addresses, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(front.member().await);
    }
    // Health checks open short sessions too.
    eventually("two connections each", || {
        let mut sessions = upstreams.iter().map(|up| up.metrics().sessions.get());
        sessions.all(|count| count == 2)
    })
    .await;
    upstreams.remove(0).server.stop().await;
    eventually("the loss of two connections", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    for _ in 0..4 {
        clients.push(front.member().await);
    }
    assert_eq!(upstreams[0].metrics().sessions.get(), 6);
}

#[actix_rt::test]
async fn upstream_connections_are_limited_per_address_for_any_auth_payload() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let limits = [
        ("APP__UPSTREAM__MAX_CONNECTIONS_PER_IP", "2"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SOCKET__NAMESPACES", "*"),
    ];
    let front = front(&behind, &limits).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let join = async |address: &str, auth: &str| -> (WebsocketClient, String) {
        let headers = [("X-Forwarded-For", address)];
        let node = front.address();
        let handshake = WebsocketClient::handshake(&node, target, &headers, false);
        let mut client = handshake.await.unwrap();
        client.text().await;
        client.send(&format!("40{auth}")).await;
        let response = client.text().await;
        (client, response)
    };
    let (first, response) = join("203.0.113.7", r#"{"token":"a"}"#).await;
    assert!(response.starts_with("40"), "{response}");
    let (mut second, response) = join("203.0.113.7", r#"{"token":"b"}"#).await;
    assert!(response.starts_with("40"), "{response}");
    let (_rejected, response) = join("203.0.113.7", r#"{"token":"c"}"#).await;
    let expected = r#""code":"too_many_upstream_connections_of_address","key":"app.upstream.max_connections_per_ip""#;
    assert!(response.contains(expected), "{response}");
    // Another namespace of a session requires another upstream connection.
    second.expect(r#"42["auth",{"token":"b"}]"#).await;
    second.send("40/other,").await;
    let response = second.text().await;
    assert!(response.contains(expected), "{response}");
    let (_other, response) = join("203.0.113.8", r#"{"token":"c"}"#).await;
    assert!(response.starts_with("40"), "{response}");
    // Rejected clients cause no connection.
    assert_eq!(front.metrics().upstream_connections_opened_total.get(), 3);
    drop(first);
    eventually("the end of its connection", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    let (_fourth, response) = join("203.0.113.7", r#"{"token":"c"}"#).await;
    assert!(response.starts_with("40"), "{response}");
}
