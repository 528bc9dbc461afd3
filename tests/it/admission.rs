//! Which clients a node admits, and how it rejects the others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roomwire::metrics::labels::LimitRejection;

use crate::support::http::{Request, Response};
use crate::support::{DEADLINE, TestCluster, TestServer, WebsocketClient, eventually};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// The response to a polling handshake.
async fn handshake(server: &TestServer, headers: &[(&str, &str)]) -> Response {
    server.send(Request::get(POLLING).headers(headers)).await
}

/// The response to a websocket handshake that must be rejected.
async fn rejected_websocket(server: &TestServer, target: &str) -> Response {
    match WebsocketClient::handshake(&server.address(), target, &[], false).await {
        Err(response) => response,
        Ok(_) => panic!("a websocket was accepted"),
    }
}

/// Status, body and `Retry-After`.
fn summary(response: &Response) -> (u16, &str, Option<&str>) {
    (
        response.status,
        response.text(),
        response.header("retry-after"),
    )
}

#[actix_rt::test]
async fn a_full_node_rejects_clients_until_one_leaves() {
    let server = TestServer::with(&[("LIMITS__CONNECTIONS", "2")]).await;
    let websocket = server.member().await;
    let polling = server.polling().await;
    let body = r#"{"code":7,"message":"Too many connections","context":"limits.connections"}"#;
    assert_eq!(
        summary(&handshake(&server, &[]).await),
        (503, body, Some("5"))
    );
    let response = rejected_websocket(&server, WEBSOCKET).await;
    assert_eq!(summary(&response), (503, "Too many connections", Some("5")));
    let metrics = server.metrics();
    assert_eq!(
        metrics
            .limit_rejected_total
            .of(LimitRejection::Connections)
            .get(),
        2
    );
    assert_eq!(
        (metrics.connections.get(), metrics.connections_limit.get()),
        (2, 2)
    );
    // Admitted clients stay, also when they upgrade to a websocket; requests without a session are served.
    let mut upgraded = WebsocketClient::upgrading(&server.address(), &polling.sid).await;
    upgraded.send("2probe").await;
    upgraded.expect("3probe").await;
    assert_eq!(server.send(Request::get("/livez")).await.status, 200);
    drop(websocket);
    server.sessions(1).await;
    eventually("a place", || metrics.connections.get() == 1).await;
    server.member().await;
}

#[actix_rt::test]
async fn clients_are_limited_per_address_as_reported_by_trusted_proxies() {
    let server = TestServer::with(&[
        ("LIMITS__CONNECTIONS_PER_IP", "1"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let body = r#"{"code":8,"message":"Too many connections from this address","context":"limits.connections_per_ip"}"#;
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    assert_eq!(handshake(&server, &from("203.0.113.7")).await.status, 200);
    // The entry of the client itself does not count: that of the proxy is the last one.
    let claimed = from("198.51.100.1, 203.0.113.7");
    assert_eq!(
        summary(&handshake(&server, &claimed).await),
        (429, body, Some("5"))
    );
    assert_eq!(handshake(&server, &from("203.0.113.8")).await.status, 200);
    // A /64 counts as one address.
    assert_eq!(handshake(&server, &from("2001:db8::1")).await.status, 200);
    assert_eq!(handshake(&server, &from("2001:db8::2")).await.status, 429);
    assert_eq!(
        handshake(&server, &from("2001:db8:0:1::1")).await.status,
        200
    );
    let headers = from("203.0.113.7");
    let websocket = WebsocketClient::handshake(&server.address(), WEBSOCKET, &headers, false).await;
    let response = websocket.err().unwrap();
    assert_eq!(
        summary(&response),
        (429, "Too many connections from this address", Some("5"))
    );
    assert_eq!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::ConnectionsPerIp)
            .get(),
        3
    );
}

#[actix_rt::test]
async fn by_default_a_loopback_address_is_not_limited() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(server.websocket().await);
    }
    assert_eq!(server.metrics().connections.get(), 200);
    assert_eq!(server.metrics().requests_rejected_total.get(), 0);
}

#[actix_rt::test]
async fn handshakes_are_limited_by_their_rates() {
    let cases = [
        (
            [
                ("LIMITS__HANDSHAKES_PER_SECOND", "5"),
                ("LIMITS__HANDSHAKES_BURST", "2"),
            ],
            (
                503,
                r#"{"code":9,"message":"Too many handshakes","context":"limits.handshakes_per_second"}"#,
                Some("1"),
            ),
        ),
        (
            [
                ("LIMITS__HANDSHAKES_PER_SECOND_PER_IP", "5"),
                ("LIMITS__HANDSHAKES_BURST_PER_IP", "2"),
            ],
            (
                429,
                r#"{"code":10,"message":"Too many handshakes from this address","context":"limits.handshakes_per_second_per_ip"}"#,
                Some("1"),
            ),
        ),
    ];
    for (settings, expected) in cases {
        let server = TestServer::with(&settings).await;
        let start = Instant::now();
        let mut admitted = 0;
        let mut rejections = 0;
        let deadline = start + DEADLINE;
        while admitted < 6 || rejections == 0 {
            assert!(Instant::now() < deadline, "{admitted} {rejections}");
            let response = handshake(&server, &[]).await;
            if response.status == 200 {
                admitted += 1;
            } else {
                assert_eq!(summary(&response), expected);
                rejections += 1;
            }
        }
        // Two at once, and then at most one every 200 ms.
        let least = Duration::from_millis(200) * (admitted - 2);
        assert!(
            start.elapsed() >= least,
            "{admitted} in {:?}",
            start.elapsed()
        );
        let metrics = server.metrics();
        let counted = metrics
            .limit_rejected_total
            .of(LimitRejection::Handshakes)
            .get()
            + metrics
                .limit_rejected_total
                .of(LimitRejection::HandshakesPerIp)
                .get();
        assert_eq!(counted, rejections);
    }
}

