//! Rates of events by name and of users.

use std::time::Duration;

use roomwire::limits::Limit;
use serde_json::{Value, json};

use crate::support::identity::{identified, member_with, reply};
use crate::support::server::config_with_file;
use crate::support::{TestServer, WebsocketClient};

const RATES: &str = r#"
[limits]
events_per_second_per_user = 2
events_burst_per_user = 4

[[limits.events]]
event = "typing"
rate = 1
burst = 2

[[limits.events]]
event = "message-with-ack"
rate = 1
burst = 1

[[limits.events]]
event = "roomwire:join"
per = "user"
rate = 1
burst = 1
"#;

/// The first rejection of an event, and how many passed before it: on a busy machine more than the burst.
async fn rejected(client: &mut WebsocketClient, event: &str) -> (Value, usize) {
    let mut passed = 0;
    loop {
        let response = reply(client, event).await;
        if !response["error"].is_null() {
            return (response, passed);
        }
        passed += 1;
    }
}

async fn node(app: &str) -> TestServer {
    let config = config_with_file(&[("APP__KIND", app)], Some(RATES));
    TestServer::extended(config, None, identified()).await
}

#[actix_rt::test]
async fn events_above_the_rate_of_their_name_are_rejected_until_it_allows_them() {
    let node = node("relay").await;
    let mut client = node.member().await;
    let typing = r#"["roomwire:emit","r","typing"]"#;
    let (response, passed) = rejected(&mut client, typing).await;
    assert!(passed >= 2, "{passed}");
    assert_eq!(response["ok"], false);
    let error = &response["error"];
    assert_eq!(error["code"], "too_many_events");
    assert_eq!(
        error["message"],
        "Too many events of this name (limits.events)"
    );
    let wait = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=1000).contains(&wait), "{error}");
    // Other events, and other clients, are not affected.
    let other = r#"["roomwire:emit","r","message"]"#;
    assert_eq!(reply(&mut client, other).await["ok"], true);
    assert_eq!(reply(&mut node.member().await, typing).await["ok"], true);
    let counter = Limit::EventRate.counter(node.metrics());
    assert_eq!(counter.get(), 1);
    // Without an ack there is no response, and the event is not delivered.
    let mut receiver = node.member().await;
    receiver.join("r").await;
    loop {
        let (_, passed) = rejected(&mut client, typing).await;
        for _ in 0..passed {
            receiver.expect(r#"42["typing"]"#).await;
        }
        let before = counter.get();
        client.emit("r", r#""typing""#).await;
        client.quiet().await;
        if counter.get() > before {
            break;
        }
        receiver.expect(r#"42["typing"]"#).await;
    }
    receiver.quiet().await;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    client.emit("r", r#""typing""#).await;
    receiver.expect(r#"42["typing"]"#).await;
}

#[actix_rt::test]
async fn a_user_has_one_rate_in_all_its_connections() {
    let node = node("relay").await;
    let anna = json!({"user": "anna"});
    let (mut first, mut second) = (
        member_with(&node, &anna).await,
        member_with(&node, &anna).await,
    );
    let join = r#"["roomwire:join","r"]"#;
    assert_eq!(reply(&mut first, join).await["ok"], true);
    let (response, _) = rejected(&mut second, join).await;
    assert_eq!(response["error"]["code"], "too_many_events");
    // Other events have the rate of the user alone.
    let leave = r#"["roomwire:leave","r"]"#;
    for client in [&mut first, &mut second] {
        assert_eq!(reply(client, leave).await["ok"], true);
    }
    let (response, _) = rejected(&mut second, leave).await;
    assert_eq!(
        response["error"]["message"],
        "Too many events of this user (limits.events_per_second_per_user)"
    );
    let counter = |limit: Limit| limit.counter(node.metrics()).get();
    assert_eq!(
        (counter(Limit::EventRate), counter(Limit::UserEvents)),
        (1, 1)
    );
    // Clients without a user have no such rate.
    let mut nobody = node.member().await;
    for _ in 0..10 {
        assert_eq!(reply(&mut nobody, leave).await["ok"], true);
    }
}

#[actix_rt::test]
async fn the_rates_apply_to_every_app() {
    let node = node("echo").await;
    let mut client = node.member().await;
    let event = r#"["message-with-ack",7]"#;
    assert_eq!(reply(&mut client, event).await, 7);
    let (response, _) = rejected(&mut client, event).await;
    assert_eq!(response["error"]["code"], "too_many_events");
}
