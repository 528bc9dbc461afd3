//! Recovery where it is easily wrong: order over rooms, former ids, rooms left or beyond limits, lost records and logs.

use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::memory::Hub;
use roomwire::server::BusHandles;
use roomwire::store::Store;
use serde_json::{Value, json};

use crate::recovery::{Client, emit, on_one_node_and_on_two, recovering};
use crate::support::api::request;
use crate::support::receiver::{Receiver, SECRET, summary};
use crate::support::server::config_with_file;
use crate::support::{TestCluster, TestServer, WebsocketClient, within_deadline};

#[actix_rt::test]
async fn what_a_node_missed_comes_before_newer_events_of_other_rooms() {
    let cluster = TestCluster::<2>::configured(&recovering(""), Hub::default()).await;
    let mut publisher = cluster.nodes[0].member().await;
    let mut client = Client::connect(&cluster.nodes[1]).await;
    for room in ["a", "b"] {
        client.websocket.join(room).await;
    }
    for round in 0..5 {
        let first = round * 100;
        // Received when nothing is replayed any more.
        emit(&mut publisher, "b", first..=first).await;
        client.expect(first..=first).await;
        cluster.cut(1);
        emit(&mut publisher, "a", first + 1..=first + 60).await;
        emit(&mut publisher, "b", first + 61..=first + 61).await;
        cluster.heal(1);
        emit(&mut publisher, "b", first + 62..=first + 70).await;
        client.expect(first + 1..=first + 70).await;
        emit(&mut publisher, "a", first + 71..=first + 71).await;
        client.expect(first + 71..=first + 71).await;
        client = client.lost_and_back(&cluster.nodes[1]).await;
        assert_eq!(client.session["recovered"], true);
    }
    client.websocket.quiet().await;
}

