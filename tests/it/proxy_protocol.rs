//! Connections that begin with a PROXY header.

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Request, Response};
use crate::support::tls::{self, Files, Wire};
use crate::support::{TestServer, WebsocketClient, eventually, within_deadline};

const SETTINGS: [(&str, &str); 2] = [
    ("SERVER__PROXY_PROTOCOL", "true"),
    ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
];
/// Not a trusted proxy.
const CLIENT: &str = "192.0.2.7:4711";

fn header(source: &str) -> Vec<u8> {
    let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
    let addresses = ProxiedAddress::stream(parse(source), parse("10.0.0.1:443"));
    let mut bytes = Vec::new();
    ProxyHeader::with_address(addresses)
        .encode_v2(&mut bytes)
        .unwrap();
    bytes
}

fn local() -> Vec<u8> {
    let mut bytes = Vec::new();
    ProxyHeader::with_local().encode_v2(&mut bytes).unwrap();
    bytes
}

/// A connection that begins with these bytes.
async fn connect(server: &TestServer, head: &[u8]) -> tokio::net::TcpStream {
    let mut stream = tls::connect(&server.server.address().to_string(), false).await;
    stream.write_all(head).await.unwrap();
    stream
}

/// The status of a handshake whose origin is the same only if `X-Forwarded-Host` counts: whether the request is
/// treated as one of a trusted proxy.
async fn status(mut stream: impl Wire) -> u16 {
    let headers = [
        ("Origin", "https://app.example"),
        ("X-Forwarded-Host", "app.example"),
    ];
    let request = Request::get("/socket.io/?EIO=4&transport=polling").headers(&headers);
    stream.write_all(&request.encode("inner:80")).await.unwrap();
    within_deadline("an answer", Response::read(&mut stream, &mut Vec::new()))
        .await
        .status
}

#[actix_rt::test]
async fn the_address_in_the_header_is_that_of_the_client() {
    let server = TestServer::with(&SETTINGS).await;
    let text = "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";
    let cases = [
        (header(CLIENT), 403),
        (text.into(), 403),
        (header("127.0.0.9:80"), 200),
        (local(), 200),
    ];
    for (head, expected) in cases {
        assert_eq!(status(connect(&server, &head).await).await, expected);
    }
    assert_eq!(server.metrics().proxy_headers_rejected_total.get(), 0);
}

#[actix_rt::test]
async fn a_header_before_tls_is_read_and_websockets_work() {
    let files = Files::good();
    let settings = [&SETTINGS[..], &files.settings()[..]].concat();
    let server = TestServer::with(&settings).await;
    for (source, expected) in [(CLIENT, 403), ("127.0.0.9:80", 200)] {
        let stream = connect(&server, &header(source)).await;
        assert_eq!(
            status(tls::shake_hands(stream).await.unwrap()).await,
            expected
        );
    }
    let stream = connect(&server, &header(CLIENT)).await;
    let stream = tls::shake_hands(stream).await.unwrap();
    let target = "/socket.io/?EIO=4&transport=websocket";
    let address = server.address();
    let client = WebsocketClient::handshake_on(Box::new(stream), &address, target, &[]);
    let mut client = client.await.unwrap();
    assert!(client.text().await.starts_with('0'));
    client.connect("/").await;
    client.quiet().await;
}

#[actix_rt::test]
async fn a_header_in_pieces_is_read_without_bytes_after_it() {
    let server = TestServer::with(&SETTINGS).await;
    let head = header("127.0.0.9:80");
    let request = Request::get("/livez").encode("inner:80");
    let mut stream = connect(&server, &head[..5]).await;
    // A separate segment: the server has read the start before the rest is sent.
    stream.set_nodelay(true).unwrap();
    stream.write_all(&head[5..20]).await.unwrap();
    stream
        .write_all(&[&head[20..], &request[..]].concat())
        .await
        .unwrap();
    let response = within_deadline("an answer", Response::read(&mut stream, &mut Vec::new())).await;
    assert_eq!(response.status, 200);
}

async fn assert_one_rejected(server: &TestServer) {
    eventually("it is counted", || {
        server.metrics().proxy_headers_rejected_total.get() == 1
    })
    .await;
}

#[actix_rt::test]
async fn connections_without_a_valid_header_are_closed_and_counted() {
    let server = TestServer::with(&SETTINGS).await;
    let mut bare = connect(&server, &Request::get("/livez").encode("inner:80")).await;
    let mut rest = Vec::new();
    let _reset = within_deadline("the end", bare.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    assert_one_rejected(&server).await;

    let elsewhere = [SETTINGS[0], ("SERVER__TRUSTED_PROXIES", "10.0.0.0/8")];
    let server = TestServer::with(&elsewhere).await;
    let mut untrusted = connect(&server, &header("10.0.0.9:80")).await;
    let _reset = within_deadline("the end", untrusted.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    assert_one_rejected(&server).await;
}

#[actix_rt::test]
async fn a_connection_without_any_bytes_is_closed() {
    let server = TestServer::with(&SETTINGS).await;
    let mut idle = connect(&server, &header(CLIENT)[..20]).await;
    assert!(within_deadline("the end", idle.read_u8()).await.is_err());
    assert_one_rejected(&server).await;
}

#[test]
fn the_proxy_protocol_requires_trusted_proxies() {
    let output =
        crate::support::process::run(&["check"], &[("ROOMWIRE_SERVER__PROXY_PROTOCOL", "true")]);
    let problems = crate::support::process::text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{problems}");
    assert!(
        problems.contains("requires server.trusted_proxies"),
        "{problems}"
    );
}
