//! Notices: what clients and rooms did, received by a real HTTP server that fails, stalls, dies and returns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRequest};
use roomwire::bus::memory::Hub;
use roomwire::config::Config;
use roomwire::metrics::labels::NoticeResult;
use roomwire::model::Identity;
use roomwire::server::Extensions;
use roomwire::store::Store;
use serde_json::Value;
use tokio::time::sleep;

use crate::support::receiver::{Manner, Receiver, SECRET, summary};
use crate::support::server::config;
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually};

/// The user is the header `x-user`.
struct HeaderUser;

impl ConnectGate for HeaderUser {
    fn headers(&self) -> &[&'static str] {
        &["x-user"]
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(match request.handshake.header("x-user") {
            Some(user) => Decision::Allow(
                Identity {
                    user: user.to_owned(),
                    ..Identity::default()
                }
                .into(),
            ),
            None => Decision::Pass,
        })
    }
}

fn with_users() -> Extensions {
    Extensions {
        gates: vec![Arc::new(|| Box::new(HeaderUser))],
    }
}

/// A node's configuration with this receiver. Failures are tried again soon.
fn noticing(receiver: &Receiver, settings: &[(&str, &str)]) -> Config {
    let url = receiver.url();
    let usual = [
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__TIMEOUT", "5s"),
        ("WEBHOOK__BREAKER_FAILURES", "1000"),
        ("WEBHOOK__NOTICES__URL", &url),
        ("WEBHOOK__NOTICES__DEBOUNCE", "0s"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "5ms"),
        ("WEBHOOK__NOTICES__PAUSE", "20ms"),
        ("WEBHOOK__NOTICES__MAX_PAUSE", "50ms"),
    ];
    let settings: Vec<_> = usual.into_iter().chain(settings.iter().copied()).collect();
    config(&settings)
}

async fn node(receiver: &Receiver, settings: &[(&str, &str)]) -> TestServer {
    TestServer::extended(noticing(receiver, settings), None, with_users()).await
}

async fn user(node: &TestServer, name: &str) -> WebsocketClient {
    let mut client = WebsocketClient::open_with(&node.address(), &[("X-User", name)]).await;
    client.connect("/").await;
    client
}

fn count(node: &TestServer, result: NoticeResult) -> u64 {
    node.metrics().webhook_notices_total.of(result).get()
}

fn summaries(notices: &[Value], names: &[&str]) -> Vec<String> {
    notices
        .iter()
        .map(|notice| summary(notice, names))
        .collect()
}