#[actix_rt::test]
async fn a_websocket_held_for_another_node_is_counted() {
    let cluster = TestCluster::<2>::with(&[("LIMITS__CONNECTIONS", "1")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    let target = format!("{WEBSOCKET}&sid={}", client.sid);
    let own = edge.member().await;
    assert_eq!(
        summary(&rejected_websocket(edge, &target).await),
        (503, "Too many connections", Some("5"))
    );
    // The polling session continues, and can try again.
    client.join("r").await;
    drop(own);
    eventually("a place", || edge.metrics().connections.get() == 0).await;
    let mut websocket = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
    assert_eq!(handshake(edge, &[]).await.status, 503);
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.quiet().await;
    drop(websocket);
    eventually("both places free", || {
        [owner, edge].map(|node| node.metrics().connections.get()) == [0, 0]
    })
    .await;
}

#[actix_rt::test]
async fn limits_change_while_the_node_runs() {
    let server = TestServer::start().await;
    let mut stays = server.member().await;
    let mut limits = crate::support::server::config(&[]).limits;
    limits.connections = Some(1);
    server.server.limits().replace(&limits);
    assert_eq!(handshake(&server, &[]).await.status, 503);
    stays.quiet().await;
    limits.connections = None;
    server.server.limits().replace(&limits);
    assert_eq!(handshake(&server, &[]).await.status, 200);
}

#[actix_rt::test]
async fn http_connections_are_counted_while_they_are_open() {
    let server = TestServer::start().await;
    let metrics = server.metrics();
    let idle_connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    eventually("a connection without any bytes", || {
        metrics.http_connections.get() == 1
    })
    .await;
    let websocket = server.member().await;
    eventually("no more than that", || metrics.http_connections.get() == 1).await;
    drop((idle_connection, websocket));
    eventually("none", || metrics.http_connections.get() == 0).await;
}

/// The built binary with a limit of open files, and its log.
struct Bounded {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Bounded {
    fn start(files: u32, environment: &[(&str, &str)]) -> (Self, String) {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {files}; exec \"$0\""))
            .arg(env!("CARGO_BIN_EXE_roomwire"))
            .env_clear()
            .env("ROOMWIRE_SERVER__BIND", "127.0.0.1:0")
            .env("ROOMWIRE_SERVER__WORKERS", "1")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut node = Self {
            child,
            log,
            address: String::new(),
        };
        let announced = node.line("connections");
        let listening = node.line("listening on http://");
        let address = listening.split("http://").nth(1).unwrap();
        node.address = address.split(' ').next().unwrap().to_owned();
        (node, announced)
    }

    fn line(&mut self, with: &str) -> String {
        let mut lines = self.log.by_ref().lines().map_while(Result::ok);
        lines
            .find(|line| line.contains(with))
            .unwrap_or_else(|| panic!("no line with {with}"))
    }

    /// Sends a websocket handshake without waiting for the response.
    fn send_handshake(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let head = format!(
            "GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[test]
fn open_files_limit_the_connections_and_the_log_states_how_many() {
    // With one worker, 64 + 8 descriptors and an eighth of the rest are reserved.
    let (node, announced) = Bounded::start(160, &[]);
    assert!(
        announced.contains("at most 68 connections, by the limit of 160 open files"),
        "{announced}"
    );
    let mut clients: Vec<_> = (0..68).map(|_| node.send_handshake()).collect();
    for client in &mut clients {
        assert_eq!(status(client), "101");
    }
    for _ in 0..40 {
        assert_eq!(status(&mut node.send_handshake()), "503");
    }
}

#[test]
fn a_node_without_descriptors_logs_it_and_recovers() {
    let (mut node, announced) = Bounded::start(100, &[("ROOMWIRE_LIMITS__CONNECTIONS", "1000")]);
    assert!(
        announced.contains("limits.connections=1000 is more than 100 open files allow"),
        "{announced}"
    );
    let clients: Vec<_> = (0..120).map(|_| node.send_handshake()).collect();
    node.line("no file descriptor is left");
    drop(clients);
    assert_eq!(status(&mut node.send_handshake()), "101");
}
