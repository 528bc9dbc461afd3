//! Requests that a balancer hands to any node: they find the node that owns the session.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::support::cluster::{BusPublisher, room};
use crate::support::http::Response;
use crate::support::log::close_reason;
use crate::support::tls::{self, Files};
use crate::support::{Frame, TestCluster, WebsocketClient, filler, within_deadline};
use roomwire::bus::memory::Faults;
use roomwire::model::Command;

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);

#[actix_rt::test]
async fn a_session_whose_every_request_goes_to_the_wrong_node() {
    every_request_goes_to_the_wrong_node(&TestCluster::start().await).await;
}

#[actix_rt::test]
async fn the_same_over_tls() {
    let files = Files::good();
    every_request_goes_to_the_wrong_node(&TestCluster::with(&files.settings()).await).await;
    websocket_lands_on_another_node(&TestCluster::with(&files.settings()).await).await;
}

async fn every_request_goes_to_the_wrong_node(cluster: &TestCluster<3>) {
    let [owner, second, third] = &cluster.nodes;
    let mut other = second.member().await;
    for round in 0..4 {
        let mut client = owner.polling().await;
        client.turn_to(&[second, third][round % 2].address());
        client.connect().await;
        client.join("r").await;
        client
            .send("421[\"roomwire:join\",\"s\"]\u{1e}422[\"roomwire:leave\",\"s\"]")
            .await;
        assert!(client.next().await.starts_with("431"));
        assert!(client.next().await.starts_with("432"));
        // A poll that waits, and one that finds something.
        let event = format!(r#""n",{round}"#);
        let (answer, ()) = tokio::join!(client.get(), other.emit("r", &event));
        assert_eq!(answer.text(), format!("42[{event}]"));
        client.send("451-[\"roomwire:emit\",\"r\",\"mine\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI=").await;
        other
            .send(r#"451-["roomwire:emit","r","x",{"_placeholder":true,"num":0}]"#)
            .await;
        other.send_binary(&[7]).await;
        client
            .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
            .await;
        client.expect("bBw==").await;
        client.send("1").await;
        assert_eq!(client.get().await.summary(), UNKNOWN);
    }
    owner.sessions(0).await;
    let forwarded = second.metrics().forwarded_total.get() + third.metrics().forwarded_total.get();
    assert!(forwarded > 40, "{forwarded}");
    assert_eq!(owner.metrics().forwarded_total.get(), 0);
}

#[actix_rt::test]
async fn a_websocket_that_lands_on_another_node_carries_everything_both_ways() {
    websocket_lands_on_another_node(&TestCluster::start().await).await;
}

async fn websocket_lands_on_another_node(cluster: &TestCluster<2>) {
    let [owner, edge] = &cluster.nodes;
    let mut other = edge.member().await;
    let mut client = owner.polling().await;
    let socket = client.connect().await;
    client.join("r").await;
    other.join("r").await;
    let mut websocket = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
    let (poll, ()) = tokio::join!(client.get(), async {
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
    });
    assert_eq!(poll.text(), "6");
    websocket.send("5").await;
    websocket.quiet().await;
    assert_eq!(edge.metrics().forwarded_websockets.get(), 1);
    for length in [0, 1, 1_000, 300_000] {
        let content = vec![length as u8; length];
        websocket
            .send(r#"451-["roomwire:emit","r","up",{"_placeholder":true,"num":0}]"#)
            .await;
        websocket.send_binary(&content).await;
        other
            .expect(r#"451-["up",{"_placeholder":true,"num":0}]"#)
            .await;
        other.expect_binary(&content).await;
        other
            .send(&format!(
                r#"451-["roomwire:emit","{socket}","down",{{"_placeholder":true,"num":0}}]"#
            ))
            .await;
        other.send_binary(&content).await;
        websocket
            .expect(r#"451-["down",{"_placeholder":true,"num":0}]"#)
            .await;
        websocket.expect_binary(&content).await;
    }
    websocket.send_frame(0x89, b"ping").await;
    assert_eq!(websocket.frame().await, Frame::Pong(b"ping".to_vec()));
    websocket.send("1").await;
    websocket.rest().await;
    owner.sessions(0).await;
    crate::support::eventually("the websocket is given up", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn nothing_is_lost_or_overtaken_by_a_forwarded_upgrade() {
    const COUNT: usize = 600;
    let cluster = TestCluster::<2>::start().await;
    let delay = (Duration::ZERO, Duration::from_millis(2));
    cluster.faults(Faults {
        delay,
        ..Faults::default()
    });
    let [owner, edge] = &cluster.nodes;
    let mut sender = owner.member().await;
    let mut client = owner.polling().await;
    client.turn_to(&edge.address());
    client.connect().await;
    client.join("r").await;
    let sending = async {
        for number in 0..COUNT {
            sender.emit("r", &format!(r#""n",{number}"#)).await;
            tokio::task::yield_now().await;
        }
    };
    let receiving = async {
        let mut seen = Vec::new();
        while seen.len() < 50 {
            note(&client.next().await, &mut seen);
        }
        let mut websocket = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
        client
            .take_fetched()
            .iter()
            .for_each(|packet| note(packet, &mut seen));
        client
            .get()
            .await
            .text()
            .split('\u{1e}')
            .for_each(|packet| note(packet, &mut seen));
        websocket.send("5").await;
        while seen.len() < COUNT {
            note(&websocket.text().await, &mut seen);
        }
        websocket.quiet().await;
        seen
    };
    let ((), seen) =
        within_deadline("all events", async { tokio::join!(sending, receiving) }).await;
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
}

fn note(packet: &str, seen: &mut Vec<usize>) {
    match packet.strip_prefix(r#"42["n","#) {
        Some(number) => seen.push(number.trim_end_matches(']').parse().unwrap()),
        None => assert_eq!(packet, "6"),
    }
}

#[actix_rt::test]
async fn what_ends_the_session_ends_its_websocket_elsewhere() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut client = owner.polling().await;
    let socket = client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    publisher.publish(&Command::Disconnect {
        selector: room(&socket),
        close: true,
    });
    websocket.expect("41").await;
    let rest = websocket.rest().await;
    assert!(matches!(rest[..], [] | [Frame::Close(..)]), "{rest:?}");
    owner.sessions(0).await;

    let mut client = owner.polling().await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    drop(websocket);
    owner.sessions(0).await;
}

#[actix_rt::test]
async fn what_waits_for_a_websocket_elsewhere_fits_a_small_bus() {
    let settings = [
        ("ENGINE__MAX_PAYLOAD", "8KiB"),
        ("BUS__MESSAGE_LIMIT", "24KiB"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut other = owner.member().await;
    let text = filler(6_000);
    for _ in 0..20 {
        other.emit("r", &format!(r#""n","{text}""#)).await;
    }
    other.quiet().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    for _ in 0..20 {
        websocket.expect(&format!(r#"42["n","{text}"]"#)).await;
    }
    websocket.quiet().await;
}

#[actix_rt::test]
async fn heartbeat_and_limits_hold_across_nodes() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "200ms"),
        ("ENGINE__PING_TIMEOUT", "5s"),
        ("ENGINE__MAX_PAYLOAD", "10kB"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    for _ in 0..4 {
        assert_eq!(websocket.frame().await, Frame::Text("2".into()));
        websocket.send("3").await;
    }
    websocket
        .send(&format!(r#"42["{}"]"#, filler(10_000)))
        .await;
    let last = loop {
        match websocket.frame().await {
            Frame::Text(ping) if ping == "2" => websocket.send("3").await,
            other => break other,
        }
    };
    assert_eq!(
        last,
        Frame::Close(
            Some(1009),
            "message too large: see maxPayload of the handshake".into()
        )
    );
    owner.sessions(0).await;
}

#[actix_rt::test]
async fn a_forwarded_probe_that_gives_up_leaves_the_session_alone() {
    let cluster = TestCluster::<2>::with(&[("ENGINE__UPGRADE_TIMEOUT", "100ms")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    let mut probe = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
    probe.send("2probe").await;
    probe.expect("3probe").await;
    let mut second = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
    assert!(
        matches!(second.rest().await[..], [Frame::Close(..)]),
        "one probe at a time"
    );
    assert!(
        matches!(probe.rest().await[..], [Frame::Close(..)]),
        "too late for the 5"
    );
    client.turn_to(&edge.address());
    client.join("r").await;
    // The owner hears of the failure over the bus.
    let mut websocket = within_deadline("a new attempt", async {
        loop {
            let mut websocket = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
            websocket.send("2probe").await;
            if websocket.frame().await == Frame::Text("3probe".into()) {
                break websocket;
            }
        }
    })
    .await;
    websocket.send("5").await;
    websocket.quiet().await;
}

#[actix_rt::test]
async fn ids_of_nobody_are_unknown_at_once() {
    let cluster = TestCluster::<2>::with(&[("BUS__FORWARD_TIMEOUT", "60s")]).await;
    let [first, second] = &cluster.nodes;
    let start = Instant::now();
    let ids = [
        format!("{}AAAAAAAAAAAAAAAA", second.node()),
        "AAAAAAAAAAAAAAAAAAAA".to_owned(),
    ];
    for id in &ids {
        let mut client = first.polling().await;
        client.sid = id.clone();
        assert_eq!(client.get().await.summary(), UNKNOWN, "{id}");
        assert_eq!(client.post("40").await.summary(), UNKNOWN, "{id}");
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={id}");
        let refused = WebsocketClient::handshake(&first.address(), &target, &[], false)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.summary(), (400, "Session ID unknown"), "{id}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[actix_rt::test]
async fn sessions_of_a_node_that_died_or_was_cut_off_are_unknown() {
    let cluster = TestCluster::<3>::start().await;
    let [owner, edge, _] = &cluster.nodes;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = owner.polling().await;
        client.turn_to(&edge.address());
        client.connect().await;
        clients.push(client);
    }
    let carried = owner.polling().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &carried.sid).await;
    // One poll waits while it happens.
    let (waiting, ()) = tokio::join!(clients[0].get(), async {
        websocket.send("40").await;
        websocket.text().await;
        cluster.cut(0);
    });
    assert_eq!(waiting.summary(), UNKNOWN);
    assert_eq!(clients[1].get().await.summary(), UNKNOWN);
    assert_eq!(clients[1].post("41").await.summary(), UNKNOWN);
    websocket.rest().await;
    assert_eq!(edge.metrics().forwarded_websockets.get(), 0);
}

#[actix_rt::test]
async fn pending_requests_of_a_node_end_when_it_dies() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = owner.polling().await;
        client.connect().await;
        clients.push(client);
    }
    let [carried, polling, posting, probing] = &mut clients[..] else {
        unreachable!()
    };
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &carried.sid).await;
    websocket.quiet().await;
    let mut probe = WebsocketClient::upgrading(&edge.address(), &probing.sid).await;
    probe.send("2probe").await;
    probe.expect("3probe").await;
    let mut post = tls::dial(&edge.address(), false).await;
    let head = post_head(&posting.sid);
    post.write_all(format!("{head}4").as_bytes()).await.unwrap();
    polling.turn_to(&edge.address());
    // The owner has heard of the poll once the forwarded requests are counted and a later one is answered.
    let (poll, ()) = tokio::join!(polling.get(), async {
        crate::support::eventually("the forwarded requests", || {
            edge.metrics().forwarded_total.get() >= 4
        })
        .await;
        websocket.quiet().await;
        cluster.cut(1);
    });
    assert_eq!(poll.summary(), UNKNOWN);
    assert_eq!(close_reason(&carried.sid).await, "transport close");
    assert_eq!(close_reason(&polling.sid).await, "transport error");
    assert_eq!(close_reason(&posting.sid).await, "transport error");
    let mut websocket = within_deadline("a new upgrade", async {
        loop {
            let mut websocket = WebsocketClient::upgrading(&owner.address(), &probing.sid).await;
            websocket.send("2probe").await;
            if websocket.frame().await == Frame::Text("3probe".into()) {
                break websocket;
            }
        }
    })
    .await;
    websocket.send("5").await;
    websocket.quiet().await;
}

fn post_head(sid: &str) -> String {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
    )
}

#[actix_rt::test]
async fn no_body_is_read_for_a_session_that_does_not_exist() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    for node in [owner.node(), "AAAA".to_owned()] {
        let sid = format!("{node}AAAAAAAAAAAAAAAA");
        let mut stream = tls::dial(&edge.address(), false).await;
        stream.write_all(post_head(&sid).as_bytes()).await.unwrap();
        let answer = within_deadline(
            "an answer to the head alone",
            Response::read(&mut stream, &mut Vec::new()),
        )
        .await;
        assert_eq!(answer.summary(), UNKNOWN, "{sid}");
    }
}

#[actix_rt::test]
async fn a_client_that_gives_up_a_poll_on_the_wrong_node_has_left() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.turn_to(&edge.address());
    client.connect().await;
    let sid = client.sid.clone();
    let given_up = tokio::time::timeout(Duration::from_millis(100), client.get()).await;
    assert!(given_up.is_err());
    assert_eq!(close_reason(&sid).await, "transport error");
    assert_eq!(client.get().await.summary(), UNKNOWN);
}

#[actix_rt::test]
async fn an_owner_that_stays_silent_is_not_waited_for_for_ever() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "300ms"),
        ("BUS__FORWARD_TIMEOUT", "300ms"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.turn_to(&edge.address());
    cluster.silence(0);
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
    let refused = WebsocketClient::handshake(&edge.address(), &target, &[], false)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.summary(), (400, "Session ID unknown"));
    assert_eq!(client.get().await.summary(), UNKNOWN);
    assert_eq!(client.post("40").await.summary(), UNKNOWN);
}
