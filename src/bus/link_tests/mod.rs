//! The test suite for links, run on the in-memory hub and on a real Redis.
//!
//! Tests start Redis on a free local port. Without `redis-server` the Redis tests are skipped with a message; with
//! `ROOMWIRE_REQUIRE_REDIS=1` they fail.

pub(in crate::bus) mod faulty;
mod groups;
pub(super) mod presence;
pub(in crate::bus) mod proxy;
pub(in crate::bus) mod room_logs;
pub(in crate::bus) mod server;
pub(super) mod stores;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing, starting_with};
use super::memory::Hub;

pub(in crate::bus) const TIMEOUT: Duration = Duration::from_secs(60);

/// A member of the bus under test.
pub(in crate::bus) struct Member {
    pub(in crate::bus) link: Arc<dyn Link>,
    pub(in crate::bus) events: LinkEvents,
}

pub(in crate::bus) fn channels(names: &[&str]) -> Vec<Channel> {
    names.iter().map(|name| Channel::from(*name)).collect()
}

pub(in crate::bus) fn message(channel: &str, payload: impl Into<Bytes>) -> Outgoing {
    Outgoing::new(Channel::from(channel), payload)
}

impl Member {
    pub(in crate::bus) fn publish(&self, channel: &str, payload: &str) {
        self.link
            .publish(vec![message(channel, payload.to_owned())]);
    }

    /// The next event, except for echoes of pings, which arrive at any time.
    pub(in crate::bus) async fn next(&mut self) -> LinkEvent {
        loop {
            let event = self.any().await;
            if !matches!(event, LinkEvent::Echo { .. }) {
                return event;
            }
        }
    }

    /// The next event.
    pub(in crate::bus) async fn any(&mut self) -> LinkEvent {
        let next = timeout(TIMEOUT, self.events.next()).await;
        next.expect("no event was received")
            .expect("the link was dropped")
    }

    /// Waits for a matching event; ignores others.
    pub(in crate::bus) async fn wait(&mut self, matches: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        loop {
            let event = self.next().await;
            if matches(&event) {
                return event;
            }
        }
    }

    pub(in crate::bus) async fn up(&mut self) {
        self.wait(|event| *event == LinkEvent::Up).await;
    }

    pub(in crate::bus) async fn down(&mut self) {
        self.wait(|event| matches!(event, LinkEvent::Down { .. }))
            .await;
    }

    /// Waits until all these channels are confirmed, by one or more events.
    pub(in crate::bus) async fn confirmed(&mut self, mut names: Vec<Channel>) {
        while !names.is_empty() {
            if let LinkEvent::Subscribed(confirmed) = self.next().await {
                names.retain(|name| !confirmed.contains(name));
            }
        }
    }

    pub(in crate::bus) async fn subscribe(&mut self, names: &[&str]) {
        self.link.subscribe(channels(names));
        self.confirmed(channels(names)).await;
    }

    /// The next message; ignores other events.
    pub(in crate::bus) async fn message(&mut self) -> (String, Bytes) {
        loop {
            if let LinkEvent::Message { channel, payload } = self.next().await {
                return (channel.to_string(), payload);
            }
        }
    }
}

/// Runs the suite with members created by `join`.
pub(in crate::bus) async fn suite(join: impl Fn() -> Member) {
    order_is_kept(&join).await;
    receivers_are_counted(&join).await;
    payloads_may_contain_any_bytes(&join).await;
    unsubscribed_channels_receive_nothing(&join).await;
    many_channels_are_subscribed_at_once(&join).await;
    room_logs::suite(&join).await;
}

async fn order_is_kept(join: impl Fn() -> Member) {
    let (mut publisher, mut subscriber) = (join(), join());
    publisher.up().await;
    subscriber.subscribe(&["order:a", "order:b"]).await;
    for number in 0..500 {
        let name = if number % 2 == 0 {
            "order:a"
        } else {
            "order:b"
        };
        publisher.publish(name, &number.to_string());
    }
    // Only messages of one channel are ordered; in a Redis Cluster, the channels may be on different servers.
    let mut next = [0, 1];
    for _ in 0..500 {
        let (channel, payload) = subscriber.message().await;
        let next = &mut next[usize::from(&*channel == "order:b")];
        assert_eq!(payload, Bytes::from(next.to_string()), "{channel}");
        *next += 2;
    }
}

