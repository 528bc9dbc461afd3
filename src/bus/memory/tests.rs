//! The knobs; what every link can do is in the link suite.

use std::time::Duration;

use bytes::Bytes;

use super::{Faults, Hub, MemoryLink};
use crate::bus::link::{Channel, Link, LinkDown, LinkEvent, LinkEvents, Outgoing};

fn message(number: usize) -> Outgoing {
    Outgoing {
        channel: Channel::from("c"),
        payload: Bytes::from(number.to_string()),
        volatile: false,
        translation: None,
    }
}

fn numbers(events: &mut LinkEvents) -> Vec<usize> {
    let mut heard = Vec::new();
    while let Some(event) = events.try_next() {
        if let LinkEvent::Message { payload, .. } = event {
            heard.push(std::str::from_utf8(&payload).unwrap().parse().unwrap());
        }
    }
    heard
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

async fn heard_with(seed: u64, faults: Faults) -> Vec<usize> {
    let (_hub, sender, mut events, _receiver) = pair(seed, faults);
    for number in 0..100 {
        sender.publish(vec![message(number)]);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    numbers(&mut events)
}

#[tokio::test(start_paused = true)]
async fn delays_keep_the_order_unless_told_otherwise() {
    let delay = (Duration::ZERO, Duration::from_secs(1));
    let mut faults = Faults {
        delay,
        ..Faults::default()
    };
    let in_order: Vec<usize> = (0..100).collect();
    assert_eq!(heard_with(7, faults).await, in_order);
    faults.reorder = true;
    let mixed = heard_with(7, faults).await;
    assert_ne!(mixed, in_order);
    assert_eq!(mixed, heard_with(7, faults).await, "a seed repeats");
    assert_ne!(mixed, heard_with(8, faults).await);
}

#[tokio::test(start_paused = true)]
async fn some_are_lost() {
    let faults = Faults {
        lose: 0.5,
        ..Faults::default()
    };
    let heard = heard_with(1, faults).await;
    assert!((30..70).contains(&heard.len()), "{}", heard.len());
    assert!(heard.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn the_silent_and_the_deaf() {
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
async fn what_is_said_while_cut_off_is_spooled() {
    let (hub, sender, mut events, _receiver) = pair(0, Faults::default());
    hub.cut(sender.member());
    sender.publish(vec![message(1)]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let volatile = Outgoing {
        volatile: true,
        translation: None,
        ..message(2)
    };
    sender.publish(vec![volatile, message(3)]);
    assert_eq!(sender.publish_counted(message(4)).await, Err(LinkDown));
    assert_eq!(numbers(&mut events), [0; 0]);
    hub.heal(sender.member());
    assert_eq!(numbers(&mut events), [3], "1 is too old by now");
}
