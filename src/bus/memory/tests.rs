//! Fault injection. The link suite tests what all links have in common.

use std::time::Duration;

use bytes::Bytes;

use super::{Faults, Hub, MemoryLink};
use crate::bus::link::{Channel, Link, LinkDown, LinkEvent, LinkEvents, LogAppend, Outgoing};

fn message(number: usize) -> Outgoing {
    Outgoing::new(Channel::from("c"), Bytes::from(number.to_string()))
}

fn numbers(events: &mut LinkEvents) -> Vec<usize> {
    let mut received = Vec::new();
    while let Some(event) = events.try_next() {
        if let LinkEvent::Message { payload, .. } = event {
            received.push(std::str::from_utf8(&payload).unwrap().parse().unwrap());
        }
    }
    received
}

fn pair(
    seed: u64,
    faults: Faults,
) -> (
    Hub,
    std::sync::Arc<MemoryLink>,
    LinkEvents,
    std::sync::Arc<MemoryLink>,
) {
    let hub = Hub::seeded(seed);
    let (sender, _) = hub.join();
    let (receiver, events) = hub.join();
    receiver.subscribe(vec![Channel::from("c")]);
    hub.set_faults(sender.member(), receiver.member(), faults);
    (hub, sender, events, receiver)
}

async fn received_with(seed: u64, faults: Faults) -> Vec<usize> {
    let (_hub, sender, mut events, _receiver) = pair(seed, faults);
    for number in 0..100 {
        sender.publish(vec![message(number)]);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    numbers(&mut events)
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_keep_their_order_unless_reordering_is_set() {
    let delay = (Duration::ZERO, Duration::from_secs(1));
    let mut faults = Faults {
        delay,
        ..Faults::default()
    };
    let in_order: Vec<usize> = (0..100).collect();
    assert_eq!(received_with(7, faults).await, in_order);
    faults.reorder = true;
    let mixed = received_with(7, faults).await;
    assert_ne!(mixed, in_order);
    assert_eq!(
        mixed,
        received_with(7, faults).await,
        "a seed is reproducible"
    );
    assert_ne!(mixed, received_with(8, faults).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_member_publishes_to_itself_follows_logged_messages_on_their_way_to_it() {
    let (_hub, sender, mut events, receiver) = pair(
        0,
        Faults {
            delay: (Duration::from_secs(1), Duration::from_secs(1)),
            ..Faults::default()
        },
    );
    receiver.subscribe(vec![Channel::from("own")]);
    sender.publish(vec![Outgoing {
        log: Some(std::sync::Arc::new(LogAppend {
            targets: smallvec::SmallVec::new(),
            channels: Vec::new(),
            sender: 1,
            sequence: 1,
        })),
        ..message(1)
    }]);
    receiver.publish(vec![Outgoing {
        channel: Channel::from("own"),
        ..message(2)
    }]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut channels = Vec::new();
    while let Some(event) = events.try_next() {
        if let LinkEvent::Message { channel, .. } = event {
            channels.push(channel);
        }
    }
    assert_eq!(channels, [Channel::from("c"), Channel::from("own")]);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_messages_is_lost() {
    let faults = Faults {
        lose: 0.5,
        ..Faults::default()
    };
    let received = received_with(1, faults).await;
    assert!((30..70).contains(&received.len()), "{}", received.len());
    assert!(received.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn muted_members_send_nothing_and_deaf_ones_receive_nothing() {
    let (hub, sender, mut events, receiver) = pair(0, Faults::default());
    hub.silence(sender.member(), true);
    sender.publish(vec![message(1)]);
    hub.silence(sender.member(), false);
    hub.deafen(receiver.member(), true);
    sender.publish(vec![message(2)]);
    assert_eq!(sender.publish_counted(message(3)).await, Ok(1));
    hub.deafen(receiver.member(), false);
    sender.publish(vec![message(4)]);
    assert_eq!(numbers(&mut events), [4]);
}

#[tokio::test(start_paused = true)]
async fn messages_published_while_disconnected_are_spooled() {
    let (hub, sender, mut events, _receiver) = pair(0, Faults::default());
    hub.cut(sender.member());
    sender.publish(vec![message(1)]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let volatile = Outgoing {
        volatile: true,
        translation: None,
        log: None,
        ..message(2)
    };
    sender.publish(vec![volatile, message(3)]);
    assert_eq!(sender.publish_counted(message(4)).await, Err(LinkDown));
    assert_eq!(numbers(&mut events), [0; 0]);
    hub.heal(sender.member());
    assert_eq!(numbers(&mut events), [3], "message 1 has expired");
}

#[tokio::test(start_paused = true)]
async fn in_common_order_no_message_overtakes_one_that_another_member_published_before() {
    for (common, expected) in [(false, [1, 0]), (true, [0, 1])] {
        let hub = Hub::default();
        if common {
            hub.keep_common_order();
        }
        let [(slow, _), (fast, _)] = [hub.join(), hub.join()];
        let (receiver, mut events) = hub.join();
        receiver.subscribe(vec![Channel::from("c")]);
        let delay = (Duration::from_secs(1), Duration::from_secs(1));
        let faults = Faults {
            delay,
            ..Faults::default()
        };
        hub.set_faults(slow.member(), receiver.member(), faults);
        slow.publish(vec![message(0)]);
        fast.publish(vec![message(1)]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(numbers(&mut events), expected);
        let subscribers = hub.subscribers(&Channel::from("c"));
        assert_eq!(subscribers, [receiver.member()]);
        hub.cut(receiver.member());
        assert_eq!(hub.subscribers(&Channel::from("c")), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_published_before_a_subscription_does_not_arrive_by_it() {
    let faults = Faults {
        delay: (Duration::from_secs(1), Duration::from_secs(1)),
        ..Faults::default()
    };
    let (_hub, sender, mut events, receiver) = pair(0, faults);
    receiver.unsubscribe(vec![Channel::from("c")]);
    receiver.subscribe_patterns(vec![Channel::from("*")]);
    sender.publish(vec![message(0)]);
    receiver.subscribe(vec![Channel::from("c")]);
    sender.publish(vec![message(1)]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut by_name, mut by_pattern) = (Vec::new(), Vec::new());
    while let Some(event) = events.try_next() {
        match event {
            LinkEvent::Message { payload, .. } => by_name.push(payload),
            LinkEvent::Matched { payload, .. } => by_pattern.push(payload),
            _ => {}
        }
    }
    assert_eq!(
        (by_name, by_pattern),
        (
            vec![Bytes::from("1")],
            vec![Bytes::from("0"), Bytes::from("1")]
        )
    );
}
