//! Clients that do not read: their memory is bounded, other clients are not affected, and their sessions end.

use std::time::{Duration, Instant};

use roomwire::metrics::labels::SlowPolicy;

use crate::support::cluster::{BusPublisher, room};
use crate::support::log::close_reason;
use crate::support::tls::Files;
use crate::support::{
    DEADLINE, Frame, TestCluster, TestServer, WebsocketClient, eventually, filler,
};

/// Small buffers, so that little data fills them, and a short timeout.
const SMALL: [(&str, &str); 3] = [
    ("SOCKET__SEND_BUFFER", "16KiB"),
    ("SOCKET__OUTBOX_LIMIT", "64KiB"),
    ("SOCKET__SLOW_TIMEOUT", "500ms"),
];

/// A low hard limit, so that the timeout does not matter.
const HARD: [(&str, &str); 5] = [
    ("SOCKET__SEND_BUFFER", "16KiB"),
    ("SOCKET__OUTBOX_LIMIT", "64KiB"),
    ("SOCKET__OUTBOX_HARD_LIMIT", "300KiB"),
    ("ENGINE__MAX_PAYLOAD", "200KiB"),
    ("SOCKET__SLOW_TIMEOUT", "1h"),
];

/// A member of `r` that does not read until the test reads from it.
async fn nonreading_member(address: &str) -> WebsocketClient {
    let mut client = WebsocketClient::open_small(address).await;
    client.connect("/").await;
    client.join("r").await;
    client
}

fn number(text: &str) -> usize {
    let number = text
        .strip_prefix(r#"42["n","#)
        .and_then(|rest| rest.split(',').next());
    number
        .unwrap_or_else(|| panic!("{text:.40}"))
        .parse()
        .unwrap()
}

#[actix_rt::test]
async fn a_slow_client_without_progress_is_closed_and_the_others_receive_all_events() {
    assert_slow_client_is_closed(&TestServer::with(&SMALL).await).await;
}

#[actix_rt::test]
async fn a_slow_client_above_the_hard_limit_is_closed_and_the_others_receive_all_events() {
    assert_slow_client_is_closed(&TestServer::with(&HARD).await).await;
}

#[actix_rt::test]
async fn a_slow_client_that_makes_progress_receives_all_events() {
    const EVENTS: usize = 200;
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64KiB"),
        ("SOCKET__SLOW_TIMEOUT", "6s"),
    ];
    let server = TestServer::with(&settings).await;
    let mut slow = nonreading_member(&server.address()).await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    let sending = async {
        for number in 0..EVENTS {
            sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
        }
        sender.quiet().await;
    };
    let started = Instant::now();
    // From the start: a client that does not read while the others send has no time left on a slow machine.
    let reading = async {
        for expected in 0..EVENTS {
            assert_eq!(number(&slow.text().await), expected);
            tokio::time::sleep(Duration::from_millis(45)).await;
        }
    };
    tokio::join!(sending, reading);
    // Far longer than the timeout of a client without progress.
    assert!(started.elapsed() > Duration::from_secs(8));
    slow.quiet().await;
}