/// Every notice has an id of its own.
fn assert_unique(notices: &[Value]) {
    let ids: BTreeSet<_> = notices
        .iter()
        .map(|notice| notice["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), notices.len(), "{notices:?}");
}

#[actix_rt::test]
async fn the_life_of_a_socket_is_received_in_order_and_signed() {
    let receiver = Receiver::start().await;
    let settings = [
        ("WEBHOOK__NOTICES__EVENTS", "greet-*"),
        ("WEBHOOK__NOTICES__ROOMS", "r*"),
    ];
    let node = node(&receiver, &settings).await;
    let mut client = user(&node, "anna").await;
    client.join("room").await;
    client.join("other").await;
    client.send(r#"42["greet-all",1,{"a":"b"}]"#).await;
    client.send(r#"42["silent"]"#).await;
    client.send("41").await;
    let notices = receiver.receive(7).await;
    let rooms = |kind: &str| kind.starts_with("room_");
    let (of_rooms, of_socket): (Vec<_>, Vec<_>) = notices
        .iter()
        .cloned()
        .partition(|notice| rooms(notice["type"].as_str().unwrap()));
    assert_eq!(
        summaries(&of_socket, &["user", "room", "event", "reason"]),
        [
            "connected anna",
            "joined anna room",
            "event anna greet-all",
            "left anna room",
            "disconnected anna client namespace disconnect",
        ]
    );
    assert_eq!(
        summaries(&of_rooms, &["namespace", "room"]),
        ["room_occupied / room", "room_vacated / room"]
    );
    let sockets: BTreeSet<_> = of_socket
        .iter()
        .map(|n| n["data"]["socket"].to_string())
        .collect();
    assert_eq!(sockets.len(), 1);
    assert_eq!(
        of_socket[2]["data"]["args"],
        serde_json::json!([1, {"a": "b"}])
    );
    assert_unique(&notices);
    for (id, body) in receiver.requests() {
        assert_eq!(
            (body["id"].as_str(), body["type"].as_str()),
            (Some(&*id), Some("notices"))
        );
        assert_eq!(body["node"], node.node());
    }
    eventually("the counts", || count(&node, NoticeResult::Delivered) == 7).await;
    assert_eq!(node.metrics().webhook_notices_queued.get(), 0);
    assert_eq!(node.metrics().webhook_notice_queue_bytes.get(), 0);
}

#[actix_rt::test]
async fn a_user_who_is_back_in_time_and_a_room_that_is_left_and_joined_cause_no_notice() {
    let receiver = Receiver::start().await;
    let settings = [
        // Enough for a client on a machine that stalls to come back.
        ("WEBHOOK__NOTICES__DEBOUNCE", "5s"),
        ("WEBHOOK__NOTICES__ROOMS", "r"),
    ];
    let node = node(&receiver, &settings).await;
    let mut anna = user(&node, "anna").await;
    anna.join("r").await;
    let mut names = vec!["user", "room"];
    let sorted = |notices: &[Value], names: &[&str]| {
        let mut found = summaries(notices, names);
        found.sort();
        found
    };
    let before = ["connected anna", "joined anna r", "room_occupied r"];
    assert_eq!(sorted(&receiver.receive(3).await, &names), before);
    drop(anna);
    eventually("the end", || node.metrics().sessions.get() == 0).await;
    let mut anna = user(&node, "anna").await;
    anna.join("r").await;
    anna.send(r#"42["roomwire:leave","r"]"#).await;
    anna.join("r").await;
    eventually("the pairs", || count(&node, NoticeResult::Cancelled) == 6).await;
    sleep(Duration::from_millis(5500)).await;
    assert_eq!(receiver.notices().len(), 3, "{:?}", receiver.notices());
    drop(anna);
    let notices = receiver.receive(6).await;
    names.push("reason");
    let after = sorted(&notices[3..], &names);
    assert_eq!(
        after,
        [
            "disconnected anna transport close",
            "left anna r",
            "room_vacated r"
        ]
    );
}

#[actix_rt::test]
async fn a_receiver_that_fails_stalls_dies_and_returns_misses_nothing() {
    let mut receiver = Receiver::start().await;
    let node = node(
        &receiver,
        &[
            ("WEBHOOK__NOTICES__KINDS", "connected"),
            ("WEBHOOK__NOTICES__BATCH", "2"),
        ],
    )
    .await;
    let mut clients = Vec::new();
    let mut connect = 0;
    for step in 0..4 {
        match step {
            0 => receiver.behave(Manner::Status(500)),
            1 => receiver.behave(Manner::Stall),
            2 => receiver.stop().await,
            _ => receiver.behave(Manner::AcceptAndHangUp),
        }
        let attempts = receiver.attempts();
        for _ in 0..5 {
            clients.push(user(&node, &format!("user-{connect}")).await);
            connect += 1;
        }
        if step == 2 {
            sleep(Duration::from_millis(200)).await;
            receiver.behave(Manner::Accept);
            receiver.restart().await;
        } else {
            eventually("an attempt", || receiver.attempts() > attempts).await;
            receiver.behave(Manner::Accept);
        }
        eventually("delivery", || {
            count(&node, NoticeResult::Delivered) == connect
        })
        .await;
    }
    // A request whose response was lost is sent again, with the same id.
    let mut seen = BTreeSet::new();
    let mut users = Vec::new();
    let mut repeated = 0;
    for (id, body) in receiver.requests() {
        if !seen.insert(id) {
            repeated += 1;
            continue;
        }
        for notice in body["data"]["notices"].as_array().unwrap() {
            users.push(notice["data"]["user"].as_str().unwrap().to_owned());
        }
    }
    assert!(repeated > 0);
    let expected: Vec<String> = (0..20).map(|number| format!("user-{number}")).collect();
    assert_eq!(users, expected);
    assert!(node.metrics().webhook_notice_failures_total.get() >= 4);
    assert_eq!(count(&node, NoticeResult::Dropped), 0);
}

#[actix_rt::test]
async fn what_exceeds_the_queue_without_redis_is_counted_and_the_newest_stay() {
    let mut receiver = Receiver::start().await;
    let settings = [
        ("WEBHOOK__NOTICES__KINDS", "connected"),
        ("WEBHOOK__NOTICES__BATCH", "1"),
        ("WEBHOOK__NOTICES__QUEUE", "2KiB"),
    ];
    let node = node(&receiver, &settings).await;
    receiver.stop().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(user(&node, &format!("user-{number:02}")).await);
    }
    eventually("the overflow", || {
        let metrics = node.metrics();
        let queued = metrics.webhook_notices_queued.get() as u64;
        count(&node, NoticeResult::Dropped) + queued == 20
    })
    .await;
    let dropped = count(&node, NoticeResult::Dropped);
    assert!((5..18).contains(&dropped), "{dropped}");
    assert!(node.metrics().webhook_notice_queue_bytes.get() <= 2048 + 300);
    receiver.restart().await;
    let left = 20 - dropped as usize;
    let notices = receiver.receive(left).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.notices().len(), left);
    let users = summaries(&notices, &["user"]);
    // The first one was being sent all the time.
    assert_eq!(users[0], "connected user-00");
    let newest: Vec<String> = (21 - left..20)
        .map(|number| format!("connected user-{number:02}"))
        .collect();
    assert_eq!(users[1..], newest);
}

#[actix_rt::test]
async fn a_room_of_two_nodes_is_occupied_and_vacated_once() {
    let receiver = Receiver::start().await;
    let settings = [
        ("WEBHOOK__NOTICES__KINDS", "room_occupied,room_vacated"),
        ("WEBHOOK__NOTICES__DEBOUNCE", "300ms"),
    ];
    let config = noticing(&receiver, &settings);
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    for round in 1..=2 {
        let mut clients = Vec::new();
        for node in &cluster.nodes {
            for _ in 0..4 {
                let mut client = node.member().await;
                client.join("r").await;
                clients.push(client);
            }
        }
        let occupied = receiver.receive(2 * round - 1).await;
        assert_eq!(
            summaries(&occupied[2 * round - 2..], &["room"]),
            ["room_occupied r"]
        );
        // The members of one node leave, those of the other stay.
        clients.drain(..4);
        cluster.nodes[0].sessions(0).await;
        sleep(Duration::from_millis(600)).await;
        assert_eq!(receiver.notices().len(), 2 * round - 1);
        let mut back = cluster.nodes[0].member().await;
        back.join("r").await;
        // The last members of both nodes leave at the same time.
        drop((back, clients));
        let vacated = receiver.receive(2 * round).await;
        assert_eq!(
            summaries(&vacated[2 * round - 1..], &["room"]),
            ["room_vacated r"]
        );
    }
    sleep(Duration::from_millis(600)).await;
    assert_eq!(receiver.notices().len(), 4, "{:?}", receiver.notices());
    assert_unique(&receiver.notices());
    let claims = cluster.store.hash_scan("roomwire:0:notices:rooms").await;
    assert_eq!(claims, Ok(Vec::new()), "neither claims nor receipts stay");
}

#[actix_rt::test]
async fn the_rooms_of_a_node_that_is_gone_are_vacated_by_another() {
    let receiver = Receiver::start().await;
    let settings = [
        ("WEBHOOK__NOTICES__KINDS", "room_occupied,room_vacated"),
        ("WEBHOOK__NOTICES__DEBOUNCE", "100ms"),
    ];
    let config = noticing(&receiver, &settings);
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let [first, second] = &cluster.nodes;
    let (mut here, mut there) = (first.member().await, second.member().await);
    for client in [&mut here, &mut there] {
        client.join("both").await;
    }
    there.join("gone").await;
    receiver.receive(2).await;
    cluster.cut(1);
    let notices = receiver.receive(3).await;
    assert_eq!(summaries(&notices[2..], &["room"]), ["room_vacated gone"]);
    drop(here);
    let notices = receiver.receive(4).await;
    assert_eq!(summaries(&notices[3..], &["room"]), ["room_vacated both"]);
}

#[actix_rt::test]
async fn a_node_that_stops_sends_what_it_has_and_keeps_the_rest_as_dead_letters() {
    let mut receiver = Receiver::start().await;
    let settings = [
        ("WEBHOOK__NOTICES__DEBOUNCE", "30s"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "30s"),
        ("WEBHOOK__NOTICES__FLUSH_TIMEOUT", "5s"),
    ];
    let config = noticing(&receiver, &settings);
    let TestCluster {
        nodes: [first, second],
        store,
        ..
    } = TestCluster::<2>::configured(&config, Hub::default()).await;
    let mut client = first.member().await;
    client.join("r").await;
    // A room that is vacated before it was examined would cause no notice at all.
    let queued = || first.metrics().webhook_notices_queued.get();
    eventually("three notices", || queued() == 3).await;
    first.server.stop().await;
    let mut found = summaries(&receiver.notices(), &["room"]);
    found.sort();
    let expected = [
        "connected",
        "disconnected",
        "joined r",
        "left r",
        "room_occupied r",
        "room_vacated r",
    ];
    assert_eq!(found, expected);
    receiver.stop().await;
    let mut client = second.member().await;
    client.join("r").await;
    // A room that is vacated before it was examined would cause no notice at all.
    let queued = || second.metrics().webhook_notices_queued.get();
    eventually("three notices", || queued() == 3).await;
    let key = format!("{}:notices:dead", config.bus.channel_prefix);
    second.server.stop().await;
    let letters = store.log_read(&key, None, 100).await.unwrap();
    let bodies: Vec<Value> = letters
        .iter()
        .map(|letter| serde_json::from_slice(&letter.value).unwrap())
        .collect();
    let kept: Vec<Value> = bodies
        .iter()
        .flat_map(|body| body["data"]["notices"].as_array().unwrap().clone())
        .collect();
    let mut found = summaries(&kept, &["room"]);
    found.sort();
    assert_eq!(found, expected);
}
