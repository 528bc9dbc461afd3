//! Engine.IO over a websocket: handshake, heartbeat, framing, and the end of a session.

use std::time::{Duration, Instant};

use roomwire::metrics::labels::RequestRejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::websocket::frame;
use crate::support::{Frame, TestServer, WebsocketClient, field, filler};

#[actix_rt::test]
async fn the_open_packet_describes_the_session() {
    let server = TestServer::start().await;
    let mut client = server.websocket().await;
    let sid = client.sid();
    assert_eq!(
        client.open,
        format!(
            r#"{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    );
    assert_eq!((sid.len(), &sid[..4]), (20, &*server.node()));
    let socket = client.connect("/").await;
    assert_eq!(
        (socket.len(), &socket[..5]),
        (20, &sid[..5]),
        "same node and worker"
    );
    assert_ne!(
        socket, sid,
        "the socket's id is public, the session's is not"
    );
    client.quiet().await;
}

#[actix_rt::test]
async fn a_client_that_responds_to_pings_stays_connected() {
    let server = TestServer::with(&[
        ("ENGINE__PING_INTERVAL", "60ms"),
        ("ENGINE__PING_TIMEOUT", "10s"),
    ])
    .await;
    let mut client = server.member().await;
    for _ in 0..5 {
        assert_eq!(client.frame().await, Frame::Text("2".into()));
        client.send("3").await;
    }
    client.quiet().await;
}

#[actix_rt::test]
async fn a_client_without_pongs_times_out_after_interval_plus_timeout() {
    let server = TestServer::with(&[
        ("ENGINE__PING_INTERVAL", "1s"),
        ("ENGINE__PING_TIMEOUT", "4s"),
    ])
    .await;
    let start = Instant::now();
    let mut client = server.member().await;
    assert_eq!(
        client.rest().await,
        [Frame::Text("2".into()), Frame::Close(None, String::new())]
    );
    let gone = start.elapsed();
    assert!(gone >= Duration::from_secs(5), "{gone:?}");
    // Those of the default configuration amount to 45 s.
    assert!(gone < Duration::from_secs(40), "{gone:?}");
    server.sessions(0).await;
}

#[actix_rt::test]
async fn a_client_that_joins_no_namespace_is_closed() {
    let server = TestServer::with(&[("SOCKET__CONNECT_TIMEOUT", "5s")]).await;
    let mut unjoined = server.websocket().await;
    let mut member = server.member().await;
    assert_eq!(unjoined.rest().await, [Frame::Close(None, String::new())]);
    member.quiet().await;
    server.sessions(1).await;
}

#[actix_rt::test]
async fn fragmented_and_split_frames_are_accepted() {
    let server = TestServer::start().await;
    let mut client = server.member().await;
    // In fragments, with a ping of the websocket between them.
    client.send_frame(0x01, br#"420["roomwire:le"#).await;
    client.send_frame(0x89, b"are you there").await;
    client.send_frame(0x80, br#"ave","r"]"#).await;
    assert_eq!(client.frame().await, Frame::Pong(b"are you there".to_vec()));
    client.expect(r#"430[{"ok":true,"room":"r"}]"#).await;
    // Large enough for each form of the length.
    for length in [100, 200, 70_000] {
        let text = filler(length);
        let response = client.ask(&format!(r#"["{text}"]"#)).await;
        assert!(response.contains("unknown_event"), "{response}");
    }
}

#[actix_rt::test]
async fn frames_that_follow_the_handshake_at_once_or_byte_by_byte_are_read() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut bytes = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(frame(0x81, b"40"));
    stream.write_all(&bytes).await.unwrap();
    for byte in frame(0x81, br#"420["roomwire:leave","r"]"#) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    crate::support::within_deadline("the responses", async {
        while !seen.ends_with(br#"430[{"ok":true,"room":"r"}]"#) {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
    })
    .await;
}

#[actix_rt::test]
async fn binary_events_arrive_whole_and_in_order() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        let content = vec![length as u8; length];
        a.send(r#"452-["roomwire:emit","r","file",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]"#).await;
        a.send_binary(&content).await;
        a.send_binary(b"second").await;
        a.emit("r", r#""after""#).await;
        b.expect(r#"452-["file",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]"#)
            .await;
        b.expect_binary(&content).await;
        b.expect_binary(b"second").await;
        b.expect(r#"42["after"]"#).await;
    }
}

#[actix_rt::test]
async fn protocol_violations_close_the_websocket() {
    let server = TestServer::start().await;
    let cases: [&[u8]; 5] = [b"x", b"2", b"42/elsewhere,[\"e\"]", b"4", b"42[\"e\""];
    for text in cases {
        let mut client = server.member().await;
        client.send_frame(0x81, text).await;
        let seen = client.rest().await;
        assert!(
            matches!(seen[..], [Frame::Close(..)]),
            "{:?}: {seen:?}",
            String::from_utf8_lossy(text)
        );
    }
    let mut unmasked = server.member().await;
    let mut stray = server.member().await;
    stray.send_binary(b"nobody announced this").await;
    assert!(matches!(stray.rest().await[..], [Frame::Close(..)]));
    unmasked.send_frame(0x83, b"reserved opcode").await;
    assert!(matches!(
        unmasked.rest().await[..],
        [Frame::Close(Some(1002), _)]
    ));
    server.sessions(0).await;
}

#[actix_rt::test]
async fn a_close_packet_or_frame_ends_the_session_at_once() {
    let server = TestServer::start().await;
    let mut by_packet = server.member().await;
    by_packet.send("1").await;
    by_packet.rest().await;
    let mut by_frame = server.member().await;
    by_frame.send_frame(0x88, &[0x03, 0xe8]).await;
    assert!(matches!(by_frame.rest().await[..], [Frame::Close(..)]));
    drop(server.member().await);
    server.sessions(0).await;
    assert_eq!(server.metrics().sessions_opened_total.get(), 3);
}

#[actix_rt::test]
async fn invalid_handshakes_are_rejected_with_a_message() {
    let server = TestServer::start().await;
    let id = "AAAAAAAAAAAAAAAAAAAA";
    let cases = [
        (
            "/socket.io/?EIO=3&transport=websocket".to_owned(),
            400,
            "Unsupported protocol version",
        ),
        (
            "/socket.io/?EIO=4&transport=tube".to_owned(),
            400,
            "Transport unknown",
        ),
        (
            "/socket.io/?EIO=4&transport=polling".to_owned(),
            400,
            "Bad request",
        ),
        (
            format!("/socket.io/?EIO=4&transport=websocket&sid={id}"),
            400,
            "Session ID unknown",
        ),
        (
            "/elsewhere/?EIO=4&transport=websocket".to_owned(),
            404,
            "no websocket endpoint here; it is at /socket.io/",
        ),
    ];
    for (target, status, message) in cases {
        let rejected = WebsocketClient::handshake(&server.address(), &target, &[], false)
            .await
            .err()
            .unwrap();
        assert_eq!(rejected.summary(), (status, message), "{target}");
    }
    let rejected = &server.metrics().requests_rejected_total;
    assert_eq!(rejected.get(), 5);
    assert_eq!(rejected.of(RequestRejection::SessionUnknown).get(), 1);
    let open = server.websocket().await;
    assert_eq!(field(&open.open, "pingInterval"), "25000");
}