/// Runs the suite of patterns with members created by `join`, whose channels are plain.
pub(in crate::bus) async fn patterns(join: impl Fn() -> Member) {
    let (mut publisher, mut subscriber) = (join(), join());
    publisher.up().await;
    let pattern = starting_with("pattern[1]:");
    subscriber.link.subscribe_patterns(vec![pattern.clone()]);
    let confirmed = LinkEvent::PatternsSubscribed(vec![pattern.clone()]);
    subscriber.wait(|event| *event == confirmed).await;
    subscriber.subscribe(&["pattern[1]:a", "end"]).await;
    for name in ["pattern1:a", "pattern[1]:a", "pattern[1]:b"] {
        publisher.publish(name, name);
    }
    let mut received = Vec::new();
    while received.len() < 3 {
        match subscriber.next().await {
            LinkEvent::Message { channel, .. } => received.push((channel, false)),
            LinkEvent::Matched { channel, payload } => {
                assert_eq!(payload, channel.as_str());
                received.push((channel, true));
            }
            _ => {}
        }
    }
    received.sort();
    let [a, b] = ["pattern[1]:a", "pattern[1]:b"].map(Channel::from);
    assert_eq!(received, [(a.clone(), false), (a, true), (b, true)]);
    subscriber.link.unsubscribe_patterns(vec![pattern.clone()]);
    let unmatched = async {
        loop {
            publisher.publish("pattern[1]:b", "late");
            publisher.publish("end", "");
            let mut is_matched = false;
            loop {
                match subscriber.next().await {
                    LinkEvent::Message { .. } => break,
                    event => is_matched |= matches!(event, LinkEvent::Matched { .. }),
                }
            }
            if !is_matched {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, unmatched).await.expect("unsubscribed");
}

async fn receivers_are_counted(join: impl Fn() -> Member) {
    let (mut publisher, mut subscriber) = (join(), join());
    publisher.up().await;
    let count = publisher.link.publish_counted(message("count", "x"));
    assert_eq!(count.await, Ok(0));
    subscriber.subscribe(&["count"]).await;
    publisher.subscribe(&["count"]).await;
    publisher.publish("count", "first");
    let count = publisher.link.publish_counted(message("count", "second"));
    assert_eq!(count.await, Ok(2));
    for member in [&mut publisher, &mut subscriber] {
        assert_eq!(member.message().await.1, "first");
        assert_eq!(member.message().await.1, "second");
    }
}

async fn payloads_may_contain_any_bytes(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    member.subscribe(&["bytes ä\r\n"]).await;
    for payload in [&b""[..], b"\r\n\0\xff", &[7; 300_000]] {
        let payload = Bytes::copy_from_slice(payload);
        member
            .link
            .publish(vec![message("bytes ä\r\n", payload.clone())]);
        let received = member.message().await;
        assert_eq!((&*received.0, received.1), ("bytes ä\r\n", payload));
    }
}

async fn unsubscribed_channels_receive_nothing(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    member.subscribe(&["kept", "left"]).await;
    member
        .link
        .unsubscribe(channels(&["left", "never subscribed"]));
    // Publishing and unsubscribing use different connections, in a Redis Cluster different servers.
    while member.link.publish_counted(message("left", "late")).await != Ok(0) {
        sleep(Duration::from_millis(1)).await;
    }
    member.publish("left", "not received");
    member.publish("kept", "received");
    assert_eq!(next_except_late(&mut member).await, "received");
    member.subscribe(&["left"]).await;
    member.publish("left", "received again");
    assert_eq!(next_except_late(&mut member).await, "received again");
}

/// The next message other than `late`.
async fn next_except_late(member: &mut Member) -> Bytes {
    loop {
        let (_, payload) = member.message().await;
        if payload != "late" {
            return payload;
        }
    }
}

async fn many_channels_are_subscribed_at_once(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    let names: Vec<String> = (0..3000).map(|number| format!("room:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    member.subscribe(&names).await;
    let count = member.link.publish_counted(message("room:2999", "x"));
    assert_eq!(count.await, Ok(1));
}

#[tokio::test]
async fn the_suite_on_the_hub() {
    let hub = Hub::default();
    let join = || {
        let (link, events) = hub.join();
        Member { link, events }
    };
    suite(join).await;
    patterns(join).await;
}
