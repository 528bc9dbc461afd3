//! Outages: the bus is down or loses messages, or a node leaves it.

use std::sync::Arc;

use roomwire::bus::link::{Channel, Link, LinkEvent};
use roomwire::bus::memory::{Faults, Hub};
use roomwire::metrics::labels::BusDrop;
use roomwire::server::BusHandles;
use roomwire::store::MemoryStore;

use crate::support::cluster::{BusPublisher, published};
use crate::support::server::config;
use crate::support::slow_link::SlowLink;
use crate::support::{Frame, TestCluster, TestServer, eventually, within_deadline};

#[actix_rt::test]
async fn a_disconnected_node_serves_its_own_clients_and_reconnects() {
    let cluster = TestCluster::<2>::start().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b, mut local) = (
        first.member().await,
        second.member().await,
        second.member().await,
    );
    a.join("r").await;
    b.join("r").await;
    cluster.cut(1);
    assert_eq!(second.readyz("bus: degraded").await, 200);
    assert_eq!(second.metrics().bus_disconnects_total.get(), 1);
    let joined = local.join("new room").await;
    assert_eq!(joined["degraded"], true, "{joined}");
    b.join("new room").await;
    local.emit("new room", r#""among us""#).await;
    b.expect(r#"42["among us"]"#).await;
    let emitted = local.ask(r#"["roomwire:emit","new room","acked"]"#).await;
    assert_eq!(emitted, r#"[{"degraded":true,"ok":true}]"#);
    b.expect(r#"42["acked"]"#).await;
    // What the disconnected node publishes is queued; what the other node publishes is missed.
    local.emit("r", r#""sent while away""#).await;
    b.expect(r#"42["sent while away"]"#).await;
    a.emit("r", r#""missed""#).await;
    published(first, 1).await;
    cluster.heal(1);
    assert_eq!(second.readyz("bus: up").await, 200);
    let gaps = [first, second].map(|node| node.metrics().bus_gap_seconds.count());
    assert_eq!(gaps, [0, 1], "the node that was away counts the gap");
    a.expect(r#"42["sent while away"]"#).await;
    a.emit("r", r#""back""#).await;
    b.expect(r#"42["back"]"#).await;
    // Rooms joined during the outage are subscribed, too.
    a.emit("new room", r#""from afar""#).await;
    local.expect(r#"42["from afar"]"#).await;
    b.expect(r#"42["from afar"]"#).await;
    assert_eq!(local.join("after").await.get("degraded"), None);
    let emitted = local.ask(r#"["roomwire:emit","r","acked"]"#).await;
    assert_eq!(emitted, r#"[{"ok":true}]"#);
}

#[actix_rt::test]
async fn the_spool_holds_each_message_once_with_two_dialects() {
    let cluster = TestCluster::<2>::with(&[("BUS__PYTHON", "on")]).await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    a.join("r").await;
    let (python, mut events) = cluster.hub.join();
    python.subscribe(vec![Channel::from("socketio")]);
    cluster.cut(1);
    assert_eq!(second.readyz("bus: degraded").await, 200);
    // 800 messages of 1 kB take 0.9 MiB of the spool of 1 MiB. A second copy for python-socketio would exceed it.
    let text = "x".repeat(1000);
    for number in 0..800 {
        b.emit("r", &format!(r#""sent",{number},"{text}""#)).await;
    }
    b.quiet().await;
    // Each event is published in both dialects.
    published(second, 1600).await;
    cluster.heal(1);
    for number in 0..800 {
        a.expect(&format!(r#"42["sent",{number},"{text}"]"#)).await;
    }
    assert_eq!(
        second.metrics().bus_dropped_total.of(BusDrop::Spool).get(),
        0
    );
    let mut received = 0;
    while received < 800 {
        let event = within_deadline("a message for python-socketio processes", events.next()).await;
        if let Some(LinkEvent::Message { payload, .. }) = event {
            let text = String::from_utf8(payload.to_vec()).unwrap();
            assert!(
                text.contains(&format!(r#""sent","data":[{received},"#)),
                "{text}"
            );
            received += 1;
        }
    }
}

#[actix_rt::test]
async fn pending_joins_complete_as_degraded_when_the_bus_goes_down() {
    let hub = Hub::default();
    let (link, events) = hub.join();
    let member = link.member();
    let slow = SlowLink::new(link);
    let handles = BusHandles::new(
        Arc::clone(&slow) as _,
        events,
        Arc::new(MemoryStore::default()),
    );
    let server = TestServer::configured(
        config(&[
            ("BUS__REQUIRED", "true"),
            ("BUS__REDIS_URL", "redis://unused"),
        ]),
        Some(handles),
    )
    .await;
    server.readyz("bus: up").await;
    let mut client = server.member().await;
    slow.hold();
    client.send(r#"420["roomwire:join","r"]"#).await;
    eventually("the subscription", || slow.pending_subscriptions() == 1).await;
    hub.cut(member);
    let response = client.text().await;
    assert!(
        response.starts_with("430[{") && response.contains(r#""degraded":true"#),
        "{response}"
    );
    assert_eq!(server.readyz("bus: degraded").await, 503, "bus.required");
}

#[actix_rt::test]
async fn a_deaf_node_is_not_ready() {
    let cluster = TestCluster::<2>::start().await;
    cluster.deafen(1, true);
    assert_eq!(cluster.nodes[1].readyz("bus: deaf").await, 503);
    assert_eq!(cluster.nodes[0].readyz("bus: up").await, 200);
    assert_eq!(
        cluster.nodes[1].metrics().bus_deaf_detections_total.get(),
        1
    );
    cluster.deafen(1, false);
    assert_eq!(cluster.nodes[1].readyz("bus: up").await, 200);
}

#[actix_rt::test]
async fn lost_messages_do_not_affect_the_order_of_the_others() {
    let cluster = TestCluster::<2>::start().await;
    let (mut a, mut b) = (
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    );
    b.join("r").await;
    cluster.faults(Faults {
        lose: 0.5,
        ..Faults::default()
    });
    for number in 0..200 {
        a.emit("r", &format!(r#""n",{number}"#)).await;
    }
    published(&cluster.nodes[0], 200).await;
    cluster.faults(Faults::default());
    a.emit("r", r#""n",200"#).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        let text = b.text().await;
        seen.push(
            text.strip_prefix(r#"42["n","#)
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap()
                .parse::<u32>()
                .unwrap(),
        );
    }
    assert!(
        seen.is_sorted() && (50..150).contains(&seen.len()),
        "{} of 200",
        seen.len()
    );
}

#[actix_rt::test]
async fn a_stopped_node_leaves_no_subscriptions() {
    let TestCluster {
        hub,
        nodes: [first, second],
        ..
    } = TestCluster::<2>::start().await;
    let publisher = BusPublisher::join(&hub);
    let mut a = first.member().await;
    let mut b = second.member().await;
    a.join("r").await;
    b.join("r").await;
    b.join("b alone").await;
    let node = second.node();
    assert_eq!(
        (
            publisher.subscribers("r").await,
            publisher.subscribers("b alone").await
        ),
        (2, 1)
    );
    assert_eq!(publisher.subscribers_of_node(&node).await, 1);
    second.server.stop().await;
    assert!(matches!(b.rest().await[..], [Frame::Close(..)]));
    within_deadline("the node is off the bus", async {
        while publisher.subscribers_of_node(&node).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        (
            publisher.subscribers("r").await,
            publisher.subscribers("b alone").await
        ),
        (1, 0)
    );
    a.emit("b alone", r#""nobody""#).await;
    a.quiet().await;
}
