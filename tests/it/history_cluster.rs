//! Rooms with a log on several nodes: one order, nothing twice, and what is lost is named.

use std::time::Duration;

use roomwire::bus::memory::{Faults, Hub};
use roomwire::history::{LogName, LogPage};
use roomwire::model::{Namespace, Room};
use roomwire::server::{BusHandles, Extensions};
use roomwire::store::MemoryStore;
use serde_json::{Value, json};

use crate::support::server::{config, config_with_file};
use crate::support::{TestCluster, TestServer, WebsocketClient, within_deadline};

const LOGGED: &str = "[[history.rooms]]\nrooms = \"log:*\"\nbroadcasts = true\nsockets = true";

async fn cluster<const N: usize>(settings: &str) -> TestCluster<N> {
    let config = config_with_file(&[], Some(settings));
    TestCluster::configured(&config, Hub::default()).await
}

async fn member(node: &TestServer, rooms: &[&str]) -> WebsocketClient {
    let mut member = node.member().await;
    for room in rooms {
        member.join(room).await;
    }
    member
}

/// The next event of a client.
async fn event(client: &mut WebsocketClient) -> Value {
    let event = client.text().await;
    serde_json::from_str(event.strip_prefix("42").unwrap()).unwrap()
}

/// The numbers of the events of a client up to the one with the number `last`.
async fn numbers(client: &mut WebsocketClient, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let event = event(client).await;
        assert_eq!(event[0], "n", "{event}");
        numbers.push(event[1].as_u64().unwrap());
    }
    numbers
}

