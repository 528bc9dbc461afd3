//! The link suite on a real Redis, and its failures.

mod acl;
mod cluster;
mod failover;
mod sentinel;
mod streams;
mod tls;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{RedisLink, RedisSettings, RedisStore};
use crate::bus::link::{LinkDown, LinkEvent, Outgoing};
use crate::bus::link_tests::faulty::{Fault, FaultyServer};
use crate::bus::link_tests::proxy::Proxy;
use crate::bus::link_tests::room_logs::{
    a_message_that_is_sent_twice_is_in_the_log_once,
    a_message_that_was_rejected_at_first_is_appended, lost_logs_begin_another_epoch,
    messages_that_a_server_has_lost_are_noticed,
};
use crate::bus::link_tests::server::RedisServer;
use crate::bus::link_tests::{Member, TIMEOUT, channels, message, patterns, suite};
use crate::model::random::OsRandom;
use crate::store::Store;

fn join(settings: RedisSettings) -> Member {
    let (link, events) = RedisLink::start(settings, Arc::new(OsRandom));
    Member { link, events }
}

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::parse(&server.url()).unwrap()
}

/// Runs a command on a separate connection.
async fn query<T: redis::FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    try_query(server, command).await.unwrap()
}

async fn try_query<T: redis::FromRedisValue>(
    server: &RedisServer,
    command: &[&str],
) -> redis::RedisResult<T> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]);
    request.query_async(&mut connection).await
}

/// Waits until the response of Redis is as expected. Servers close their connections when their role changes.
async fn until<T: redis::FromRedisValue>(
    server: &RedisServer,
    command: &[&str],
    expected: impl Fn(T) -> bool,
) {
    let begun = std::time::Instant::now();
    while !try_query(server, command).await.is_ok_and(&expected) {
        assert!(begun.elapsed() < TIMEOUT, "{command:?} never came true");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_suite_on_redis() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    suite(|| join(settings(&server))).await;
    patterns(|| join(settings(&server))).await;
}

#[tokio::test]
async fn logs_begin_another_epoch_when_redis_has_lost_its_data() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(settings(&server));
    lost_logs_begin_another_epoch(&mut member, || {
        server.stop();
        server.run();
    })
    .await;
}

#[tokio::test]
async fn messages_are_in_their_logs_once_whatever_became_of_an_earlier_attempt() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let faulty = FaultyServer::start(&server, "EVAL", Fault::LostResponse).await;
    let mut member = join(faulty.settings());
    a_message_that_is_sent_twice_is_in_the_log_once(&mut member, || faulty.fail_next()).await;
    assert!(faulty.has_failed(), "a response was lost");
    a_message_that_was_rejected_at_first_is_appended(&mut member).await;
}

#[tokio::test]
async fn messages_that_redis_has_acknowledged_and_lost_are_reported_by_their_logs() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.channel_prefix = "roomwire:0".to_owned();
    messages_that_a_server_has_lost_are_noticed(&mut join(settings), |sender| {
        let key = format!("{{roomwire:0:log}}:{sender}");
        let () = server.query(&["SET", &key, "1"]);
        let killed: u64 = server.query(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed > 0);
    })
    .await;
}

#[tokio::test]
async fn the_link_connects_late_and_reconnects_after_an_outage() {
    let Some(mut server) = RedisServer::prepare(&[]) else {
        return;
    };
    let (mut publisher, mut subscriber) = (join(settings(&server)), join(settings(&server)));
    subscriber.link.subscribe(channels(&["early"]));
    publisher.publish("early", "spooled before redis came");
    // Lets a few attempts fail; nothing below depends on how many.
    sleep(Duration::from_millis(200)).await;
    server.run();
    subscriber.confirmed(channels(&["early"])).await;
    subscriber.up().await;
    publisher.up().await;
    assert_eq!(subscriber.message().await.1, "spooled before redis came");

    server.stop();
    publisher.down().await;
    subscriber.down().await;
    let volatile = Outgoing {
        volatile: true,
        ..message("early", "volatile")
    };
    publisher.link.publish(vec![volatile]);
    // The publisher may detect the outage later than the subscriber; the counted message then fails later.
    let counted = publisher.link.publish_counted(message("early", "counted"));
    assert_eq!(counted.await, Err(LinkDown));
    subscriber.link.subscribe(channels(&["late"]));
    publisher.publish("early", "spooled");
    publisher.publish("late", "too");
    server.run();
    // All desired channels are confirmed before the link is up.
    subscriber.confirmed(channels(&["early", "late"])).await;
    subscriber.up().await;
    assert_eq!(subscriber.message().await.1, "spooled");
    assert_eq!(subscriber.message().await.1, "too");
}

