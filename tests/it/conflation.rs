//! Latest wins: clients that are behind receive the latest event of each conflation key, and everything else in order.

use std::collections::BTreeMap;
use std::time::Duration;

use roomwire::bus::memory::Hub;
use serde_json::Value;

use crate::support::api::{WITH_API, post, rejection, request};
use crate::support::server::{config, config_with_file};
use crate::support::{PollingClient, TestCluster, TestServer, WebsocketClient, eventually, filler};

const RULES: &str = r#"
[[app.relay.rooms]]
pattern = "board"
join = "anyone"
publish = "anyone"
conflate = ["cursor /user/id", "title"]
"#;

async fn update(node: &TestServer, key: usize, round: usize, text: &str) {
    let event = format!(
        r#"{{"rooms":["r"],"event":"price","args":[{key},{round},"{text}"],"conflate":"k{key}"}}"#
    );
    request(node, "emit", &event).await;
}

async fn polling_member(node: &TestServer, room: &str) -> PollingClient {
    let mut client = node.polling().await;
    client.connect().await;
    client.join(room).await;
    client
}

/// Waits until the node has replaced this many events.
async fn replaced(node: &TestServer, count: u64) {
    eventually("the replaced events", || {
        node.metrics().conflated_total.get() >= count
    })
    .await;
    assert_eq!(node.metrics().conflated_total.get(), count);
}

