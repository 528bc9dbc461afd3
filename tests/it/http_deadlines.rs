//! How long a connection may be idle or stalled, on the public and the internal listener, plain and over TLS.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use roomwire::config::Config;
use roomwire::metrics::labels::LimitRejection;

use crate::support::http::{Request, Response};
use crate::support::tls::{Files, Wire, dial, host};
use crate::support::{DEADLINE, TestServer, WebsocketClient, eventually, within_deadline};

/// Every deadline is far below the time that a test waits, and above the time for which a machine stalls.
const QUICK: [(&str, &str); 5] = [
    ("SERVER__HEADER_TIMEOUT", "5s"),
    ("SERVER__BODY_TIMEOUT", "5s"),
    ("SERVER__WRITE_TIMEOUT", "5s"),
    ("SERVER__KEEPALIVE_TIMEOUT", "5s"),
    ("SERVER__INTERNAL_BIND", "127.0.0.1:0"),
];
/// All deadlines are beyond the time of a test, except for the one that is set in addition.
const PATIENT: [(&str, &str); 5] = [
    ("SERVER__HEADER_TIMEOUT", "1h"),
    ("SERVER__BODY_TIMEOUT", "1h"),
    ("SERVER__WRITE_TIMEOUT", "1h"),
    ("SERVER__KEEPALIVE_TIMEOUT", "1h"),
    ("SERVER__INTERNAL_BIND", "127.0.0.1:0"),
];

/// A node, with or without TLS on its public listener, with these settings in place of the usual ones.
async fn node(settings: &[(&str, &str)], tls: bool) -> (TestServer, Vec<String>) {
    let files = Files::good();
    let mut settings = settings.to_vec();
    if tls {
        settings.extend(files.settings());
    }
    let server = TestServer::with(&settings).await;
    let mut addresses = vec![server.address()];
    addresses.extend(server.server.internal_address().map(|it| it.to_string()));
    (server, addresses)
}

/// Sends a request; returns the response and the connection.
async fn exchange(address: &str, request: &[u8]) -> (Response, Box<dyn Wire>) {
    let mut stream = dial(address, false).await;
    stream.write_all(request).await.unwrap();
    let response = within_deadline("an answer", Response::read(&mut stream, &mut Vec::new())).await;
    (response, stream)
}

/// Waits until the node closes.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // A reset also ends the connection.
    let _ = within_deadline("the end of the connection", stream.read_to_end(&mut rest)).await;
}

const ENDLESS: &[u8] =
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
const PLAIN: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[actix_rt::test]
async fn a_response_that_leaves_a_body_unread_closes_its_connection() {
    for tls in [false, true] {
        let (server, addresses) = node(&PATIENT, tls).await;
        let all = addresses.iter().map(async |address| {
            let (response, mut endless) = exchange(address, ENDLESS).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("connection"), Some("close"), "{address}");
            // So does a rejected POST whose body is still arriving, and its client reads the response.
            let post =
                b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n";
            let (response, mut posting) = exchange(address, post).await;
            assert_eq!(response.status, 404);
            posting.write_all(&[b'x'; 100_000]).await.unwrap();
            closed(&mut endless).await;
            closed(&mut posting).await;
        });
        futures_util::future::join_all(all).await;
        eventually("no connection left", || {
            server.metrics().http_connections.get() == 0
        })
        .await;
    }
}

#[actix_rt::test]
async fn a_complete_unread_body_keeps_the_connection() {
    let (_server, addresses) = node(&PATIENT, false).await;
    for address in &addresses {
        let mut stream = dial(address, false).await;
        let mut buffer = Vec::new();
        for _ in 0..3 {
            let request = Request::post("/nowhere", &[b'x'; 20_000]).encode(host(address));
            stream.write_all(&request).await.unwrap();
            let response =
                within_deadline("an answer", Response::read(&mut stream, &mut buffer)).await;
            assert_eq!(response.status, 404);
        }
    }
}

#[actix_rt::test]
async fn a_second_head_that_never_ends_closes_its_connection() {
    for tls in [false, true] {
        let (server, addresses) = node(&QUICK, tls).await;
        let all = addresses.iter().map(async |address| {
            let (response, mut stream) = exchange(address, PLAIN).await;
            assert_eq!(response.status, 200);
            stream.write_all(b"G").await.unwrap();
            closed(&mut stream).await;
        });
        futures_util::future::join_all(all).await;
        eventually("no connection left", || {
            server.metrics().http_connections.get() == 0
        })
        .await;
    }
}

#[actix_rt::test]
async fn an_idle_connection_is_kept_until_its_timeout() {
    let shipped = Config::default().server.http;
    assert!(
        shipped.keepalive_timeout > Duration::from_secs(60),
        "balancers keep idle connections for 60 s"
    );
    let (_server, addresses) = node(&QUICK, false).await;
    let all = addresses.iter().map(async |address| {
        let start = Instant::now();
        let (_, mut stream) = exchange(address, PLAIN).await;
        closed(&mut stream).await;
        assert!(start.elapsed() >= Duration::from_secs(5));
    });
    futures_util::future::join_all(all).await;
}