#[tokio::test]
async fn a_killed_subscription_is_restored() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(settings(&server));
    member.up().await;
    member.subscribe(&["room"]).await;
    let killed: u64 = query(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(killed, 1);
    member.down().await;
    member.confirmed(channels(&["room"])).await;
    member.up().await;
    member.publish("room", "back");
    assert_eq!(member.message().await.1, "back");
}

#[tokio::test]
async fn a_message_above_the_buffer_limit_of_redis_is_reported_as_a_gap_by_every_member() {
    let limit = ["--client-output-buffer-limit", "pubsub", "200000", "0", "0"];
    let Some(server) = RedisServer::start(&limit) else {
        return;
    };
    let mut members = [join(settings(&server)), join(settings(&server))];
    for member in &mut members {
        member.up().await;
        member.subscribe(&["room", "other"]).await;
    }
    // Published by another client: our own publishers reject messages above bus.message_limit.
    let large = "x".repeat(1_000_000);
    let receivers: u64 = query(&server, &["PUBLISH", "other", &large]).await;
    assert_eq!(receivers, 2);
    for member in &mut members {
        member.down().await;
        let is_gap = |event: &LinkEvent| matches!(event, LinkEvent::Missed { .. });
        let gap = member.wait(is_gap).await;
        assert!(matches!(gap, LinkEvent::Missed { during } if !during.is_zero()));
    }
    members[0].publish("room", "back");
    assert_eq!(members[1].message().await.1, "back");
}

#[tokio::test]
async fn a_killed_publishing_connection_loses_no_message() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(settings(&server));
    member.up().await;
    member.subscribe(&["room"]).await;
    let _: u64 = query(
        &server,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    )
    .await;
    member.publish("room", "retried");
    assert_eq!(
        member.next().await,
        LinkEvent::Message {
            channel: "room".into(),
            payload: Bytes::from("retried"),
        }
    );
}

#[tokio::test]
async fn pings_through_the_bus_measure_its_latency() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.ping_interval = Duration::from_millis(20);
    let begun = std::time::Instant::now();
    let mut member = join(settings);
    let mut echoes = 0;
    while echoes < 3 {
        if let LinkEvent::Echo { after } = member.any().await {
            assert!(!after.is_zero() && after < begun.elapsed(), "{after:?}");
            echoes += 1;
        }
    }
}

#[tokio::test]
async fn a_deaf_link_is_reported_and_reconnects() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let proxy = Proxy::start(server.port).await;
    let mut settings = RedisSettings::parse(&format!("redis://127.0.0.1:{}", proxy.port)).unwrap();
    settings.ping_interval = Duration::from_millis(50);
    let mut member = join(settings);
    member.up().await;
    member.subscribe(&["room"]).await;
    proxy.deafen.store(true, Ordering::Relaxed);
    member.wait(|event| *event == LinkEvent::Deaf).await;
    proxy.deafen.store(false, Ordering::Relaxed);
    member.wait(|event| *event == LinkEvent::EchoRestored).await;
    member.publish("room", "received");
    assert_eq!(member.message().await.1, "received");
}

