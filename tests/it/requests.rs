//! Several requests on one connection: which of them are served, and whether the connection is kept.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Request, Response};
use crate::support::tls::{self, Files, Wire};
use crate::support::{TestServer, within_deadline};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";

async fn rest(stream: &mut Box<dyn Wire>) -> String {
    let mut responses = Vec::new();
    // The server may reset a connection with unread bytes.
    let _ = within_deadline(
        "the end of the connection",
        stream.read_to_end(&mut responses),
    )
    .await;
    String::from_utf8(responses).unwrap()
}

#[actix_rt::test]
async fn an_upgrade_option_without_a_websocket_keeps_the_connection() {
    keeps_the_connection(&TestServer::start().await).await;
    let files = Files::good();
    keeps_the_connection(&TestServer::with(&files.settings()).await).await;
}

async fn keeps_the_connection(server: &TestServer) {
    let client = server.polling().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    let address = server.address();
    let mut stream = tls::dial(&address, false).await;
    let mut buffer = Vec::new();
    let upgrade = [("Connection", "upgrade")];
    let h2c = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let posts = [Request::post(&target, b"40"), Request::post(&target, b"3")];
    let requests = posts
        .map(|post| post.headers(&upgrade))
        .into_iter()
        .chain([Request::get("/livez").headers(&h2c)])
        .chain([Request::get(&target).headers(&upgrade)]);
    for request in requests {
        let bytes = request.encode(tls::host(&address));
        stream.write_all(&bytes).await.unwrap();
        let response = within_deadline("an answer", Response::read(&mut stream, &mut buffer)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        // HTTP/1.1 connections persist by default.
        let connection = response.header("connection").unwrap_or("keep-alive");
        assert_eq!(connection, "keep-alive");
    }
}

#[actix_rt::test]
async fn nothing_is_served_after_a_request_that_closes() {
    let server = TestServer::start().await;
    let client = server.polling().await;
    let post = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n40",
        client.sid
    );
    for last in [
        format!("{LIVEZ}Connection: close\r\n\r\n"),
        format!("{LIVEZ}Connection: keep-alive, close\r\n\r\n"),
        "GET /livez HTTP/1.0\r\n\r\n".to_owned(),
        post,
    ] {
        let mut stream = tls::dial(&server.address(), false).await;
        let requests = format!("{LIVEZ}\r\n{last}{LIVEZ}\r\n{LIVEZ}\r\n");
        stream.write_all(requests.as_bytes()).await.unwrap();
        let responses = rest(&mut stream).await;
        assert_eq!(
            responses.matches("HTTP/1.").count(),
            2,
            "{last}: {responses}"
        );
    }
}

#[actix_rt::test]
async fn a_head_in_pieces_and_pipelined_requests_are_served() {
    let server = TestServer::start().await;
    let mut stream = tls::dial(&server.address(), false).await;
    let mut buffer = Vec::new();
    for byte in format!("{LIVEZ}Connection: upgrade\r\n\r\n").bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let response = within_deadline("an answer", Response::read(&mut stream, &mut buffer)).await;
    assert_eq!(response.summary(), (200, "ok\n"));
    let pipelined = format!("{LIVEZ}\r\n").repeat(3);
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    for _ in 0..3 {
        let response = within_deadline("an answer", Response::read(&mut stream, &mut buffer)).await;
        assert_eq!(response.summary(), (200, "ok\n"));
    }
    stream.write_all(b"no request\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 400"));
}

#[actix_rt::test]
async fn a_head_beyond_32_kib_is_rejected_and_one_below_is_served() {
    let files = Files::good();
    for settings in [&[][..], &files.settings()[..]] {
        let server = TestServer::with(settings).await;
        let request = |size: usize| format!("{LIVEZ}X: {}\r\n\r\n", "x".repeat(size));
        for (requests, expected) in [
            (request(30_000), vec!["200"]),
            (request(33_000), vec!["431"]),
            (
                format!("{LIVEZ}\r\n{}", request(100_000)),
                vec!["200", "431"],
            ),
            // Incomplete.
            (request(100_000).trim_end().to_owned(), vec!["431"]),
        ] {
            let mut stream = tls::dial(&server.address(), false).await;
            // Bytes after a rejected head are not read.
            let _ = stream.write_all(requests.as_bytes()).await;
            if expected == ["200"] {
                let last = format!("{LIVEZ}Connection: close\r\n\r\n");
                stream.write_all(last.as_bytes()).await.unwrap();
            }
            let responses = rest(&mut stream).await;
            for status in expected {
                let start = format!("HTTP/1.1 {status}");
                assert!(responses.contains(&start), "{status}: {responses}");
            }
        }
    }
}