#[actix_rt::test]
async fn a_stalled_body_closes_its_connection_while_the_session_lives() {
    for tls in [false, true] {
        let mut settings = PATIENT;
        settings[1].1 = "300ms";
        let (server, addresses) = node(&settings, tls).await;
        // The session uses a websocket now: its pongs would keep the session, and so the POST, forever.
        let mut client = server.polling().await;
        client.connect().await;
        let mut websocket = WebsocketClient::upgraded(&server.address(), &client.sid).await;
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n4");
        let mut stream = dial(&addresses[0], false).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        closed(&mut stream).await;
        websocket.quiet().await;
    }
}

#[actix_rt::test]
async fn unread_responses_close_their_connection() {
    for tls in [false, true] {
        let mut settings = PATIENT;
        settings[2].1 = "300ms";
        let (server, addresses) = node(&settings, tls).await;
        for address in &addresses {
            let mut stream = dial(address, true).await;
            let requests = PLAIN.repeat(1_000);
            // Responses fill the socket until the node reads no more requests, and after its deadline no bytes.
            let flooding = async { while stream.write_all(&requests).await.is_ok() {} };
            within_deadline("the end of the connection", flooding).await;
        }
        eventually("no connection left", || {
            server.metrics().http_connections.get() == 0
        })
        .await;
    }
}

#[actix_rt::test]
async fn a_response_that_is_read_slowly_is_complete() {
    let mut settings = PATIENT;
    settings[2].1 = "4s";
    settings[3].1 = "4s";
    let (_server, addresses) = node(&settings, false).await;
    let mut stream = dial(&addresses[0], true).await;
    let requests = PLAIN.repeat(1_500);
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let reading = async {
        let mut seen = Vec::new();
        let start = Instant::now();
        while seen.windows(3).filter(|window| window == b"ok\n").count() < 1_500 {
            let mut piece = [0; 2048];
            let length = reader.read(&mut piece).await.unwrap();
            assert!(length > 0, "cut off after {:?}", start.elapsed());
            seen.extend_from_slice(&piece[..length]);
            // In total longer than each deadline.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        start.elapsed()
    };
    let (sent, took) = tokio::join!(writer.write_all(&requests), reading);
    sent.unwrap();
    assert!(took > Duration::from_secs(4), "{took:?}");
}

/// A connection from this address of the loopback network.
async fn from(local: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

#[actix_rt::test]
async fn http_connections_of_one_address_are_limited() {
    for tls in [false, true] {
        let mut settings = PATIENT.to_vec();
        settings.push(("LIMITS__HTTP_CONNECTIONS_PER_IP", "5"));
        let (server, addresses) = node(&settings, tls).await;
        let address = host(&addresses[0]);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(from("127.0.0.1", address).await);
        }
        let counted = &server.metrics().http_connections;
        eventually("five connections", || counted.get() == 5).await;
        for _ in 0..20 {
            closed(&mut from("127.0.0.1", address).await).await;
        }
        let rejected = &server.metrics().limit_rejected_total;
        assert_eq!(rejected.of(LimitRejection::HttpConnectionsPerIp).get(), 20);
        // Other addresses are not affected.
        let mut other = from("127.0.0.2", address).await;
        eventually("another address", || counted.get() == 6).await;
        if !tls {
            other.write_all(PLAIN).await.unwrap();
            let response =
                within_deadline("an answer", Response::read(&mut other, &mut Vec::new())).await;
            assert_eq!(response.status, 200);
        }
        held.pop();
        eventually("a place", || counted.get() == 5).await;
        // A websocket no longer counts as an HTTP connection.
        let websocket = server.member().await;
        eventually("the place of a websocket", || counted.get() == 5).await;
        drop((held, other, websocket));
        eventually("none", || counted.get() == 0).await;
    }
}

#[actix_rt::test]
async fn connections_of_a_trusted_proxy_are_not_limited() {
    let settings = [
        ("LIMITS__HTTP_CONNECTIONS_PER_IP", "2"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let server = TestServer::with(&settings).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let counted = &server.metrics().http_connections;
    eventually("all of them", || counted.get() == 20).await;
}

#[actix_rt::test]
async fn one_address_cannot_fill_the_internal_listener() {
    let (_server, addresses) = node(&PATIENT, false).await;
    let internal = &addresses[1];
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(from("127.0.0.1", internal).await);
    }
    let deadline = Instant::now() + DEADLINE;
    let mut other = from("127.0.0.2", internal).await;
    other.write_all(PLAIN).await.unwrap();
    let response = within_deadline("an answer", Response::read(&mut other, &mut Vec::new())).await;
    assert_eq!(response.status, 200);
    assert!(Instant::now() < deadline);
}
