//! Dead letters in a real Redis, and the verbs `webhook replay` and `webhook test` of the built binary.

use std::process::Output;
use std::sync::Arc;

use roomwire::metrics::labels::NoticeResult;
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;
use serde_json::Value;

use crate::support::process::{run, text};
use crate::support::receiver::{Manner, Receiver, SECRET, summary};
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::{TestServer, WebsocketClient, eventually};

/// Runs the binary while this thread serves the receiver.
async fn roomwire(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let own = |text: &&str| (*text).to_owned();
    let arguments: Vec<String> = arguments.iter().map(own).collect();
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| (format!("ROOMWIRE_{name}"), (*value).to_owned()))
        .collect();
    tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        run(&arguments, &environment)
    })
    .await
    .unwrap()
}

fn rooms(notices: &[Value]) -> Vec<String> {
    notices
        .iter()
        .map(|notice| summary(notice, &["room"]))
        .collect()
}

/// A node that is connected to the Redis of its settings.
async fn on_redis(settings: &[(&str, &str)]) -> TestServer {
    let config = config(settings);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let handles = BusHandles::from_config(&config, &random).unwrap();
    let node = TestServer::configured(config, handles).await;
    node.readyz("bus: up").await;
    node
}

async fn join(client: &mut WebsocketClient, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut expected = Vec::new();
    for number in numbers {
        client.join(&format!("room-{number:03}")).await;
        expected.push(format!("joined room-{number:03}"));
    }
    expected
}

fn count(node: &TestServer, result: NoticeResult) -> u64 {
    node.metrics().webhook_notices_total.of(result).get()
}

#[actix_rt::test]
async fn an_outage_of_receiver_and_redis_loses_only_what_exceeds_the_limit_and_a_replay_sends_the_rest()
 {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut redis) = RedisServer::start(&durable) else {
        return;
    };
    let mut receiver = Receiver::start().await;
    let (redis_url, url) = (redis.url(), receiver.url());
    let settings = [
        ("BUS__REDIS_URL", &*redis_url),
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__BREAKER_FAILURES", "1000"),
        ("WEBHOOK__NOTICES__URL", &url),
        ("WEBHOOK__NOTICES__KINDS", "joined"),
        ("WEBHOOK__NOTICES__QUEUE", "2KiB"),
        ("WEBHOOK__NOTICES__BATCH", "2"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "5ms"),
        ("WEBHOOK__NOTICES__PAUSE", "20ms"),
        ("WEBHOOK__NOTICES__MAX_PAUSE", "50ms"),
    ];
    let node = on_redis(&settings).await;
    let mut client = node.member().await;
    receiver.stop().await;
    let mut expected = join(&mut client, 0..30).await;
    eventually("dead letters", || {
        count(&node, NoticeResult::DeadLetter) >= 16
    })
    .await;
    redis.stop();
    expected.extend(join(&mut client, 30..60).await);
    eventually("losses", || {
        let queued = node.metrics().webhook_notices_queued.get() as u64;
        let gone = count(&node, NoticeResult::DeadLetter) + count(&node, NoticeResult::Dropped);
        queued + gone == 60
    })
    .await;
    let (dead, dropped) = (
        count(&node, NoticeResult::DeadLetter),
        count(&node, NoticeResult::Dropped),
    );
    assert!(dead >= 16 && dropped >= 10, "{dead} {dropped}");
    redis.run();
    receiver.restart().await;
    let left = (60 - dead - dropped) as usize;
    let live = rooms(&receiver.receive(left).await);
    eventually("delivery", || {
        count(&node, NoticeResult::Delivered) == left as u64
    })
    .await;

    // The first replay meets a receiver that is away, the second one that rejects, the third works.
    receiver.stop().await;
    let output = roomwire(&["webhook", "replay"], &settings).await;
    let lines = text(&output.stdout).to_owned();
    assert_eq!(output.status.code(), Some(1), "{lines}");
    assert!(lines.contains("is not available"), "{lines}");
    receiver.restart().await;
    receiver.behave(Manner::Status(400));
    let output = roomwire(&["webhook", "replay"], &settings).await;
    let lines = text(&output.stdout).to_owned();
    assert_eq!(output.status.code(), Some(1), "{lines}");
    assert!(lines.contains("is rejected: HTTP 400"), "{lines}");
    receiver.behave(Manner::Accept);
    let output = roomwire(&["webhook", "replay"], &settings).await;
    let lines = text(&output.stdout).to_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{lines} {}",
        text(&output.stderr)
    );
    assert!(lines.ends_with("accepted, 0 rejected, 0 left\n"), "{lines}");
    let all = rooms(&receiver.notices());
    let replayed = all[live.len()..].to_vec();
    assert_eq!(replayed.len() as u64, dead);
    assert!(replayed.is_sorted(), "{replayed:?}");
    let mut received = [live, replayed].concat();
    received.sort();
    received.dedup();
    assert_eq!(received.len() as u64, 60 - dropped, "each once");
    assert!(received.iter().all(|room| expected.contains(room)));

    let output = roomwire(&["webhook", "replay"], &settings).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("0 dead letters\n"));
}

