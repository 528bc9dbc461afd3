//! The suite of all links on a real Redis, and everything that can happen to it.

mod acl;
mod cluster;
mod failover;
mod sentinel;
mod tls;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{RedisLink, RedisSettings, RedisStore};
use crate::bus::link::{LinkDown, LinkEvent, Outgoing};
use crate::bus::link_tests::proxy::Proxy;
use crate::bus::link_tests::server::RedisServer;
use crate::bus::link_tests::{Member, PATIENCE, channels, message, suite};
use crate::model::random::OsRandom;
use crate::store::Store;

fn join(settings: RedisSettings) -> Member {
    let (link, events) = RedisLink::start(settings, Arc::new(OsRandom));
    Member { link, events }
}

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::parse(&server.url()).unwrap()
}

/// Asks Redis something on a connection of its own.
async fn ask<T: redis::FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]);
    asked.query_async(&mut connection).await.unwrap()
}

/// Waits until Redis answers as expected.
async fn until<T: redis::FromRedisValue>(
    server: &RedisServer,
    command: &[&str],
    expected: impl Fn(T) -> bool,
) {
    let begun = std::time::Instant::now();
    while !expected(ask(server, command).await) {
        assert!(begun.elapsed() < PATIENCE, "{command:?} never came true");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_suite_on_redis() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    suite(|| join(settings(&server))).await;
}

#[tokio::test]
async fn redis_may_come_later_and_go_in_between() {
    let Some(mut server) = RedisServer::prepare(&[]) else {
        return;
    };
    let (mut speaker, mut hearer) = (join(settings(&server)), join(settings(&server)));
    hearer.link.subscribe(channels(&["early"]));
    speaker.say("early", "spooled before redis came");
    // Lets a few attempts fail; nothing below depends on how many.
    sleep(Duration::from_millis(200)).await;
    server.run();
    hearer.confirmed(channels(&["early"])).await;
    hearer.up().await;
    speaker.up().await;
    assert_eq!(hearer.message().await.1, "spooled before redis came");

    server.stop();
    speaker.down().await;
    hearer.down().await;
    let volatile = Outgoing {
        volatile: true,
        ..message("early", "volatile")
    };
    speaker.link.publish(vec![volatile]);
    // The publisher may find out a little later than the subscriber; then the question fails late.
    let counted = speaker.link.publish_counted(message("early", "counted"));
    assert_eq!(counted.await, Err(LinkDown));
    hearer.link.subscribe(channels(&["late"]));
    speaker.say("early", "spooled");
    speaker.say("late", "too");
    server.run();
    // Everything wanted is confirmed before the link counts as up.
    hearer.confirmed(channels(&["early", "late"])).await;
    hearer.up().await;
    assert_eq!(hearer.message().await.1, "spooled");
    assert_eq!(hearer.message().await.1, "too");
}

#[tokio::test]
async fn a_killed_subscription_comes_back() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(settings(&server));
    member.up().await;
    member.hear(&["room"]).await;
    let killed: u64 = ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(killed, 1);
    member.down().await;
    member.confirmed(channels(&["room"])).await;
    member.up().await;
    member.say("room", "back");
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
        member.hear(&["room", "other"]).await;
    }
    // Published by another client: our own publishers reject messages above bus.message_limit.
    let large = "x".repeat(1_000_000);
    let receivers: u64 = ask(&server, &["PUBLISH", "other", &large]).await;
    assert_eq!(receivers, 2);
    for member in &mut members {
        member.down().await;
        let is_gap = |event: &LinkEvent| matches!(event, LinkEvent::Missed { .. });
        let gap = member.wait(is_gap).await;
        assert!(matches!(gap, LinkEvent::Missed { during } if !during.is_zero()));
    }
    members[0].say("room", "back");
    assert_eq!(members[1].message().await.1, "back");
}

