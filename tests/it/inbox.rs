//! Events that wait for the app or for their rate: back-pressure on the client, and its limits.

use std::time::{Duration, Instant};

use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, eventually, filler};
use roomwire::metrics::labels::LimitRejection;

/// Sends one `roomwire:ask` more than a socket may have pending, so that its next events wait for the ack of the last
/// one. Returns the ack id of the last one at `b`; at `a` the id is 100. All are sent at once, because `a` must send a
/// pong soon.
async fn exceed_pending_asks(a: &mut WebsocketClient, b: &mut WebsocketClient) -> String {
    let to = b.socket.clone();
    for number in 0..=100 {
        a.send(&format!(r#"42{number}["roomwire:ask","{to}","q"]"#))
            .await;
    }
    let (mut id, mut received) = (String::new(), 0);
    while received <= 100 {
        let text = b.text().await;
        match text.strip_prefix("42") {
            Some(packet) => {
                packet.split('[').next().unwrap().clone_into(&mut id);
                received += 1;
            }
            None => b.send("3").await,
        }
    }
    id
}

#[actix_rt::test]
async fn a_client_whose_events_wait_for_the_app_is_not_read() {
    const EVENTS: usize = 300;
    let server = TestServer::with(&[("SOCKET__INBOX_LIMIT", "16KiB")]).await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    let id = exceed_pending_asks(&mut a, &mut b).await;
    // More than the server reads: some of it stays in the sockets until the response arrives.
    let filler = filler(8_000);
    let sending = async {
        for number in 0..EVENTS {
            a.emit(&to, &format!(r#""n",{number},"{filler}""#)).await;
        }
        a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    };
    let responding = async {
        b.quiet().await;
        b.send(&format!("43{id}[]")).await;
        for number in 0..EVENTS {
            let text = b.text().await;
            assert!(
                text.starts_with(&format!(r#"42["n",{number},"#)),
                "{text:.30}"
            );
        }
    };
    tokio::join!(sending, responding);
}

#[actix_rt::test]
async fn a_client_that_is_not_read_does_not_time_out() {
    let server = TestServer::with(&[
        ("SOCKET__INBOX_LIMIT", "16KiB"),
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "3s"),
    ])
    .await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    let id = exceed_pending_asks(&mut a, &mut b).await;
    // Too much to be read before the response arrives; the pong follows it.
    for number in 0..20 {
        a.emit(&to, &format!(r#""n",{number},"{}""#, filler(8_000)))
            .await;
    }
    assert_eq!(a.frame().await, Frame::Text("2".into()));
    a.send("3").await;
    // Twelve heartbeats of the other client take longer than a ping cycle of the first.
    for _ in 0..12 {
        assert_eq!(b.frame().await, Frame::Text("2".into()));
        b.send("3").await;
    }
    b.send(&format!("43{id}[]")).await;
    a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    a.quiet().await;
}

/// Twenty events per second, with a burst of one.
const PACED: [(&str, &str); 2] = [
    ("LIMITS__EVENTS_PER_SECOND", "20"),
    ("LIMITS__EVENTS_BURST", "1"),
];

/// The least time in which this many events pass at that rate.
fn least_time(events: u32) -> Duration {
    Duration::from_millis(50) * (events - 1)
}

#[actix_rt::test]
async fn events_of_a_websocket_pass_in_order_at_the_allowed_rate() {
    const EVENTS: u32 = 12;
    let server = TestServer::with(&PACED).await;
    let (mut a, mut b) = (server.websocket().await, server.websocket().await);
    let start = Instant::now();
    a.connect("/").await;
    // Each client has its own rate.
    b.connect("/").await;
    for number in 0..EVENTS {
        a.send(&format!(r#"42{number}["roomwire:join","r"]"#)).await;
    }
    for number in 0..EVENTS {
        let response = a.text().await;
        assert!(
            response.starts_with(&format!("43{number}[")) && response.contains(r#""ok":true"#),
            "{response}"
        );
    }
    // The CONNECT counts as the first event.
    assert!(
        start.elapsed() >= least_time(EVENTS + 1),
        "{:?}",
        start.elapsed()
    );
    assert!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Events)
            .get()
            >= 1
    );
}

#[actix_rt::test]
async fn the_response_to_a_large_post_waits_until_its_events_fit_the_inbox() {
    const EVENTS: u32 = 12;
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "1kB")]).await;
    let mut client = server.polling().await;
    let start = Instant::now();
    client.connect().await;
    let event = |number| format!(r#"42{number}["roomwire:join","{}"]"#, filler(250));
    let body: Vec<_> = (0..EVENTS).map(event).collect();
    client.send(&body.join("\u{1e}")).await;
    // At most four of them still wait.
    assert!(
        start.elapsed() >= least_time(EVENTS - 4),
        "{:?}",
        start.elapsed()
    );
    for number in 0..EVENTS {
        let response = client.next().await;
        assert!(response.starts_with(&format!("43{number}[")), "{response}");
    }
    assert!(
        start.elapsed() >= least_time(EVENTS + 1),
        "{:?}",
        start.elapsed()
    );
}

#[actix_rt::test]
async fn events_of_a_post_are_decoded_only_as_far_as_the_inbox_allows() {
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "1kB")]).await;
    let mut client = server.polling().await;
    client.connect().await;
    let body = vec![r#"42["roomwire:leave","r"]"#; 5_000].join("\u{1e}");
    let held = client.post(&body);
    let closing = async {
        let rejected = &server.metrics().limit_rejected_total;
        eventually("events wait", || {
            rejected.of(LimitRejection::Events).get() > 0
        })
        .await;
        // One POST at a time: the second one ends the session.
        assert_eq!(client.post("3").await.status, 400);
    };
    let (held, ()) = tokio::join!(held, closing);
    assert_eq!(held.status, 200);
    // The decoded events that waited: 1 kB, at more than 64 bytes each.
    let discarded = server.metrics().events_discarded_total.get();
    assert!((1..=16).contains(&discarded), "{discarded}");
}

#[actix_rt::test]
async fn a_websocket_on_another_node_closes_when_its_events_exceed_the_inbox() {
    let cluster =
        TestCluster::<2>::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "4kB")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    let start = Instant::now();
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    for number in 0..6 {
        websocket
            .send(&format!(r#"42{number}["roomwire:join","r"]"#))
            .await;
    }
    for number in 0..6 {
        let response = websocket.text().await;
        assert!(response.starts_with(&format!("43{number}[")), "{response}");
    }
    assert!(start.elapsed() >= least_time(7), "{:?}", start.elapsed());
    // Its node cannot stop reading it, and long ack ids count.
    for _ in 0..10 {
        websocket
            .send(&format!(r#"421{}["roomwire:join","r"]"#, "0".repeat(2_000)))
            .await;
    }
    let rest = websocket.rest().await;
    let sentence = "more events wait than socket.inbox_limit allows";
    assert_eq!(
        rest.last(),
        Some(&Frame::Close(Some(1008), sentence.into()))
    );
    assert_eq!(
        owner
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Inbox)
            .get(),
        1
    );
    assert!(owner.metrics().events_discarded_total.get() > 0);
}

#[actix_rt::test]
async fn connects_count_as_events() {
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__NAMESPACES", "*")]).await;
    let mut client = server.websocket().await;
    client.connect("/").await;
    client.send("40/b,").await;
    client
        .expect(r#"44/b,{"message":"Too many events","data":{"code":"too_many_events","key":"limits.events_per_second"}}"#)
        .await;
    // The connection continues.
    client.quiet().await;
}