/// Publishes the largest burst that is documented to be delivered: 20 messages of 300 kB, 1 500 of 1 kB, one of 2 MB.
fn burst(publisher: &BusPublisher) -> Vec<String> {
    let sizes = [vec![300_000; 20], vec![1_000; 1_500], vec![2_000_000]].concat();
    let events = sizes.into_iter().enumerate();
    let events = events.map(|(n, size)| format!(r#"["n",{n},"{}"]"#, filler(size)));
    events
        .inspect(|event| publisher.emit(room("r"), event, false))
        .collect()
}

#[actix_rt::test]
async fn a_burst_from_the_bus_reaches_a_reading_client_over_every_transport() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut websocket = owner.member().await;
    websocket.join("r").await;
    let mut polling = owner.polling().await;
    polling.connect().await;
    polling.join("r").await;
    let mut elsewhere = owner.polling().await;
    elsewhere.connect().await;
    elsewhere.join("r").await;
    let mut elsewhere = WebsocketClient::upgraded(&edge.address(), &elsewhere.sid).await;
    elsewhere.quiet().await;
    publisher.await_subscribers(1, "r").await;
    let events = burst(&publisher);
    for event in &events {
        let packet = format!("42{event}");
        for text in [
            websocket.text().await,
            elsewhere.text().await,
            polling.next().await,
        ] {
            assert!(text == packet, "{text:.40} instead of {packet:.40}");
        }
    }
    let closed = owner.metrics().slow_consumers_total.of(SlowPolicy::Closed);
    assert_eq!(closed.get(), 0);
}

#[actix_rt::test]
async fn above_outbox_memory_the_session_with_the_largest_queue_is_closed() {
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "100KiB"),
        ("SOCKET__OUTBOX_HARD_LIMIT", "4MiB"),
        ("SOCKET__SLOW_TIMEOUT", "1h"),
        ("ENGINE__MAX_PAYLOAD", "100kB"),
        ("LIMITS__OUTBOX_MEMORY", "4MiB"),
    ];
    let server = TestServer::with(&settings).await;
    let mut clients = Vec::new();
    for name in ["most", "less"] {
        let mut client = WebsocketClient::open_small(&server.address()).await;
        client.connect("/").await;
        client.join(name).await;
        clients.push(client);
    }
    let [most, mut less] = clients.try_into().ok().unwrap();
    let mut sender = server.member().await;
    let text = filler(8_000);
    let evicted = || {
        let policies = &server.metrics().slow_consumers_total;
        policies.of(SlowPolicy::Evicted).get()
    };
    for round in 0..450 {
        sender.emit("most", &format!(r#""n","{text}""#)).await;
        if round % 3 == 0 {
            sender
                .emit("less", &format!(r#""n",{},"{text}""#, round / 3))
                .await;
        }
    }
    sender.quiet().await;
    eventually("one is closed", || evicted() == 1).await;
    assert_eq!(close_reason(&most.sid()).await, "slow consumer");
    for expected in 0..150 {
        assert_eq!(number(&less.text().await), expected);
    }
    less.quiet().await;
    assert_eq!(evicted(), 1);
}

#[actix_rt::test]
async fn a_slow_client_over_tls_is_closed_and_the_others_receive_all_events() {
    let files = Files::good();
    let settings = [&SMALL[..], &files.settings()[..]].concat();
    assert_slow_client_is_closed(&TestServer::with(&settings).await).await;
}

async fn assert_slow_client_is_closed(server: &TestServer) {
    const EVENTS: usize = 200;
    let mut slow = nonreading_member(&server.address()).await;
    let mut reader = server.member().await;
    reader.join("r").await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    for expected in 0..EVENTS {
        sender
            .emit("r", &format!(r#""n",{expected},"{text}""#))
            .await;
        assert_eq!(number(&reader.text().await), expected);
    }
    assert_eq!(close_reason(&slow.sid()).await, "slow consumer");
    assert_eq!(
        server
            .metrics()
            .slow_consumers_total
            .of(SlowPolicy::Closed)
            .get(),
        1
    );
    server.sessions(2).await;
    // What was sent before is complete and in order.
    let mut seen = Vec::new();
    for frame in slow.rest().await {
        match frame {
            Frame::Text(text) => seen.push(number(&text)),
            Frame::Close(code, _) => assert_eq!(code, Some(1008)),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.len() < EVENTS, "{}", seen.len());
    assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>());
    reader.quiet().await;
}

#[actix_rt::test]
async fn a_client_below_the_limit_that_does_not_read_ends_by_ping_timeout() {
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "8s"),
    ];
    let server = TestServer::with(&settings).await;
    let opened = Instant::now();
    let slow = nonreading_member(&server.address()).await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    // Far more than the kernel buffers on both sides: the server's socket is blocked.
    for number in 0..800 {
        sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
        if number % 20 == 0 {
            // It responds to its pings meanwhile.
            sender.quiet().await;
        }
    }
    drop(sender);
    let sid = slow.sid();
    assert_eq!(close_reason(&sid).await, "ping timeout");
    let lived = opened.elapsed();
    assert!(lived >= Duration::from_millis(8300), "{lived:?}");
    server.sessions(0).await;
    assert_eq!(
        server
            .metrics()
            .slow_consumers_total
            .of(SlowPolicy::Closed)
            .get(),
        0
    );
    drop(slow);
}

#[actix_rt::test]
async fn a_client_that_reads_again_in_time_receives_all_events() {
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
    ];
    let server = TestServer::with(&settings).await;
    let mut slow = nonreading_member(&server.address()).await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    for number in 0..500 {
        sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
    }
    sender.quiet().await;
    for expected in 0..500 {
        assert_eq!(number(&slow.text().await), expected);
    }
    slow.quiet().await;
}

#[actix_rt::test]
async fn volatile_events_are_dropped_for_a_slow_client_whose_session_continues() {
    // One batch may be queued as a whole, so the limit is the default one.
    let cluster = TestCluster::<1>::with(&[("SOCKET__SEND_BUFFER", "16KiB")]).await;
    let [server] = &cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut slow = nonreading_member(&server.address()).await;
    let text = filler(8_000);
    let mut sent = 0;
    while server
        .metrics()
        .slow_consumers_total
        .of(SlowPolicy::VolatileDropped)
        .get()
        < 20
    {
        publisher.emit(room("r"), &format!(r#"["n",{sent},"{text}"]"#), true);
        sent += 1;
        tokio::task::yield_now().await;
        assert!(sent < 5_000, "the socket did not fill");
    }
    assert_eq!(
        server
            .metrics()
            .slow_consumers_total
            .of(SlowPolicy::Closed)
            .get(),
        0
    );
    publisher.emit(room("r"), r#"["end"]"#, false);
    let mut seen = Vec::new();
    loop {
        let text = slow.text().await;
        if text == r#"42["end"]"# {
            break;
        }
        seen.push(number(&text));
    }
    assert!(
        seen.is_sorted() && seen.len() < sent,
        "{} of {sent}",
        seen.len()
    );
    slow.quiet().await;
}

#[actix_rt::test]
async fn a_polling_client_that_stops_polling_is_closed_and_notified() {
    for settings in [&SMALL[..], &HARD[..]] {
        assert_slow_polling_client_is_closed(&TestServer::with(settings).await).await;
    }
}

async fn assert_slow_polling_client_is_closed(server: &TestServer) {
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    for number in 0..60 {
        sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
    }
    let policies = &server.metrics().slow_consumers_total;
    eventually("the session is closed", || {
        policies.of(SlowPolicy::Closed).get() == 1
    })
    .await;
    // The client receives the close packet, and the session is gone then.
    assert_eq!(client.get().await.summary(), (200, "1"));
    assert_eq!(close_reason(&client.sid).await, "slow consumer");
    assert_eq!(client.get().await.status, 400);
    sender.quiet().await;
}

#[actix_rt::test]
async fn the_limit_holds_for_a_websocket_on_another_node() {
    let cluster = TestCluster::<2>::with(&HARD).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    let mut sender = owner.member().await;
    let text = filler(100_000);
    let start = Instant::now();
    while owner
        .metrics()
        .slow_consumers_total
        .of(SlowPolicy::Closed)
        .get()
        == 0
    {
        sender.emit("r", &format!(r#""n","{text}""#)).await;
        assert!(
            start.elapsed() < DEADLINE,
            "the queue never reached the limit"
        );
    }
    assert_eq!(close_reason(&client.sid).await, "slow consumer");
    eventually("the websocket is closed", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_websocket_on_another_node_that_does_not_read_ends_by_ping_timeout() {
    let settings = [
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
        ("ENGINE__PING_INTERVAL", "1s"),
        ("ENGINE__PING_TIMEOUT", "6s"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let text = filler(100_000);
    // More than the kernel buffers on both sides, so that the node with the socket waits for it.
    for number in 0..150 {
        publisher.emit(room("r"), &format!(r#"["n",{number},"{text}"]"#), false);
    }
    // The node with the socket waits for it for one ping cycle, too: either of them may be first.
    let reason = close_reason(&client.sid).await;
    assert!(
        ["ping timeout", "transport close"].contains(&&*reason),
        "{reason}"
    );
    eventually("the websocket is closed", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
    drop(websocket);
}