#[tokio::test]
async fn a_killed_publisher_costs_nothing() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(settings(&server));
    member.up().await;
    member.hear(&["room"]).await;
    let _: u64 = ask(
        &server,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    )
    .await;
    member.say("room", "retried");
    assert_eq!(
        member.next().await,
        LinkEvent::Message {
            channel: "room".into(),
            payload: Bytes::from("retried"),
        }
    );
}

#[tokio::test]
async fn pings_through_the_bus_tell_its_lag() {
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
async fn a_deaf_link_says_so_and_subscribes_anew() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let proxy = Proxy::start(server.port).await;
    let mut settings = RedisSettings::parse(&format!("redis://127.0.0.1:{}", proxy.port)).unwrap();
    settings.ping_interval = Duration::from_millis(50);
    let mut member = join(settings);
    member.up().await;
    member.hear(&["room"]).await;
    proxy.deafen.store(true, Ordering::Relaxed);
    member.wait(|event| *event == LinkEvent::Deaf).await;
    proxy.deafen.store(false, Ordering::Relaxed);
    member.wait(|event| *event == LinkEvent::Hearing).await;
    member.say("room", "heard");
    assert_eq!(member.message().await.1, "heard");
}

#[tokio::test]
async fn a_slow_consumer_makes_redis_wait() {
    let Some(server) =
        RedisServer::start(&["--client-output-buffer-limit", "pubsub", "0", "0", "0"])
    else {
        return;
    };
    let mut settings = settings(&server);
    settings.event_bytes = 100_000;
    let (mut slow, mut speaker) = (join(settings.clone()), join(settings));
    speaker.up().await;
    slow.hear(&["flood"]).await;
    let payload = Bytes::from(vec![1; 100_000]);
    for _ in 0..400 {
        speaker
            .link
            .publish(vec![message("flood", payload.clone())]);
    }
    // The server's own queue towards the subscriber grows: nobody reads it out.
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
async fn the_spool_is_bounded() {
    let Some(mut server) = RedisServer::prepare(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.spool.bytes = 1000;
    let (mut speaker, mut hearer) = (join(settings.clone()), join(settings));
    hearer.link.subscribe(channels(&["room"]));
    for number in 0..100 {
        speaker.say("room", &format!("{number:032}"));
    }
    server.run();
    let dropped = speaker
        .wait(|event| matches!(event, LinkEvent::SpoolDropped { .. }))
        .await;
    let expected = LinkEvent::SpoolDropped {
        messages: 90,
        bytes: 9000,
    };
    assert_eq!(dropped, expected, "a message costs 100 here");
    assert_eq!(hearer.message().await.1, format!("{:032}", 90));
}

#[tokio::test]
async fn what_nobody_wants_is_unsubscribed_later() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.linger = Duration::from_millis(100);
    let mut member = join(settings);
    member.up().await;
    member.hear(&["left", "kept"]).await;
    member.link.unsubscribe(channels(&["left"]));
    let numsub = ["PUBSUB", "NUMSUB", "left", "kept"];
    until(&server, &numsub, |counts: Vec<(String, u64)>| {
        counts == [("left".to_owned(), 0), ("kept".to_owned(), 1)]
    })
    .await;
    let channels: Vec<String> = ask(&server, &["PUBSUB", "CHANNELS", "roomwire:ping:*"]).await;
    assert_eq!(channels.len(), 1);
    drop(member);
    until(&server, &["PUBSUB", "CHANNELS"], |names: Vec<String>| {
        names.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_skipped() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut settings = settings(&server);
    settings.message_limit = 100_000;
    let mut member = join(settings);
    member.up().await;
    member.hear(&["room"]).await;
    member.link.publish(vec![
        message("room", vec![1; 300_000]),
        message("room", "short"),
    ]);
    assert_eq!(member.message().await.1, "short");
}

#[tokio::test]
async fn what_is_queued_is_said_before_the_end() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut hearer = join(settings(&server));
    hearer.up().await;
    hearer.hear(&["room"]).await;
    let mut speaker = join(settings(&server));
    speaker.up().await;
    speaker.say("room", "last words");
    drop(speaker);
    assert_eq!(hearer.message().await.1, "last words");
}