#[actix_rt::test]
async fn a_receiver_that_rejects_notices_does_not_hold_up_those_that_follow() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let receiver = Receiver::start().await;
    let (redis_url, url) = (redis.url(), receiver.url());
    let settings = [
        ("BUS__REDIS_URL", &*redis_url),
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__NOTICES__URL", &url),
        ("WEBHOOK__NOTICES__KINDS", "joined"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "0s"),
        ("WEBHOOK__NOTICES__PAUSE", "5ms"),
        ("WEBHOOK__NOTICES__MAX_REJECTIONS", "3"),
    ];
    let node = on_redis(&settings).await;
    let mut client = node.member().await;
    receiver.behave(Manner::Status(422));
    client.join("a").await;
    eventually("a dead letter", || {
        count(&node, NoticeResult::DeadLetter) == 1
    })
    .await;
    assert_eq!(receiver.attempts(), 3);
    receiver.behave(Manner::Accept);
    client.join("b").await;
    assert_eq!(rooms(&receiver.receive(1).await), ["joined b"]);
    let output = roomwire(&["webhook", "replay"], &settings).await;
    let expected = "1 dead letter\n1 accepted, 0 rejected, 0 left\n";
    assert_eq!(text(&output.stdout), expected);
}

#[actix_rt::test]
async fn a_test_sends_what_the_configuration_sends_to_the_url() {
    let receiver = Receiver::start().await;
    let (url, events) = (receiver.url(), "connect,guess");
    let settings = [
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__URL", &*url),
        ("WEBHOOK__EVENTS", events),
        ("WEBHOOK__NOTICES__URL", &url),
        ("WEBHOOK__NOTICES__KINDS", "joined"),
    ];
    let sent = async |arguments: &[&str]| {
        let before = receiver.requests().len();
        let all = [&["webhook", "test", &url], arguments].concat();
        let output = roomwire(&all, &settings).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let requests = receiver.requests();
        let types = requests[before..].iter().map(|(_, body)| {
            let notices = body["data"]["notices"].as_array();
            let mut notices = notices.into_iter().flatten();
            let name = notices.next().unwrap_or(body)["type"].as_str();
            name.unwrap().to_owned()
        });
        (types.collect::<Vec<_>>(), text(&output.stdout).to_owned())
    };
    let (types, printed) = sent(&[]).await;
    assert_eq!(types, ["connect", "event", "joined", "joined"]);
    let expected = "\n12 checks, 0 failed\n\
        not sent, because the configuration does not send it to this URL: authorize, disconnect, connected, \
        room_occupied, event notice, left, room_vacated, disconnected (--all sends everything)\n";
    assert!(printed.ends_with(expected), "{printed}");
    let (types, printed) = sent(&["--all"]).await;
    assert_eq!(types.len(), 12);
    assert!(printed.ends_with("\n36 checks, 0 failed\n"), "{printed}");
}

#[actix_rt::test]
async fn a_backend_is_judged_by_its_responses_to_every_kind_of_request() {
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let with_timeout = |time| [("WEBHOOK__SECRETS", SECRET), ("WEBHOOK__TIMEOUT", time)];
    let patient = with_timeout("20s");
    let arguments = ["webhook", "test", &url];
    let output = roomwire(&arguments, &patient).await;
    let table = text(&output.stdout).to_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{table} {}",
        text(&output.stderr)
    );
    assert!(table.ends_with("\n36 checks, 0 failed\n"), "{table}");
    let types: Vec<String> = receiver
        .requests()
        .iter()
        .map(|(_, body)| body["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types[..4], ["connect", "event", "authorize", "disconnect"]);
    assert_eq!(types[4..], ["notices"; 8]);

    let cases = [
        (
            Manner::AcceptAll("{}"),
            "all notices (wrong signature): accepted: the signature is not verified\n",
            24,
        ),
        (
            Manner::AcceptAll("nonsense"),
            "connect, event, authorize, disconnect (signed): backend_bad_answer: ",
            28,
        ),
        (
            Manner::Status(500),
            "all notices (unsigned): backend_unavailable: HTTP 500",
            36,
        ),
        (Manner::Stall, "all notices (signed): backend_timeout: ", 36),
    ];
    for (manner, problem, failed) in cases {
        receiver.behave(manner);
        let time = match manner {
            Manner::Stall => "200ms",
            _ => "20s",
        };
        let output = roomwire(&arguments, &with_timeout(time)).await;
        let table = text(&output.stdout).to_owned();
        assert_eq!(output.status.code(), Some(1), "{table}");
        assert!(table.contains(problem), "{manner:?}: {table}");
        let last = format!("\n36 checks, {failed} failed\n");
        assert!(table.ends_with(&last), "{manner:?}: {table}");
    }

    // Rejections with a signature are valid; without one they require the status.
    receiver.behave(Manner::AcceptAll(r#"{"error":{"code":"no"}}"#));
    let output = roomwire(&arguments, &patient).await;
    let table = text(&output.stdout).to_owned();
    assert!(table.contains("\nconnect         ok "), "{table}");
    assert!(!table.contains("(signed)"), "{table}");

    // Without a secret, nothing can be verified.
    receiver.behave(Manner::AcceptAll(""));
    let output = roomwire(&arguments, &[patient[1]]).await;
    let table = text(&output.stdout).to_owned();
    assert_eq!(output.status.code(), Some(0), "{table}");
    let last = "12 checks, 0 failed\nwebhook.secrets is empty: requests are not signed\n";
    assert!(table.ends_with(last), "{table}");
}