#[tokio::test]
async fn a_slow_consumer_causes_backpressure_on_redis() {
    let Some(server) =
        RedisServer::start(&["--client-output-buffer-limit", "pubsub", "0", "0", "0"])
    else {
        return;
    };
    let mut settings = settings(&server);
    settings.event_bytes = 100_000;
    let (mut slow, mut publisher) = (join(settings.clone()), join(settings));
    publisher.up().await;
    slow.subscribe(&["flood"]).await;
    let payload = Bytes::from(vec![1; 100_000]);
    for _ in 0..400 {
        publisher
            .link
            .publish(vec![message("flood", payload.clone())]);
    }
    // The output buffer of the server grows, because the link stops reading.
    until(
        &server,
        &["CLIENT", "LIST", "TYPE", "pubsub"],
        |list: String| {
            list.split_whitespace()
                .filter_map(|field| field.strip_prefix("omem="))
                .any(|bytes| bytes.parse::<u64>().unwrap() > 1_000_000)
        },
    )
    .await;
    for _ in 0..400 {
        assert_eq!(slow.message().await.1.len(), payload.len());
    }
}

#[tokio::test]
async fn the_spool_drops_messages_above_its_limit() {
    let Some(mut server) = RedisServer::prepare(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.spool.bytes = 1000;
    let (mut publisher, mut subscriber) = (join(settings.clone()), join(settings));
    subscriber.link.subscribe(channels(&["room"]));
    for number in 0..100 {
        publisher.publish("room", &format!("{number:032}"));
    }
    server.run();
    let dropped = publisher
        .wait(|event| matches!(event, LinkEvent::SpoolDropped { .. }))
        .await;
    let expected = LinkEvent::SpoolDropped {
        messages: 90,
        bytes: 9000,
    };
    assert_eq!(dropped, expected, "each message costs 100 bytes");
    assert_eq!(subscriber.message().await.1, format!("{:032}", 90));
}

#[tokio::test]
async fn channels_are_unsubscribed_after_the_linger_time() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.linger = Duration::from_millis(100);
    let mut member = join(settings);
    member.up().await;
    member.subscribe(&["left", "kept"]).await;
    member.link.unsubscribe(channels(&["left"]));
    let numsub = ["PUBSUB", "NUMSUB", "left", "kept"];
    until(&server, &numsub, |counts: Vec<(String, u64)>| {
        counts == [("left".to_owned(), 0), ("kept".to_owned(), 1)]
    })
    .await;
    let channels: Vec<String> = query(&server, &["PUBSUB", "CHANNELS", "roomwire:ping:*"]).await;
    assert_eq!(channels.len(), 1);
    drop(member);
    until(&server, &["PUBSUB", "CHANNELS"], |names: Vec<String>| {
        names.is_empty()
    })
    .await;
}

#[tokio::test]
async fn receivers_are_counted_without_patterns_on_channels_that_can_have_any() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.pattern_prefix = "requests".to_owned();
    let (mut publisher, mut subscriber) = (join(settings.clone()), join(settings));
    publisher.up().await;
    let patterns = channels(&["requests*", "other*"]);
    subscriber.link.subscribe_patterns(patterns);
    until(&server, &["PUBSUB", "NUMPAT"], |patterns: u64| {
        patterns == 2
    })
    .await;
    let count = |channel| publisher.link.publish_counted(message(channel, "x"));
    assert_eq!(count("requests:a").await, Ok(0));
    assert_eq!(count("other:a").await, Ok(1), "as PUBLISH counts");
    subscriber.subscribe(&["requests:a"]).await;
    assert_eq!(count("requests:a").await, Ok(1));
    assert_eq!(subscriber.message().await.0, "requests:a");
}

#[tokio::test]
async fn a_message_above_the_limit_is_skipped() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.message_limit = 100_000;
    let mut member = join(settings);
    member.up().await;
    member.subscribe(&["room"]).await;
    member.link.publish(vec![
        message("room", vec![1; 300_000]),
        message("room", "short"),
    ]);
    assert_eq!(member.message().await.1, "short");
}

#[tokio::test]
async fn queued_messages_are_published_after_the_link_is_dropped() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut subscriber = join(settings(&server));
    subscriber.up().await;
    subscriber.subscribe(&["room"]).await;
    let mut publisher = join(settings(&server));
    publisher.up().await;
    publisher.publish("room", "last message");
    drop(publisher);
    assert_eq!(subscriber.message().await.1, "last message");
}