#[actix_rt::test]
async fn a_client_takes_part_by_the_query_of_its_connection() {
    let node = TestServer::configured(recovering(""), None).await;
    let target = "/socket.io/?EIO=4&transport=websocket&recover=1";
    let open = async || {
        let address = node.address();
        let handshake = WebsocketClient::handshake(&address, target, &[], false);
        let mut websocket = handshake.await.unwrap();
        assert!(websocket.text().await.starts_with('0'));
        websocket
    };
    let mut client = Client::connect_on(open().await, json!({})).await;
    client.websocket.join("a").await;
    let resume = client.resume();
    drop(client);
    let mut publisher = node.member().await;
    emit(&mut publisher, "a", 1..=2).await;
    let mut client = Client::connect_on(open().await, resume).await;
    assert_eq!(client.session["recovered"], true);
    client.expect(1..=2).await;
    // The payload comes first.
    let mut plain = open().await;
    plain.send(r#"40{"roomwire":{"recover":false}}"#).await;
    assert!(!plain.text().await.contains("pid"));
    plain.quiet().await;
}

#[actix_rt::test]
async fn a_room_that_was_left_just_before_the_connection_broke_is_not_joined_again() {
    on_one_node_and_on_two("", async |first, second| {
        let mut publisher = first.member().await;
        let mut client = Client::connect(first).await;
        for room in ["kept", "left"] {
            client.websocket.join(room).await;
        }
        client
            .websocket
            .send(r#"42["roomwire:leave","left"]"#)
            .await;
        client.websocket.send("1").await;
        let _closed = client.websocket.rest().await;
        let mut client = client.lost_and_back(second).await;
        assert_eq!(client.session["recovered"], true);
        emit(&mut publisher, "left", 1..=1).await;
        emit(&mut publisher, "kept", 2..=2).await;
        client.expect(2..=2).await;
        client.websocket.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn rooms_beyond_the_limit_are_named_when_a_session_continues() {
    let mut config = recovering("");
    let hub = Hub::default();
    let cluster = TestCluster::<1>::configured(&config, hub.clone()).await;
    config.socket.max_rooms = 3;
    let (link, events) = hub.join();
    let bus = BusHandles::new(link, events, Arc::clone(&cluster.store) as _);
    let stricter = TestServer::configured(config, Some(bus)).await;
    stricter.readyz("bus: up").await;
    let mut client = Client::connect(&cluster.nodes[0]).await;
    for room in ["a", "b", "c"] {
        client.websocket.join(room).await;
    }
    let mut client = client.lost_and_back(&stricter).await;
    assert_eq!(client.session["recovered"], true);
    let gap = &client.session["gap"];
    assert_eq!(
        (&gap["reason"], &gap["room"], &gap["rooms"]),
        (&json!("rooms"), &json!("c"), &json!(["c"])),
        "one of the three is the room of its former id"
    );
    let mut publisher = stricter.member().await;
    emit(&mut publisher, "c", 1..=1).await;
    emit(&mut publisher, "b", 2..=2).await;
    client.expect(2..=2).await;
    // They do not come back, whatever the limit of the next node.
    let client = client.lost_and_back(&cluster.nodes[0]).await;
    assert_eq!(client.session["recovered"], true);
    assert_eq!(client.session["gap"], Value::Null);
}

#[actix_rt::test]
async fn volatile_events_for_a_former_id_reach_the_current_socket() {
    on_one_node_and_on_two("", async |first, second| {
        let client = Client::connect(first).await;
        let former = client.websocket.socket.clone();
        let mut client = client.lost_and_back(second).await;
        assert_eq!(client.session["recovered"], true);
        for (index, node) in [first, second].into_iter().enumerate() {
            let body = json!({
                "event": "v", "sockets": [former], "args": [index], "volatile": true,
            });
            request(node, "emit", &body.to_string()).await;
            let event = client.event().await;
            assert_eq!((&event[0], &event[1]), (&json!("v"), &json!(index)));
        }
        client.websocket.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn the_reasons_too_much_and_unavailable_are_sent() {
    let settings =
        "max_events = 5\n[[history.rooms]]\nrooms = \"*\"\nlength = 100\nage = \"10m\"\n";
    on_one_node_and_on_two(settings, async |first, second| {
        let mut publisher = first.member().await;
        let mut client = Client::connect(first).await;
        client.websocket.join("a").await;
        emit(&mut publisher, "a", 1..=1).await;
        client.expect(1..=1).await;
        let resume = client.resume();
        drop(client);
        emit(&mut publisher, "a", 2..=7).await;
        let back = Client::connect_with(second, resume).await;
        assert_eq!(back.session["recovered"], false);
        assert_eq!(back.session["gap"]["reason"], "too_much");
    })
    .await;
    let cluster = TestCluster::<2>::configured(&recovering(""), Hub::default()).await;
    let client = Client::connect(&cluster.nodes[0]).await;
    cluster.cut(1);
    let back = client.lost_and_back(&cluster.nodes[1]).await;
    assert_eq!(back.session["recovered"], false);
    assert_eq!(back.session["gap"]["reason"], "unavailable");
}

#[actix_rt::test]
async fn a_log_that_was_removed_for_memory_is_named() {
    let settings = "[history]\nmemory = \"64KiB\"\n";
    let node = TestServer::configured(recovering(settings), None).await;
    let mut publisher = node.member().await;
    let mut client = Client::connect(&node).await;
    client.websocket.join("a").await;
    emit(&mut publisher, "a", 1..=1).await;
    client.expect(1..=1).await;
    let (resume, since) = (client.resume(), client.offset.clone().unwrap());
    drop(client);
    emit(&mut publisher, "a", 2..=2).await;
    for room in 0..100 {
        let text = "x".repeat(1000);
        let event = format!(r#""big","{text}""#);
        publisher.emit(&format!("other{room}"), &event).await;
    }
    publisher.quiet().await;
    let back = Client::connect_with(&node, resume).await;
    assert_eq!(back.session["recovered"], false);
    assert_eq!(
        (&back.session["gap"]["reason"], &back.session["gap"]["room"]),
        (&json!("trimmed"), &json!("a"))
    );
    let join = format!(r#"["roomwire:join","a",{{"since":"{since}"}}]"#);
    let joined = publisher.ask(&join).await;
    assert!(joined.contains(r#""gap":true"#), "{joined}");
}

#[actix_rt::test]
async fn backends_receive_one_disconnect_for_each_socket_of_a_session_that_is_recovered() {
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let settings = [
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__NOTICES__URL", &*url),
        ("WEBHOOK__NOTICES__DEBOUNCE", "0s"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "5ms"),
        ("WEBHOOK__NOTICES__KINDS", "connected,disconnected"),
    ];
    let config = config_with_file(&settings, Some("[recovery]\nnamespaces = [\"/\"]\n"));
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let mut first = Client::connect(&cluster.nodes[0]).await;
    // The first connection is not known to be lost yet.
    let second = Client::connect_with(&cluster.nodes[1], first.resume()).await;
    assert_eq!(second.session["recovered"], true);
    first.websocket.expect("41").await;
    let sockets = [&first, &second].map(|client| client.websocket.socket.clone());
    let third = second.lost_and_back(&cluster.nodes[0]).await;
    assert_eq!(third.session["recovered"], true);
    receiver.receive(5).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let notices = receiver.notices();
    let of = |socket: &str| -> Vec<String> {
        let found = notices.iter().filter(|it| it["data"]["socket"] == socket);
        let mut found: Vec<String> = found.map(|it| summary(it, &["reason"])).collect();
        found.sort();
        found
    };
    assert_eq!(of(&sockets[0]), ["connected", "disconnected replaced"]);
    let lost = of(&sockets[1]);
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost[1].starts_with("disconnected t") || lost[1].ends_with("replaced"));
    assert_eq!(of(&third.websocket.socket), ["connected"]);
    assert_eq!(notices.len(), 5);
}

#[actix_rt::test]
async fn records_that_the_store_has_lost_are_written_again_at_once() {
    let config = recovering("");
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let mut client = Client::connect(&cluster.nodes[0]).await;
    client.websocket.join("a").await;
    let pid = client.connected["pid"].as_str().unwrap().to_owned();
    let key = format!("{}:session:{pid}", config.bus.channel_prefix);
    assert!(cluster.store.delete(&key).await.unwrap(), "the record");
    cluster.cut(0);
    cluster.heal(0);
    let written = async {
        while cluster.store.get(&key).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within_deadline("the record", written).await;
    let client = client.lost_and_back(&cluster.nodes[1]).await;
    assert_eq!(client.session["recovered"], true);
}
