//! What every link can do: one suite, run on the hub in memory and on a real Redis.
//!
//! Redis runs on a free port of this machine, started by the test. Without `redis-server` the Redis
//! part says that it was skipped; with `ROOMWIRE_REQUIRE_REDIS=1` it fails.

pub(in crate::bus) mod proxy;
pub(in crate::bus) mod server;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use super::memory::Hub;

pub(in crate::bus) const PATIENCE: Duration = Duration::from_secs(60);

/// A member of the bus under test.
pub(in crate::bus) struct Member {
    pub(in crate::bus) link: Arc<dyn Link>,
    pub(in crate::bus) events: LinkEvents,
}

pub(in crate::bus) fn channels(names: &[&str]) -> Vec<Channel> {
    names.iter().map(|name| Channel::from(*name)).collect()
}

pub(in crate::bus) fn message(channel: &str, payload: impl Into<Bytes>) -> Outgoing {
    Outgoing {
        channel: Channel::from(channel),
        payload: payload.into(),
        volatile: false,
        translation: None,
    }
}

impl Member {
    pub(in crate::bus) fn say(&self, channel: &str, payload: &str) {
        self.link
            .publish(vec![message(channel, payload.to_owned())]);
    }

    /// The next event but for echoes of pings, which come when they like.
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
        let next = timeout(PATIENCE, self.events.next()).await;
        next.expect("no event came").expect("the link is gone")
    }

    /// Waits for an event, passing over others.
    pub(in crate::bus) async fn wait(&mut self, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        loop {
            let event = self.next().await;
            if wanted(&event) {
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

    /// Waits until all these channels are confirmed, in however many events.
    pub(in crate::bus) async fn confirmed(&mut self, mut names: Vec<Channel>) {
        while !names.is_empty() {
            if let LinkEvent::Subscribed(confirmed) = self.next().await {
                names.retain(|name| !confirmed.contains(name));
            }
        }
    }

    pub(in crate::bus) async fn hear(&mut self, names: &[&str]) {
        self.link.subscribe(channels(names));
        self.confirmed(channels(names)).await;
    }

    /// The next message, passing over other events.
    pub(in crate::bus) async fn message(&mut self) -> (String, Bytes) {
        loop {
            if let LinkEvent::Message { channel, payload } = self.next().await {
                return (channel.to_string(), payload);
            }
        }
    }
}

/// The suite. Members come up by themselves.
pub(in crate::bus) async fn suite(join: impl Fn() -> Member) {
    order_is_kept(&join).await;
    receivers_are_counted(&join).await;
    any_bytes_pass(&join).await;
    unsubscribing_ends_it(&join).await;
    many_rooms_at_once(&join).await;
}

async fn order_is_kept(join: impl Fn() -> Member) {
    let (mut speaker, mut hearer) = (join(), join());
    speaker.up().await;
    hearer.hear(&["order:a", "order:b"]).await;
    for number in 0..500 {
        let name = if number % 2 == 0 {
            "order:a"
        } else {
            "order:b"
        };
        speaker.say(name, &number.to_string());
    }
    // Each channel has its order; in a Redis Cluster both may be at different servers.
    let mut next = [0, 1];
    for _ in 0..500 {
        let (channel, payload) = hearer.message().await;
        let next = &mut next[usize::from(&*channel == "order:b")];
        assert_eq!(payload, Bytes::from(next.to_string()), "{channel}");
        *next += 2;
    }
}

async fn receivers_are_counted(join: impl Fn() -> Member) {
    let (mut speaker, mut hearer) = (join(), join());
    speaker.up().await;
    let count = speaker.link.publish_counted(message("count", "x"));
    assert_eq!(count.await, Ok(0));
    hearer.hear(&["count"]).await;
    speaker.hear(&["count"]).await;
    speaker.say("count", "first");
    let count = speaker.link.publish_counted(message("count", "second"));
    assert_eq!(count.await, Ok(2));
    for member in [&mut speaker, &mut hearer] {
        assert_eq!(member.message().await.1, "first");
        assert_eq!(member.message().await.1, "second");
    }
}

async fn any_bytes_pass(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    member.hear(&["bytes ä\r\n"]).await;
    for payload in [&b""[..], b"\r\n\0\xff", &[7; 300_000]] {
        let payload = Bytes::copy_from_slice(payload);
        member
            .link
            .publish(vec![message("bytes ä\r\n", payload.clone())]);
        let heard = member.message().await;
        assert_eq!((&*heard.0, heard.1), ("bytes ä\r\n", payload));
    }
}

async fn unsubscribing_ends_it(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    member.hear(&["kept", "left"]).await;
    member.link.unsubscribe(channels(&["left", "never wanted"]));
    // Publishing and unsubscribing go by different connections, in a Redis Cluster to different servers.
    while member.link.publish_counted(message("left", "late")).await != Ok(0) {
        sleep(Duration::from_millis(1)).await;
    }
    member.say("left", "unheard");
    member.say("kept", "heard");
    assert_eq!(in_time(&mut member).await, "heard");
    member.hear(&["left"]).await;
    member.say("left", "heard again");
    assert_eq!(in_time(&mut member).await, "heard again");
}

/// The next message that is not a late one.
async fn in_time(member: &mut Member) -> Bytes {
    loop {
        let (_, payload) = member.message().await;
        if payload != "late" {
            return payload;
        }
    }
}

async fn many_rooms_at_once(join: impl Fn() -> Member) {
    let mut member = join();
    member.up().await;
    let names: Vec<String> = (0..3000).map(|number| format!("room:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    member.hear(&names).await;
    let count = member.link.publish_counted(message("room:2999", "x"));
    assert_eq!(count.await, Ok(1));
}

#[tokio::test]
async fn the_suite_on_the_hub() {
    let hub = Hub::default();
    suite(|| {
        let (link, events) = hub.join();
        Member { link, events }
    })
    .await;
}