#[actix_rt::test]
async fn a_polling_client_receives_the_latest_event_of_each_key_from_another_node() {
    let cluster = TestCluster::<2>::with(&WITH_API).await;
    let [first, second] = &cluster.nodes;
    let mut slow = polling_member(second, "r").await;
    let mut ready = first.member().await;
    ready.join("r").await;
    for round in 0..5 {
        for key in 0..3 {
            update(first, key, round, "").await;
            ready
                .expect(&format!(r#"42["price",{key},{round},""]"#))
                .await;
        }
        let plain = format!(r#"{{"rooms":["r"],"event":"plain","args":[{round}]}}"#);
        request(first, "emit", &plain).await;
        ready.expect(&format!(r#"42["plain",{round}]"#)).await;
    }
    replaced(second, 12).await;
    assert_eq!(first.metrics().conflated_total.get(), 0);
    for round in 0..4 {
        slow.expect(&format!(r#"42["plain",{round}]"#)).await;
    }
    for key in 0..3 {
        slow.expect(&format!(r#"42["price",{key},4,""]"#)).await;
    }
    slow.expect(r#"42["plain",4]"#).await;
    assert_eq!(slow.take_fetched(), [""; 0]);
}

#[actix_rt::test]
async fn a_key_counts_for_its_rooms_and_namespace_and_batches_have_keys_too() {
    let server = TestServer::with(&WITH_API).await;
    let mut slow = polling_member(&server, "r").await;
    slow.join("s").await;
    let item = |target: &str, number: usize| {
        format!(r#"{{"emit":{{{target},"event":"e","args":[{number}],"conflate":"k"}}}}"#)
    };
    let items = [
        item(r#""rooms":["r"]"#, 1),
        item(r#""rooms":["s"]"#, 2),
        item(r#""everybody":true"#, 3),
        item(r#""rooms":["r"]"#, 4),
    ];
    let batch = format!(r#"{{"items":[{}]}}"#, items.join(","));
    request(&server, "batch", &batch).await;
    replaced(&server, 1).await;
    for number in [2, 3, 4] {
        slow.expect(&format!(r#"42["e",{number}]"#)).await;
    }
}

#[actix_rt::test]
async fn a_slow_websocket_on_another_node_receives_the_latest_event_of_each_key() {
    let mut settings = WITH_API.to_vec();
    settings.push(("SOCKET__SEND_BUFFER", "16KiB"));
    let cluster = TestCluster::<2>::configured(&config(&settings), Hub::default()).await;
    let [first, second] = &cluster.nodes;
    let mut slow = WebsocketClient::open_small(&second.address()).await;
    slow.connect("/").await;
    slow.join("r").await;
    // 3.2 MB, far above the limit of a queue: without keys the client would be closed.
    let (keys, rounds, text) = (10, 40, filler(8_000));
    for round in 0..rounds {
        for key in 0..keys {
            update(first, key, round, &text).await;
        }
    }
    request(first, "emit", r#"{"rooms":["r"],"event":"end"}"#).await;
    let received = || second.metrics().conflated_total.get();
    eventually("replaced events", || received() > 200).await;
    let mut latest = BTreeMap::new();
    let mut count = 0;
    loop {
        let packet = slow.text().await;
        if packet == r#"42["end"]"# {
            break;
        }
        let event: Value = serde_json::from_str(&packet[2..]).unwrap();
        let round = event[2].as_u64();
        let before = latest.insert(event[1].as_u64(), round);
        assert!(before.is_none_or(|before| before < round), "{packet:.40}");
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let newest = (0..keys as u64).map(|key| (Some(key), Some(rounds as u64 - 1)));
    assert_eq!(latest, newest.collect());
    assert_eq!(received(), (keys * rounds - count) as u64);
    slow.quiet().await;
}

#[actix_rt::test]
async fn rules_of_a_room_and_options_of_clients_conflate_what_clients_emit() {
    let config = config_with_file(&[], Some(RULES));
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let [first, second] = &cluster.nodes;
    let mut slow = polling_member(second, "board").await;
    let (mut one, mut two) = (first.member().await, first.member().await);
    let ok = r#"[{"ok":true}]"#;
    for (sender, event, number) in [
        (0, r#""cursor",{"user":{"id":"a"}}"#, 1),
        (1, r#""cursor",{"user":{"id":"b"}}"#, 2),
        (0, r#""title""#, 3),
        (0, r#""message""#, 4),
        (1, r#""cursor",{"user":{"id":"a"}}"#, 5),
        (1, r#""title""#, 6),
        (0, r#""message""#, 7),
        (0, r#""cursor",{}"#, 8),
        (0, r#""cursor",{}"#, 9),
    ] {
        let client = if sender == 0 { &mut one } else { &mut two };
        let request = format!(r#"["roomwire:emit","board",{event},{number}]"#);
        assert_eq!(client.ask(&request).await, ok);
    }
    // The key of a client concerns its own events only.
    let with_key =
        |number| format!(r#"["roomwire:emit",{{"room":"board","conflate":"k"}},"draw",{number}]"#);
    for number in [10, 11] {
        assert_eq!(one.ask(&with_key(number)).await, ok);
    }
    assert_eq!(two.ask(&with_key(12)).await, ok);
    replaced(second, 3).await;
    for packet in [
        r#"42["cursor",{"user":{"id":"b"}},2]"#,
        r#"42["message",4]"#,
        r#"42["cursor",{"user":{"id":"a"}},5]"#,
        r#"42["title",6]"#,
        r#"42["message",7]"#,
        r#"42["cursor",{},8]"#,
        r#"42["cursor",{},9]"#,
        r#"42["draw",11]"#,
        r#"42["draw",12]"#,
    ] {
        slow.expect(packet).await;
    }
}

#[actix_rt::test]
async fn keys_that_cannot_be_used_are_rejected() {
    let server = TestServer::with(&WITH_API).await;
    for (verb, rest) in [
        ("emit", r#""conflate":"""#),
        ("emit", r#""conflate":"k","volatile":true"#),
        ("call", r#""conflate":"k""#),
    ] {
        let body = format!(r#"{{"everybody":true,"event":"e",{rest}}}"#);
        let rejected = rejection(&post(&server, verb, &body).await);
        assert_eq!(rejected, (400, "conflate_invalid".to_owned()), "{body}");
    }
    let mut client = server.member().await;
    let long = "k".repeat(129);
    for (request, code) in [
        (
            r#"["roomwire:ask",{"room":"r","conflate":"k"},"e"]"#,
            "conflate_invalid",
        ),
        (
            &format!(r#"["roomwire:emit",{{"room":"r","conflate":"{long}"}},"e"]"#),
            "conflate_invalid",
        ),
        (
            r#"["roomwire:emit",{"room":"r","conflate":""},"e"]"#,
            "conflate_invalid",
        ),
        (
            r#"["roomwire:emit",{"room":"r","key":"k"},"e"]"#,
            "bad_request",
        ),
        (r#"["roomwire:emit",{"conflate":"k"},"e"]"#, "bad_request"),
    ] {
        let ack: Value = serde_json::from_str(&client.ask(request).await).unwrap();
        assert_eq!(ack[0]["error"]["code"], code, "{request}");
    }
}
