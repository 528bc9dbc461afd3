//! Draining by signal and by `roomwire drain`, with the built binary.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::http::Request;
use crate::support::process::{Node, free_address, run, text};
use crate::support::redis::RedisServer;
use crate::support::{DEADLINE, Frame, PollingClient, WebsocketClient};

/// Settings with which a drain takes an hour.
const SLOW_DRAIN: [(&str, &str); 2] = [
    ("ROOMWIRE_DRAIN__TIMEOUT", "2h"),
    ("ROOMWIRE_DRAIN__GRACE", "1h"),
];

#[test]
fn a_stopped_node_exits_with_0_in_every_order_of_its_threads() {
    // The ends of the workers race with the exit of the process, so this takes many workers and many runs.
    let environment = [("ROOMWIRE_SERVER__WORKERS", "16")];
    for _ in 0..12 {
        let mut node = Node::start(&environment);
        node.line("listening on http://");
        node.signal("TERM");
        let lines = node.lines_until("stopped node=");
        assert_eq!(node.exit_code(), Some(0), "{lines:#?}");
    }
}

#[actix_rt::test]
async fn a_second_signal_ends_a_drain_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        let mut node = Node::start(&SLOW_DRAIN);
        let address = node.address("listening on http://");
        let mut client = WebsocketClient::open(&address).await;
        client.connect("/").await;
        node.signal(first);
        node.line(&format!("shutting down: received SIG{first}"));
        node.line("draining node=");
        // Existing sessions are still served.
        client.quiet().await;
        node.signal(second);
        node.line(&format!("received a second signal, SIG{second}"));
        assert_eq!(node.exit_code(), Some(3));
    }
}

#[actix_rt::test]
async fn a_second_signal_also_ends_the_shutdown_after_a_drain() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let url = redis.url();
    let mut node = Node::start(&[("ROOMWIRE_BUS__REDIS_URL", &url)]);
    node.start_line("redis is connected");
    node.start_line("listening on http://");
    // The lease on the node's name cannot be released.
    let () = redis.query(&["CLIENT", "PAUSE", "60000", "ALL"]);
    node.signal("TERM");
    node.line("drained node=");
    node.signal("TERM");
    node.line("received a second signal, SIGTERM");
    assert_eq!(node.exit_code(), Some(3));
}

/// The values of the metrics of a node, by series.
async fn series(internal: &str) -> BTreeMap<String, i64> {
    let response = Request::get("/metrics").send(internal).await;
    let lines = response.text().lines();
    let values = lines.filter_map(|line| line.rsplit_once(' '));
    values
        .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
        .collect()
}

#[actix_rt::test]
async fn a_drained_node_has_released_the_resources_of_its_clients() {
    const CLIENTS: usize = 40;
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let url = redis.url();
    let mut node = Node::start(&[
        ("ROOMWIRE_BUS__REDIS_URL", &url),
        ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0"),
        ("ROOMWIRE_DRAIN__GRACE", "0s"),
        // The drain must wait for the client that polls late.
        ("ROOMWIRE_DRAIN__ACK_TIMEOUT", "1m"),
        ("ROOMWIRE_DRAIN__TIMEOUT", "2m"),
    ]);
    let internal = node.address("internal listener on http://");
    node.start_line("redis is connected");
    let address = node.address("listening on http://");
    // After a first client the workers run and have allocated what they need. A drain waits for a polling client that has
    // polled at least once.
    let mut late = PollingClient::open(&address).await;
    late.connect().await;
    let before = series(&internal).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = WebsocketClient::open(&address).await;
        client.connect("/").await;
        client.join(&format!("room-{number}")).await;
        clients.push(client);
    }
    let channels: Vec<String> = redis.query(&["PUBSUB", "CHANNELS"]);
    assert!(channels.len() > CLIENTS, "{channels:?}");
    let full = series(&internal).await;
    let files = |values: &BTreeMap<String, i64>| values["process_open_fds"];
    // Earlier connections may have ended, but not that many.
    assert!(files(&full) > files(&before) + CLIENTS as i64 / 2);

    node.signal("TERM");
    for mut client in clients {
        client.rest().await;
    }
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = series(&internal).await;
        // The late client may still have a connection, and its close packet is queued.
        let is_clean = files(&now) <= files(&before) + 2
            && now["roomwire_drain_sessions_left"] == 1
            && now["roomwire_sockets"] == 0
            && now["roomwire_rooms"] == 0
            && now["roomwire_send_queue_bytes"] < 100
            && now["roomwire_bus_subscriptions"] == 0;
        if is_clean {
            break;
        }
        assert!(Instant::now() < deadline, "{now:#?}");
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }
    late.get().await;
    node.line("stopped node=");
    assert_eq!(node.exit_code(), Some(0));
    let channels: Vec<String> = redis.query(&["PUBSUB", "CHANNELS"]);
    let keys: Vec<String> = redis.query(&["KEYS", "*"]);
    assert_eq!((channels, keys), Default::default());
}

#[actix_rt::test]
async fn a_signal_starts_a_drain_and_the_log_shows_its_progress() {
    let environment = [
        ("ROOMWIRE_DRAIN__TIMEOUT", "8s"),
        ("ROOMWIRE_DRAIN__GRACE", "2s"),
    ];
    let mut node = Node::start(&environment);
    let address = node.address("listening on http://");
    let mut client = WebsocketClient::open(&address).await;
    client.connect("/").await;
    node.signal("TERM");
    let start = node.line("draining node=");
    assert!(
        start.contains(" left=1 ") && start.contains("grace=2s"),
        "{start}"
    );
    node.line("draining left=1 ");
    assert_eq!(client.rest().await, [Frame::Close(None, String::new())]);
    node.line("drained node=");
    node.line("stopped node=");
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn a_signal_ends_a_start_that_waits_for_redis() {
    // The kernel accepts connections, and nothing responds on them.
    let unresponsive = TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = format!("redis://{}", unresponsive.local_addr().unwrap());
    let environment = [
        ("ROOMWIRE_BUS__REDIS_URL", redis.as_str()),
        ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0"),
    ];
    let mut node = Node::start(&environment);
    node.line("internal listener on");
    node.signal("TERM");
    node.line("shut down by SIGTERM during startup");
    assert_eq!(node.exit_code(), Some(0));
}

#[actix_rt::test]
async fn roomwire_drain_wait_returns_when_the_node_has_exited() {
    let internal = free_address();
    let environment = [
        ("ROOMWIRE_SERVER__INTERNAL_BIND", internal.as_str()),
        ("ROOMWIRE_DRAIN__GRACE", "0s"),
    ];
    let mut node = Node::start(&environment);
    let address = node.address("listening on http://");
    assert_eq!(Request::get("/livez").send(&address).await.status, 200);
    let done = actix_rt::task::spawn_blocking(move || {
        let environment = [("ROOMWIRE_SERVER__INTERNAL_BIND", internal.as_str())];
        let done = run(&["drain", "--wait"], &environment);
        let again = run(&["drain"], &environment);
        (done, again)
    });
    node.line("shutting down: received POST /drain");
    let (done, again) = done.await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stdout).starts_with("exited after "), "{done:?}");
    assert_eq!(node.exit_code(), Some(0));
    assert_eq!(again.status.code(), Some(1), "no node is running");
}

#[test]
fn roomwire_drain_requires_the_internal_listener() {
    let output = run(&["drain"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("server.internal_bind is not set"));
}
