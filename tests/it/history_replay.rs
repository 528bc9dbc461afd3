//! Earlier events of rooms with a log: `roomwire:join` with `since`, and the verb `history`.

use roomwire::bus::memory::Hub;
use roomwire::config::Config;
use serde_json::{Value, json};

use crate::support::api::{WITH_API, post, rejection, request};
use crate::support::server::config_with_file;
use crate::support::{TestCluster, TestServer, WebsocketClient};

const LOGGED: &str = "[[history.rooms]]\nrooms = \"log:short\"\nlength = 300\n[[history.rooms]]\nrooms = \"log:*\"\n";

fn logged(settings: &str) -> Config {
    config_with_file(&WITH_API, Some(&format!("{LOGGED}{settings}")))
}

async fn emit(client: &mut WebsocketClient, room: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        client.emit(room, &format!(r#""n",{number}"#)).await;
    }
    client.quiet().await;
}

/// Joins with options; the numbers of the events before the ack, and the ack.
async fn join_since(client: &mut WebsocketClient, room: &str, since: &str) -> (Vec<u64>, Value) {
    let options = json!({ "since": since });
    client
        .send(&format!(r#"4277["roomwire:join","{room}",{options}]"#))
        .await;
    let mut numbers = Vec::new();
    loop {
        let packet = client.text().await;
        if let Some(ack) = packet.strip_prefix("4377") {
            let ack: Value = serde_json::from_str(ack).unwrap();
            return (numbers, ack[0].clone());
        }
        numbers.push(number(&packet));
    }
}

fn number(packet: &str) -> u64 {
    let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
    assert_eq!(event[0], "n", "{packet}");
    event[1].as_u64().unwrap()
}

/// A single node, and the second node of a cluster whose first one published.
async fn on_one_node_and_on_two(test: impl AsyncFn(&TestServer, &TestServer)) {
    let node = TestServer::configured(logged(""), None).await;
    test(&node, &node).await;
    let cluster = TestCluster::<2>::configured(&logged(""), Hub::default()).await;
    test(&cluster.nodes[0], &cluster.nodes[1]).await;
}

#[actix_rt::test]
async fn a_join_with_since_receives_earlier_events_then_newer_ones_and_its_offset_continues() {
    on_one_node_and_on_two(async |first, second| {
        let mut publisher = first.member().await;
        emit(&mut publisher, "log:a", 1..=150).await;
        let mut client = second.member().await;
        let (numbers, ack) = join_since(&mut client, "log:a", "last:120").await;
        assert_eq!(numbers, (31..=150).collect::<Vec<_>>());
        assert_eq!(
            (&ack["ok"], &ack["replayed"], &ack["gap"]),
            (&json!(true), &json!(120), &json!(false))
        );
        emit(&mut publisher, "log:a", 151..=152).await;
        for expected in 151..=152 {
            assert_eq!(number(&client.text().await), expected);
        }
        let mut later = second.member().await;
        let offset = ack["offset"].as_str().unwrap();
        let (numbers, ack) = join_since(&mut later, "log:a", offset).await;
        assert_eq!((numbers, &ack["gap"]), (vec![151, 152], &json!(false)));
        let mut newcomer = second.member().await;
        let (numbers, ack) = join_since(&mut newcomer, "log:a", "last:0").await;
        assert!(numbers.is_empty() && ack["offset"].is_string(), "{ack}");
        newcomer.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn events_during_a_replay_follow_it_each_once_and_in_order() {
    on_one_node_and_on_two(async |first, second| {
        let mut publisher = first.member().await;
        emit(&mut publisher, "log:b", 1..=250).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(second.member().await);
        }
        for client in &mut clients {
            client
                .send(r#"42["roomwire:join","log:b",{"since":"last:200"}]"#)
                .await;
        }
        for number in 251..=700 {
            publisher.emit("log:b", &format!(r#""n",{number}"#)).await;
        }
        publisher.quiet().await;
        for client in &mut clients {
            let first = number(&client.text().await);
            assert!(first > 50, "{first}");
            for expected in first + 1..=700 {
                assert_eq!(number(&client.text().await), expected);
            }
            client.quiet().await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn what_the_log_no_longer_has_is_a_gap() {
    let node = TestServer::configured(logged(""), None).await;
    let mut publisher = node.member().await;
    emit(&mut publisher, "log:short", 1..=2).await;
    let mut client = node.member().await;
    let (_, ack) = join_since(&mut client, "log:short", "last:1").await;
    let offset = ack["offset"].as_str().unwrap().to_owned();
    emit(&mut publisher, "log:short", 3..=500).await;
    let mut later = node.member().await;
    let (numbers, ack) = join_since(&mut later, "log:short", &offset).await;
    assert_eq!((numbers.len(), &ack["gap"]), (300, &json!(true)));
    let other_epoch = format!("zzzzzz{}", &offset[6..]);
    let (numbers, ack) = join_since(&mut node.member().await, "log:short", &other_epoch).await;
    assert_eq!((numbers.len(), &ack["gap"]), (300, &json!(true)));
    let (numbers, ack) = join_since(&mut node.member().await, "plain", &offset).await;
    assert_eq!((numbers.len(), &ack["gap"]), (0, &json!(true)));
}

#[actix_rt::test]
async fn own_events_are_not_replayed_to_their_sender_and_rules_apply() {
    let rules = "[app.relay]\nhistory = \"nobody\"\n[[app.relay.rooms]]\npattern = \"log:open:*\"\nhistory = \"members\"\n";
    let node = TestServer::configured(logged(rules), None).await;
    let (mut a, mut b) = (node.member().await, node.member().await);
    emit(&mut a, "log:open:1", 1..=1).await;
    emit(&mut b, "log:open:1", 2..=2).await;
    let (numbers, ack) = join_since(&mut a, "log:open:1", "last:10").await;
    assert_eq!((numbers, &ack["replayed"]), (vec![2], &json!(1)));
    let (numbers, ack) = join_since(&mut a, "log:closed", "last:10").await;
    assert_eq!(
        (numbers.len(), &ack["error"]["code"]),
        (0, &json!("history_forbidden"))
    );
    for since in ["last:x", "7"] {
        let (_, ack) = join_since(&mut a, "log:open:1", since).await;
        assert_eq!(ack["error"]["code"], "bad_request", "{ack}");
    }
}

#[actix_rt::test]
async fn the_api_reads_a_log_in_pages_in_both_directions() {
    on_one_node_and_on_two(async |first, second| {
        let mut publisher = first.member().await;
        emit(&mut publisher, "log:d", 1..=250).await;
        let numbers = |answer: &Value| -> Vec<u64> {
            let events = answer["events"].as_array().unwrap().iter();
            events
                .map(|event| event["args"][0].as_u64().unwrap())
                .collect()
        };
        let newest = request(second, "history", r#"{"room":"log:d"}"#).await;
        assert_eq!(numbers(&newest), (151..=250).collect::<Vec<_>>());
        assert_eq!(
            (&newest["trimmed"], &newest["events"][0]["event"]),
            (&json!(false), &json!("n"))
        );
        let before = newest["next"].as_str().unwrap();
        let body = format!(r#"{{"room":"log:d","before":"{before}","limit":1000}}"#);
        let older = request(first, "history", &body).await;
        assert_eq!(
            (numbers(&older), &older["next"]),
            ((1..=150).collect(), &Value::Null)
        );
        let offset = older["events"][9]["offset"].as_str().unwrap();
        let body = format!(r#"{{"room":"log:d","after":"{offset}","limit":120}}"#);
        let newer = request(second, "history", &body).await;
        assert_eq!(numbers(&newer), (11..=130).collect::<Vec<_>>());
        let next = newer["next"].as_str().unwrap();
        let body = format!(r#"{{"room":"log:d","after":"{next}","limit":1000}}"#);
        let rest = request(second, "history", &body).await;
        assert_eq!(
            (numbers(&rest), &rest["next"]),
            ((131..=250).collect(), &Value::Null)
        );
        let rejected = post(first, "history", r#"{"room":"plain"}"#).await;
        assert_eq!(rejection(&rejected), (404, "no_log".to_owned()));
    })
    .await;
}

#[actix_rt::test]
async fn binary_values_are_in_the_history_as_base64() {
    let node = TestServer::configured(logged(""), None).await;
    let body = r#"{"rooms":["log:e"],"event":"file","args":[{"_placeholder":true,"num":0},7],"attachments":["AAH/"]}"#;
    request(&node, "emit", body).await;
    let answer = request(&node, "history", r#"{"room":"log:e"}"#).await;
    let event = &answer["events"][0];
    assert_eq!(event["args"], json!([{"_placeholder": true, "num": 0}, 7]));
    assert_eq!(event["attachments"], json!(["AAH/"]));
    let empty = request(&node, "history", r#"{"room":"log:none"}"#).await;
    assert_eq!(empty, json!({"events": [], "trimmed": false, "next": null}));
}
