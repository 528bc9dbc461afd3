//! A client that does not read: it costs a bounded amount, harms nobody else, and does not live for ever.

use std::time::{Duration, Instant};

use roomwire::metrics::labels::SlowPolicy;

use crate::support::cluster::{Voice, room};
use crate::support::log::close_reason;
use crate::support::tls::Files;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, eventually, filler};

/// Small buffers everywhere, so that little fills them.
const SMALL: [(&str, &str); 2] = [
    ("SOCKET__SEND_BUFFER", "16KiB"),
    ("SOCKET__OUTBOX_LIMIT", "64KiB"),
];

/// A member of `r` that will not read.
async fn deaf_member(address: &str) -> WebsocketClient {
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
async fn past_the_limit_it_is_closed_and_the_others_hear_everything() {
    closed_past_the_limit(&TestServer::with(&SMALL).await).await;
}

#[actix_rt::test]
async fn the_same_over_tls() {
    let files = Files::good();
    let settings = [&SMALL[..], &files.settings()[..]].concat();
    closed_past_the_limit(&TestServer::with(&settings).await).await;
}

async fn closed_past_the_limit(server: &TestServer) {
    const EVENTS: usize = 200;
    let mut slow = deaf_member(&server.address()).await;
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
    // What it had been sent before is whole and in order.
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
async fn within_the_limit_its_timers_still_fire() {
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "600ms"),
    ];
    let server = TestServer::with(&settings).await;
    let opened = Instant::now();
    let slow = deaf_member(&server.address()).await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    // Far more than the kernel takes on both sides: the server's socket is blocked.
    for number in 0..800 {
        sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
    }
    drop(sender);
    let sid = slow.sid();
    assert_eq!(close_reason(&sid).await, "ping timeout");
    let lived = opened.elapsed();
    assert!(
        lived >= Duration::from_millis(900) && lived < Duration::from_secs(10),
        "{lived:?}"
    );
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
async fn one_that_reads_again_in_time_has_lost_nothing() {
    let settings = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
    ];
    let server = TestServer::with(&settings).await;
    let mut slow = deaf_member(&server.address()).await;
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
async fn volatile_events_are_dropped_for_it_and_its_session_lives() {
    // What one batch holds may wait whole, so the limit is that of the shipped configuration.
    let cluster = TestCluster::<1>::with(&[("SOCKET__SEND_BUFFER", "16KiB")]).await;
    let [server] = &cluster.nodes;
    let voice = Voice::join(&cluster.hub);
    let mut slow = deaf_member(&server.address()).await;
    let text = filler(8_000);
    let mut said = 0;
    while server
        .metrics()
        .slow_consumers_total
        .of(SlowPolicy::VolatileDropped)
        .get()
        < 20
    {
        voice.emit(room("r"), &format!(r#"["n",{said},"{text}"]"#), true);
        said += 1;
        tokio::task::yield_now().await;
        assert!(said < 5_000, "the socket never filled");
    }
    assert_eq!(
        server
            .metrics()
            .slow_consumers_total
            .of(SlowPolicy::Closed)
            .get(),
        0
    );
    voice.emit(room("r"), r#"["end"]"#, false);
    let mut seen = Vec::new();
    loop {
        let text = slow.text().await;
        if text == r#"42["end"]"# {
            break;
        }
        seen.push(number(&text));
    }
    assert!(
        seen.is_sorted() && seen.len() < said,
        "{} of {said}",
        seen.len()
    );
    slow.quiet().await;
}

#[actix_rt::test]
async fn a_polling_client_that_never_polls_is_closed_past_the_limit() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut sender = server.member().await;
    let text = filler(8_000);
    for number in 0..20 {
        sender.emit("r", &format!(r#""n",{number},"{text}""#)).await;
    }
    eventually("the end of the slow one", || {
        let closed = server.metrics().slow_consumers_total.of(SlowPolicy::Closed);
        closed.get() == 1
    })
    .await;
    assert_eq!(client.get().await.summary(), (200, "1"));
    assert_eq!(close_reason(&client.sid).await, "slow consumer");
    assert_eq!(client.get().await.status, 400);
    sender.quiet().await;
}

#[actix_rt::test]
async fn the_limit_holds_for_a_websocket_on_another_node() {
    let cluster = TestCluster::<2>::with(&SMALL).await;
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
        assert!(start.elapsed() < Duration::from_secs(20), "it never filled");
    }
    assert_eq!(close_reason(&client.sid).await, "slow consumer");
    eventually("the websocket is given up", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_websocket_on_another_node_that_takes_nothing_is_given_up() {
    let settings = [
        ("SOCKET__OUTBOX_LIMIT", "64MiB"),
        ("ENGINE__PING_INTERVAL", "1s"),
        ("ENGINE__PING_TIMEOUT", "1s"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    let voice = Voice::join(&cluster.hub);
    let text = filler(100_000);
    // More than the kernel takes on both sides, so that the edge waits for its socket.
    for number in 0..150 {
        voice.emit(room("r"), &format!(r#"["n",{number},"{text}"]"#), false);
    }
    assert_eq!(close_reason(&client.sid).await, "ping timeout");
    eventually("the websocket is given up", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
    drop(websocket);
}
