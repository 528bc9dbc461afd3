//! Sessions that are opened and abandoned, and addresses that open too many.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use roomwire::config::Config;

use crate::support::http::{Request, Response};
use crate::support::log::{close_reason, logged};
use crate::support::{TestServer, eventually, within_deadline};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

#[actix_rt::test]
async fn a_polling_session_without_a_second_request_ends_and_leaves_nothing() {
    assert_eq!(
        Config::default().socket.connect_timeout,
        Duration::from_secs(10)
    );
    let settings = [("SOCKET__CONNECT_TIMEOUT", "300ms"), ("APP__KIND", "echo")];
    let server = TestServer::with(&settings).await;
    let start = Instant::now();
    let client = server.polling().await;
    // A bare client requests no namespace.
    let bare = Request::get("/engine.io/?EIO=4&transport=polling");
    assert_eq!(server.send(bare).await.status, 200);
    assert_eq!(close_reason(&client.sid).await, "connect timeout");
    eventually("no client left", || server.metrics().connections.get() == 0).await;
    // Nothing is kept for a client that never polled, and no ping timeout is awaited.
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "{:?}",
        start.elapsed()
    );
    let response = client.get().await;
    assert!(
        response.text().contains("Session ID unknown"),
        "{response:?}"
    );
}

#[actix_rt::test]
async fn a_polling_client_that_polled_is_notified_that_its_session_ended() {
    // Long enough for a client on a machine that stalls to poll first.
    let server = TestServer::with(&[("SOCKET__CONNECT_TIMEOUT", "5s")]).await;
    let client = server.polling().await;
    let response = client.get().await;
    assert_eq!(response.summary(), (200, "1"));
    assert_eq!(close_reason(&client.sid).await, "connect timeout");
    // Bare clients that have polled stay connected.
    let echo = [
        ("SOCKET__CONNECT_TIMEOUT", "5s"),
        ("ENGINE__PING_INTERVAL", "6s"),
        ("APP__KIND", "echo"),
    ];
    let server = TestServer::with(&echo).await;
    let target = "/engine.io/?EIO=4&transport=polling";
    let opened = server.send(Request::get(target)).await;
    let sid = crate::support::field(&opened.text()[1..], "sid");
    let target = format!("{target}&sid={sid}");
    let ping = server.send(Request::get(&target)).await;
    assert_eq!(ping.summary(), (200, "2"));
}

#[actix_rt::test]
async fn one_connection_does_not_fill_the_node_with_pipelined_handshakes() {
    const HANDSHAKES: usize = 2_000;
    let server = TestServer::with(&[("LIMITS__PER_CLIENT", "on")]).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let start = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let requests = Request::get(POLLING).encode("x").repeat(HANDSHAKES);
    let reading = async {
        let (mut opened, mut buffer) = (0, Vec::new());
        for _ in 0..HANDSHAKES {
            let response =
                within_deadline("an answer", Response::read(&mut reader, &mut buffer)).await;
            match response.status {
                200 => opened += 1,
                status => assert_eq!(status, 429),
            }
        }
        opened
    };
    let (sent, opened) = tokio::join!(writer.write_all(&requests), reading);
    sent.unwrap();
    // A burst of 100, and 20 per second.
    let most = 101.0 + 20.0 * start.elapsed().as_secs_f64();
    assert!(
        (100.0..=most).contains(&f64::from(opened)),
        "{opened} {most}"
    );
    // A client that waits is accepted.
    within_deadline("a place", async {
        while server.send(Request::get(POLLING)).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_private_peer_that_forwards_and_is_not_trusted_is_named_in_the_log() {
    let server = TestServer::start().await;
    let forwarded = [("X-Forwarded-For", "203.0.113.7")];
    let response = server.send(Request::get(POLLING).headers(&forwarded)).await;
    assert_eq!(response.status, 200);
    let line = logged("a peer forwards requests but is not in server.trusted_proxies").await;
    assert!(line.contains("peer=127.0.0.1"), "{line}");
}