async fn emit(client: &mut WebsocketClient, room: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        client.emit(room, &format!(r#""n",{number}"#)).await;
    }
}

/// Everything in the log of a room.
async fn log(node: &TestServer, room: &str) -> LogPage {
    let ingress = node.server.ingress();
    let name = LogName::of_room(Namespace::main(), Room::from(room));
    let page = ingress
        .history()
        .unwrap()
        .logs()
        .read(&name, 0, None, 10_000);
    within_deadline("the log", page).await.unwrap()
}

/// The numbers in the log of a room.
async fn logged_numbers(node: &TestServer, room: &str) -> Vec<u64> {
    let page = log(node, room).await;
    let number = |json: &str| -> Value { serde_json::from_str(json).unwrap() };
    let events = page.events.iter();
    events
        .map(|event| number(event.emit.payload.json())[1].as_u64().unwrap())
        .collect()
}

/// Waits until a number is the last one in the log of a room.
async fn last_is_logged(node: &TestServer, room: &str, number: u64) {
    within_deadline("the last event in the log", async {
        while logged_numbers(node, room).await.last() != Some(&number) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn all_nodes_receive_the_events_of_publishers_on_different_nodes_in_the_order_of_the_log() {
    const EVENTS: u64 = 100;
    let cluster = cluster::<3>(LOGGED).await;
    let mut members = Vec::new();
    for node in &cluster.nodes {
        for _ in 0..2 {
            members.push(member(node, &["log:a"]).await);
        }
    }
    let mut publishers = Vec::new();
    for node in &cluster.nodes {
        publishers.push(node.member().await);
    }
    for number in 0..EVENTS {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            let number = number * 3 + index as u64;
            emit(publisher, "log:a", number..=number).await;
        }
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut received = Vec::new();
        for _ in 0..3 * EVENTS {
            received.push(event(member).await[1].as_u64().unwrap());
        }
        member.quiet().await;
        orders.push(received);
    }
    let log = logged_numbers(&cluster.nodes[1], "log:a").await;
    assert_eq!(log.len() as u64, 3 * EVENTS);
    assert!(orders.iter().all(|order| *order == log));
    for node in &cluster.nodes {
        assert_eq!(node.metrics().room_log_entries_total.get(), EVENTS);
        assert_eq!(node.metrics().room_log_gaps_total.get(), 0);
    }
}

/// A publisher on the first node, and members of two rooms on both; the faults end before the last events.
async fn exactly_once_with(faults: Faults) {
    const EVENTS: u64 = 200;
    let cluster = cluster::<2>(LOGGED).await;
    let mut publisher = cluster.nodes[0].member().await;
    let mut members = Vec::new();
    for node in &cluster.nodes {
        for _ in 0..2 {
            members.push(member(node, &["log:a", "log:b"]).await);
        }
    }
    cluster.faults(faults);
    for number in 1..=EVENTS {
        let room = if number % 2 == 0 { "log:a" } else { "log:b" };
        emit(&mut publisher, room, number..=number).await;
    }
    publisher.quiet().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.faults(Faults::default());
    emit(&mut publisher, "log:a", EVENTS + 1..=EVENTS + 1).await;
    emit(&mut publisher, "log:b", EVENTS + 2..=EVENTS + 2).await;
    for member in &mut members {
        let mut received = [Vec::new(), Vec::new()];
        for _ in 1..=EVENTS + 2 {
            let number = event(member).await[1].as_u64().unwrap();
            let is_a = number % 2 == 0 && number <= EVENTS || number == EVENTS + 1;
            received[usize::from(is_a)].push(number);
        }
        member.quiet().await;
        for received in received {
            assert_eq!(received.len() as u64, EVENTS / 2 + 1);
            assert!(received.is_sorted(), "{received:?}");
        }
    }
}

#[actix_rt::test]
async fn events_that_the_bus_loses_are_read_from_the_log_and_delivered_once_and_in_order() {
    exactly_once_with(Faults {
        lose: 0.3,
        ..Faults::default()
    })
    .await;
}

#[actix_rt::test]
async fn events_that_the_bus_reorders_are_delivered_once_and_in_order() {
    exactly_once_with(Faults {
        delay: (Duration::ZERO, Duration::from_millis(20)),
        reorder: true,
        lose: 0.05,
    })
    .await;
}

#[actix_rt::test]
async fn a_node_that_was_deaf_delivers_what_it_missed() {
    let cluster = cluster::<2>(LOGGED).await;
    let mut publisher = cluster.nodes[0].member().await;
    let mut receiver = member(&cluster.nodes[1], &["log:a"]).await;
    emit(&mut publisher, "log:a", 1..=1).await;
    assert_eq!(numbers(&mut receiver, 1).await, [1]);
    cluster.deafen(1, true);
    emit(&mut publisher, "log:a", 2..=150).await;
    last_is_logged(&cluster.nodes[0], "log:a", 150).await;
    receiver.quiet().await;
    cluster.deafen(1, false);
    assert_eq!(
        numbers(&mut receiver, 150).await,
        (2..=150).collect::<Vec<_>>()
    );
    receiver.quiet().await;
}

#[actix_rt::test]
async fn nodes_that_were_cut_off_receive_each_other_in_the_order_of_the_log() {
    let cluster = cluster::<2>(LOGGED).await;
    let (mut a, mut b) = (
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    );
    let mut members = [
        member(&cluster.nodes[0], &["log:a"]).await,
        member(&cluster.nodes[1], &["log:a"]).await,
    ];
    emit(&mut a, "log:a", 1..=1).await;
    for member in &mut members {
        assert_eq!(numbers(member, 1).await, [1]);
    }
    cluster.cut(1);
    cluster.nodes[1].readyz("bus: degraded").await;
    emit(&mut b, "log:a", 100..=110).await;
    b.quiet().await;
    members[1].quiet().await;
    emit(&mut a, "log:a", 2..=20).await;
    assert_eq!(
        numbers(&mut members[0], 20).await,
        (2..=20).collect::<Vec<_>>()
    );
    cluster.heal(1);
    let (first, second): (Vec<_>, Vec<_>) = ((2..=20).collect(), (100..=110).collect());
    assert_eq!(numbers(&mut members[0], 110).await, second);
    assert_eq!(
        numbers(&mut members[1], 110).await,
        [first, second].concat()
    );
}

#[actix_rt::test]
async fn what_was_removed_from_the_log_is_named() {
    let cluster = cluster::<2>("[[history.rooms]]\nrooms = \"log:*\"\nlength = 5").await;
    let mut publisher = cluster.nodes[0].member().await;
    let mut receiver = member(&cluster.nodes[1], &["log:a"]).await;
    emit(&mut publisher, "log:a", 1..=1).await;
    assert_eq!(numbers(&mut receiver, 1).await, [1]);
    let last = log(&cluster.nodes[1], "log:a").await.events[0].n;
    cluster.deafen(1, true);
    emit(&mut publisher, "log:a", 2..=20).await;
    last_is_logged(&cluster.nodes[0], "log:a", 20).await;
    cluster.deafen(1, false);
    let gap = event(&mut receiver).await;
    let page = log(&cluster.nodes[1], "log:a").await;
    let (epoch, first) = (page.epoch.unwrap(), page.events[0].n);
    let expected = json!(["roomwire:gap", {
        "room": "log:a",
        "after": format!("{epoch}-{last}"),
        "before": format!("{epoch}-{first}"),
    }]);
    assert_eq!(gap, expected);
    assert_eq!(numbers(&mut receiver, 20).await, [16, 17, 18, 19, 20]);
    assert_eq!(cluster.nodes[1].metrics().room_log_gaps_total.get(), 1);
}

#[actix_rt::test]
async fn lost_logs_are_named_and_the_new_epoch_is_followed_from_its_start() {
    let cluster = cluster::<2>(LOGGED).await;
    let mut publisher = cluster.nodes[0].member().await;
    let mut receiver = member(&cluster.nodes[1], &["log:a"]).await;
    emit(&mut publisher, "log:a", 1..=3).await;
    assert_eq!(numbers(&mut receiver, 3).await, [1, 2, 3]);
    cluster.hub.lose_logs();
    emit(&mut publisher, "log:a", 4..=5).await;
    // The log of the room, and that of broadcasts.
    let mut named = Vec::new();
    while named.len() < 2 {
        let gap = event(&mut receiver).await;
        assert_eq!(gap[0], "roomwire:gap");
        let epoch = |end: &str| gap[1][end].as_str().unwrap()[..6].to_owned();
        assert_ne!(epoch("after"), epoch("before"));
        named.push(gap[1]["room"].clone());
    }
    assert!(named.contains(&json!("log:a")) && named.contains(&Value::Null));
    assert_eq!(numbers(&mut receiver, 5).await, [4, 5]);
}

#[actix_rt::test]
async fn broadcasts_and_events_for_one_socket_are_logged_and_delivered_once() {
    let cluster = cluster::<2>(LOGGED).await;
    let mut members = [
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    ];
    let ingress = cluster.nodes[0].server.ingress();
    let emit = |to: roomwire::model::Selector, json: &str| {
        let emit = roomwire::model::Emit {
            to,
            payload: roomwire::model::Payload::text(json.to_owned()),
            volatile: false,
            ack: None,
            conflate: None,
        };
        ingress.dispatch(
            roomwire::model::Command::Emit(emit),
            roomwire::metrics::labels::Origin::Local,
        );
    };
    emit(crate::support::cluster::everybody(), r#"["all"]"#);
    for member in &mut members {
        assert_eq!(event(member).await, json!(["all"]));
    }
    for member in &mut members {
        let own = member.socket.clone();
        emit(crate::support::cluster::room(&own), r#"["own"]"#);
        assert_eq!(event(member).await, json!(["own"]));
        member.quiet().await;
        assert_eq!(log(&cluster.nodes[1], &own).await.events.len(), 1);
    }
    let logs = cluster.nodes[1].server.ingress();
    let name = LogName::of_namespace(Namespace::main());
    let page = logs
        .history()
        .unwrap()
        .logs()
        .read(&name, 0, None, 10)
        .await
        .unwrap();
    assert_eq!(page.events.len(), 1);
    // A node that missed a broadcast reads it.
    cluster.deafen(1, true);
    emit(crate::support::cluster::everybody(), r#"["missed"]"#);
    assert_eq!(event(&mut members[0]).await, json!(["missed"]));
    members[1].quiet().await;
    cluster.deafen(1, false);
    assert_eq!(event(&mut members[1]).await, json!(["missed"]));
    members[1].quiet().await;
}

#[actix_rt::test]
async fn a_node_without_logs_exchanges_events_of_logged_rooms_with_the_others() {
    let hub = Hub::default();
    let mut nodes = Vec::new();
    for config in [config_with_file(&[], Some(LOGGED)), config(&[])] {
        let (link, events) = hub.join();
        let store = std::sync::Arc::new(MemoryStore::default());
        let handles = BusHandles::new(link, events, store);
        let node = TestServer::extended(config, Some(handles), Extensions::default()).await;
        node.readyz("bus: up").await;
        nodes.push(node);
    }
    let mut members = [
        member(&nodes[0], &["log:a"]).await,
        member(&nodes[1], &["log:a"]).await,
    ];
    let mut publishers = [nodes[0].member().await, nodes[1].member().await];
    for (number, publisher) in publishers.iter_mut().enumerate() {
        let number = number as u64;
        emit(publisher, "log:a", number..=number).await;
        for member in &mut members {
            assert_eq!(numbers(member, number).await, [number]);
        }
    }
    assert_eq!(logged_numbers(&nodes[0], "log:a").await, [0]);
    for member in &mut members {
        member.quiet().await;
    }
}
