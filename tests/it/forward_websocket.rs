//! Websockets held by a node other than the owner of their session.

use std::time::Duration;

use crate::support::cluster::{BusPublisher, room};
use crate::support::http::Request;
use crate::support::tls::Files;
use crate::support::websocket::frame;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, filler, within_deadline};
use roomwire::bus::memory::Faults;
use roomwire::metrics::labels::{Disconnect, LimitRejection};
use roomwire::model::Command;

#[actix_rt::test]
async fn a_websocket_held_by_another_node_carries_messages_both_ways() {
    held_websocket_carries_messages(&TestCluster::start().await).await;
}

#[actix_rt::test]
async fn a_tls_websocket_held_by_another_node_carries_messages_both_ways() {
    let files = Files::good();
    held_websocket_carries_messages(&TestCluster::with(&files.settings()).await).await;
}

async fn held_websocket_carries_messages(cluster: &TestCluster<2>) {
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
    // More than may wait for the bridge, which reports each message as processed. No ack has this number.
    for _ in 0..20 {
        let ack = format!(r#"43999["{}"]"#, filler(500_000));
        websocket.send(&ack).await;
    }
    websocket.ask(r#"["roomwire:join","s"]"#).await;
    assert!(!edge.server.ingress().is_congested());
    websocket.send_frame(0x89, b"ping").await;
    assert_eq!(websocket.frame().await, Frame::Pong(b"ping".to_vec()));
    websocket.send("1").await;
    websocket.rest().await;
    owner.sessions(0).await;
    crate::support::eventually("the websocket is closed", || {
        edge.metrics().forwarded_websockets.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_forwarded_upgrade_loses_and_reorders_nothing() {
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
async fn a_session_and_its_websocket_on_another_node_end_together() {
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

    // A packet of revision 3, which is not an ignored packet of revision 4.
    let mut client = owner.polling().await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    websocket.quiet().await;
    websocket.send("6:4hello").await;
    let rest = websocket.rest().await;
    assert!(matches!(rest[..], [] | [Frame::Close(..)]), "{rest:?}");
    owner.sessions(0).await;
    let closed = &owner.metrics().disconnects_total;
    assert_eq!(closed.of(Disconnect::ParseError).get(), 1);
}

#[actix_rt::test]
async fn batches_for_a_websocket_on_another_node_respect_the_message_limit_of_the_bus() {
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
async fn heartbeat_and_payload_limit_apply_to_a_websocket_on_another_node() {
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

/// A control packet costs a worker next to nothing, but costs the bus a message.
#[actix_rt::test]
async fn a_flood_of_control_packets_closes_a_websocket_on_another_node() {
    let files = Files::good();
    let settings = [
        ("LIMITS__CONTROL_PACKETS_PER_SECOND", "20"),
        ("ENGINE__EIO3", "true"),
    ];
    let tls = [&settings[..], &files.settings()].concat();
    for settings in [&settings[..], &tls] {
        let cluster = TestCluster::<2>::with(settings).await;
        let [owner, edge] = &cluster.nodes;
        let rejected = |node: &TestServer| {
            let rejected = &node.metrics().limit_rejected_total;
            rejected.of(LimitRejection::ControlPackets).get()
        };
        for (count, (opcode, content)) in (1..).zip([
            (0x81, &b"3"[..]),
            (0x81, b"6"),
            (0x89, b"ping"),
            (0x8a, b"pong"),
        ]) {
            let mut client = owner.polling().await;
            client.connect().await;
            let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
            // The probe counts, too.
            for _ in 0..90 {
                websocket.send_frame(opcode, content).await;
                if opcode == 0x89 {
                    assert_eq!(websocket.frame().await, Frame::Pong(content.to_vec()));
                }
            }
            websocket.ask(r#"["roomwire:join","r"]"#).await;
            assert_eq!(rejected(edge), count - 1);
            let flood = [&frame(opcode, content)[..]; 200].concat();
            websocket.send_raw(&flood).await;
            let reason = "more control packets than limits.control_packets_per_second allows";
            let close = Frame::Close(Some(1008), reason.into());
            assert_eq!(websocket.rest().await.last(), Some(&close));
            assert_eq!((rejected(edge), rejected(owner)), (count, 0));
            owner.sessions(0).await;
        }
        // Before the upgrade: the polling session continues.
        let mut client = owner.polling().await;
        client.connect().await;
        let mut probe = WebsocketClient::upgrading(&edge.address(), &client.sid).await;
        probe
            .send_raw(&[&frame(0x81, b"2probe")[..]; 200].concat())
            .await;
        let last = probe.rest().await.pop();
        assert!(
            matches!(last, Some(Frame::Close(Some(1008), _))),
            "{last:?}"
        );
        client.join("r").await;
    }
}

#[actix_rt::test]
async fn a_client_of_revision_3_that_floods_another_node_with_pings_is_closed() {
    let settings = [
        ("LIMITS__CONTROL_PACKETS_PER_SECOND", "20"),
        ("ENGINE__EIO3", "true"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let polling = "/socket.io/?EIO=3&transport=polling";
    let open = owner.send(Request::get(polling)).await;
    let (_, json) = open.text().split_once(":0").unwrap();
    let (json, _) = json.split_once('}').unwrap();
    let sid = crate::support::field(&format!("{json}}}"), "sid");
    let target = format!("/socket.io/?EIO=3&transport=websocket&sid={sid}");
    let websocket = WebsocketClient::handshake(&edge.address(), &target, &[], false).await;
    let mut websocket = websocket.unwrap_or_else(|rejected| panic!("{rejected:?}"));
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    for _ in 0..5 {
        websocket.send("2").await;
        websocket.expect("3").await;
    }
    websocket
        .send_raw(&[&frame(0x81, b"2")[..]; 200].concat())
        .await;
    let last = websocket.rest().await.pop();
    assert!(
        matches!(last, Some(Frame::Close(Some(1008), _))),
        "{last:?}"
    );
    owner.sessions(0).await;
}

#[actix_rt::test]
async fn a_probe_with_broken_frames_is_closed_with_a_code_and_the_session_continues() {
    let cluster = TestCluster::<2>::with(&[("ENGINE__MAX_PAYLOAD", "1KB")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    let cases = [
        (frame(0xf1, b"2probe"), 1002, "reserved bits"),
        (frame(0x80, b"2probe"), 1002, "continuation"),
        (frame(0x81, b"2\xff"), 1007, "UTF-8"),
        (frame(0x81, &[b'2'; 1_001]), 1009, "message too large"),
    ];
    for node in [owner, edge] {
        for (frame, expected, sentence) in &cases {
            let (code, reason) = within_deadline("a probe", async {
                loop {
                    // The owner is notified over the bus that the one before has failed.
                    let mut probe = WebsocketClient::upgrading(&node.address(), &client.sid).await;
                    probe.send_raw(frame).await;
                    match &probe.rest().await[..] {
                        [Frame::Close(Some(code), reason)] => break (*code, reason.clone()),
                        rest => assert!(matches!(rest, [Frame::Close(None, _)]), "{rest:?}"),
                    }
                }
            })
            .await;
            assert_eq!(code, *expected);
            assert!(reason.contains(sentence), "{reason}");
        }
        let rejected = &node.metrics().limit_rejected_total;
        assert_eq!(rejected.of(LimitRejection::Payload).get(), 1);
    }
    client.join("r").await;
}

#[actix_rt::test]
async fn a_failed_forwarded_probe_does_not_change_the_session() {
    let cluster = TestCluster::<2>::with(&[("ENGINE__UPGRADE_TIMEOUT", "5s")]).await;
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
    // The owner is notified of the failure over the bus.
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
async fn a_session_can_upgrade_elsewhere_after_a_draining_node_rejected_its_websocket() {
    let settings = [("DRAIN__GRACE", "59m"), ("DRAIN__TIMEOUT", "1h")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let _holds_the_drain_up = edge.member().await;
    let mut client = owner.polling().await;
    client.connect().await;
    let upgrade = async {
        assert_eq!(edge.readyz("node: draining").await, 503);
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
        let rejected = WebsocketClient::handshake(&edge.address(), &target, &[], false).await;
        assert_eq!(rejected.err().unwrap().summary().0, 503);
        within_deadline("a new attempt", async {
            loop {
                let mut websocket = WebsocketClient::upgrading(&owner.address(), &client.sid).await;
                websocket.send("2probe").await;
                if websocket.frame().await == Frame::Text("3probe".into()) {
                    break;
                }
            }
        })
        .await;
    };
    tokio::select! {
        () = upgrade => {}
        _ = edge.server.drain() => panic!("the drain ended"),
    }
}
