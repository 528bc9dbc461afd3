//! Logs of rooms on every link: what is appended is published with its position, and can be read.

use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use super::{Member, message};
use crate::bus::link::{LinkEvent, LogAppend, Outgoing};
use crate::history::{LogName, LogReader, LogTarget, LogTargets, Stamp};
use crate::model::random::OsRandom;
use crate::model::{Namespace, Random, Room};

/// Tag and length of an extension.
const EXTENSION_HEAD: usize = 6;

/// Appends messages under a number of its own.
struct Sender {
    number: u64,
    sequence: u64,
}

impl Sender {
    fn new() -> Self {
        let mut bytes = [0; 8];
        OsRandom.fill(&mut bytes);
        Self {
            number: u64::from_le_bytes(bytes),
            sequence: 0,
        }
    }

    fn message(&mut self, channel: &str, text: &str, logs: &LogTargets) -> Outgoing {
        self.sequence += 1;
        Outgoing {
            log: Some(std::sync::Arc::new(LogAppend {
                targets: logs.clone(),
                channels: Vec::new(),
                sender: self.number,
                sequence: self.sequence,
            })),
            ..message(channel, text.to_owned())
        }
    }
}

/// Names logs that no other run of the suite on the same server uses.
#[derive(Clone, Copy)]
struct Names(u64);

impl Names {
    fn log(self, room: &str) -> LogName {
        LogName::of_room(Namespace::main(), Room::from(format!("{room}:{}", self.0)))
    }

    fn target(self, index: u16, room: &str, length: u32) -> LogTarget {
        LogTarget {
            index,
            name: self.log(room),
            length,
            age: Duration::from_secs(60),
        }
    }
}

/// The text and the position of the next message, which is in `logs` logs.
async fn next(member: &mut Member, logs: usize) -> (String, Stamp) {
    let (_, payload) = member.message().await;
    let length = 6 + 8 + 10 * logs;
    let (text, extension) = payload.split_at(payload.len() - length - EXTENSION_HEAD);
    let stamp = Stamp::read(&extension[EXTENSION_HEAD..]).unwrap();
    (String::from_utf8(text.to_vec()).unwrap(), stamp)
}

pub(in crate::bus) async fn suite(join: impl Fn() -> Member) {
    let names = Names(Sender::new().number);
    two_publishers_have_one_order(&join, names).await;
    a_message_for_two_logs_is_in_both(&join, names).await;
    long_logs_are_trimmed(&join, names).await;
}

/// A server that has lost the last messages of a log, but not the first, is noticed when the link connects again.
/// `roll_back` receives the key of the last sequence number.
pub(in crate::bus) async fn messages_that_a_server_has_lost_are_noticed(
    member: &mut Member,
    roll_back: impl FnOnce(String),
) {
    let names = Names(Sender::new().number);
    member.up().await;
    member.subscribe(&["log:rolled"]).await;
    let mut sender = Sender::new();
    for room in ["kept", "lost", "lost"] {
        let targets: LogTargets = smallvec![names.target(0, room, 10)];
        let message = sender.message("log:rolled", room, &targets);
        member.link.publish(vec![message]);
        next(member, 1).await;
    }
    roll_back(format!("sender:{:016x}", sender.number));
    let lost = loop {
        // Connects again to publish.
        let message = message("log:other", "x");
        member.link.publish(vec![message]);
        match tokio::time::timeout(Duration::from_millis(100), member.events.next()).await {
            Ok(Some(LinkEvent::EventsLost(logs))) => break logs,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => panic!("the link has ended"),
        }
    };
    assert_eq!(lost, [names.log("lost")]);
}

/// After the server has lost its data, the same publisher begins another epoch.
pub(in crate::bus) async fn lost_logs_begin_another_epoch(
    member: &mut Member,
    lose: impl FnOnce(),
) {
    let names = Names(Sender::new().number);
    member.up().await;
    member.subscribe(&["log:lost"]).await;
    let logs = member.link.logs().unwrap();
    let mut sender = Sender::new();
    let targets: LogTargets = smallvec![names.target(0, "lost", 10)];
    let message = sender.message("log:lost", "before", &targets);
    member.link.publish(vec![message]);
    let (_, before) = next(member, 1).await;
    lose();
    member.down().await;
    member.up().await;
    let message = sender.message("log:lost", "after", &targets);
    member.link.publish(vec![message]);
    let (text, after) = next(member, 1).await;
    assert_eq!(text, "after");
    assert_ne!(after.position.epoch, before.position.epoch);
    assert_eq!(after.prevs.as_slice(), [(0, 0)]);
    let page = logs.read(&names.log("lost"), 0, None, 10).await.unwrap();
    assert_eq!(page.epoch, Some(after.position.epoch));
    assert_eq!(page.events.len(), 1);
}

async fn two_publishers_have_one_order(join: impl Fn() -> Member, names: Names) {
    const EACH: usize = 200;
    let (mut a, mut b) = (join(), join());
    a.up().await;
    b.up().await;
    a.subscribe(&["log:order"]).await;
    let logs = a.link.logs().unwrap();
    let order = names.log("order");
    assert_eq!(
        logs.tails(std::slice::from_ref(&order))
            .await
            .unwrap()
            .tails,
        [0]
    );
    let targets: LogTargets = smallvec![names.target(0, "order", 1000)];
    let (mut first, mut second) = (Sender::new(), Sender::new());
    for number in 0..EACH {
        let text = number.to_string();
        a.link.publish(vec![first.message(
            "log:order",
            &format!("a{text}"),
            &targets,
        )]);
        b.link.publish(vec![second.message(
            "log:order",
            &format!("b{text}"),
            &targets,
        )]);
    }
    let mut received = Vec::new();
    for _ in 0..2 * EACH {
        received.push(next(&mut a, 1).await);
    }
    // In a Redis Cluster, messages of two publishers can arrive in another order.
    received.sort_by_key(|(_, stamp)| stamp.position.n);
    let mut before = 0;
    for (_, stamp) in &received {
        assert_eq!(stamp.prevs.as_slice(), [(0, before)]);
        before = stamp.position.n;
    }
    for publisher in ["a", "b"] {
        let own = received
            .iter()
            .filter(|(text, _)| text.starts_with(publisher));
        let expected: Vec<_> = (0..EACH)
            .map(|number| format!("{publisher}{number}"))
            .collect();
        assert!(
            own.map(|(text, _)| text).eq(&expected),
            "the order of the publisher"
        );
    }
    the_log_can_be_read(&*logs, names, &received).await;
}

/// The log has the events that were received.
async fn the_log_can_be_read(
    logs: &dyn LogReader<Bytes>,
    names: Names,
    received: &[(String, Stamp)],
) {
    let (order, none) = (names.log("order"), names.log("none"));
    let before = received.last().unwrap().1.position.n;
    let page = logs.read(&order, 0, None, 1000).await.unwrap();
    assert_eq!(page.epoch, Some(received[0].1.position.epoch));
    assert_eq!((page.trimmed, page.tail), (false, before));
    let in_log = page.events.iter().map(|event| (event.n, &event.emit[..]));
    assert!(
        in_log.eq(received
            .iter()
            .map(|(text, stamp)| (stamp.position.n, text.as_bytes())))
    );
    let n = |index: usize| received[index].1.position.n;
    let part = logs.read(&order, n(9), Some(n(19)), 5).await.unwrap();
    let numbers: Vec<u64> = part.events.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (10..15).map(n).collect::<Vec<_>>());
    let part = logs.read(&order, n(9), Some(n(12)), 100).await.unwrap();
    assert_eq!((part.events.len(), part.trimmed), (3, false));
    let back = logs.read_back(&order, Some(n(10)), 4).await.unwrap();
    let numbers: Vec<u64> = back.events.iter().map(|event| event.n).collect();
    assert_eq!(numbers, [n(9), n(8), n(7), n(6)]);
    assert!(!logs.read_back(&order, Some(n(0)), 4).await.unwrap().trimmed);
    let newest = logs.read_back(&order, None, 1).await.unwrap();
    assert_eq!(newest.events[0].n, before);
    let tails = logs.tails(&[none.clone(), order]).await.unwrap();
    assert_eq!((tails.epoch, tails.tails), (page.epoch, vec![0, before]));
    let empty = logs.read(&none, 0, None, 10).await.unwrap();
    assert_eq!(
        (empty.events.len(), empty.trimmed, empty.tail),
        (0, false, 0)
    );
    assert_eq!(empty.epoch, page.epoch);
}

async fn a_message_for_two_logs_is_in_both(join: impl Fn() -> Member, names: Names) {
    let mut member = join();
    member.up().await;
    member.subscribe(&["log:both", "log:other"]).await;
    let logs = member.link.logs().unwrap();
    let mut sender = Sender::new();
    let one: LogTargets = smallvec![names.target(0, "left", 10)];
    let both: LogTargets = smallvec![
        names.target(3, "left", 10),
        names.target(u16::MAX, "right", 10)
    ];
    member
        .link
        .publish(vec![sender.message("log:both", "1", &one)]);
    let (_, first) = next(&mut member, 1).await;
    let bytes = "\0\u{ff}\r\n";
    let mut message = sender.message("log:both", bytes, &both);
    if let Some(append) = message.log.as_mut().and_then(std::sync::Arc::get_mut) {
        append.channels.push("log:other".into());
    }
    member.link.publish(vec![message]);
    for _ in 0..2 {
        let (text, second) = next(&mut member, 2).await;
        assert_eq!(text, bytes);
        let n = first.position.n;
        assert_eq!(second.prevs.as_slice(), [(3, n), (u16::MAX, 0)]);
        assert!(second.position.n > n);
    }
    for (room, entries) in [("left", 2), ("right", 1)] {
        let page = logs.read(&names.log(room), 0, None, 10).await.unwrap();
        assert_eq!(page.events.len(), entries);
        assert_eq!(page.events.last().unwrap().emit, Bytes::from(bytes));
    }
}

async fn long_logs_are_trimmed(join: impl Fn() -> Member, names: Names) {
    let mut member = join();
    member.up().await;
    member.subscribe(&["log:long"]).await;
    let logs = member.link.logs().unwrap();
    let mut sender = Sender::new();
    let targets: LogTargets = smallvec![names.target(0, "long", 10)];
    let mut numbers = Vec::new();
    for number in 0..400 {
        let text = number.to_string();
        member
            .link
            .publish(vec![sender.message("log:long", &text, &targets)]);
        numbers.push(next(&mut member, 1).await.1.position.n);
    }
    let page = logs
        .read(&names.log("long"), numbers[0], None, 1000)
        .await
        .unwrap();
    assert!(page.trimmed);
    // Redis trims in blocks of 100 entries.
    assert!(
        (10..=110).contains(&page.events.len()),
        "{}",
        page.events.len()
    );
    assert_eq!(page.events.last().unwrap().n, numbers[399]);
    let (long, none) = (names.log("long"), names.log("none"));
    let size = logs.size(&[long.clone(), none.clone()]).await.unwrap();
    assert!((10 * 20..50_000).contains(&size), "{size}");
    let small = logs.size(&[names.log("left")]).await.unwrap();
    assert!((1..=size).contains(&small), "{small} of {size}");
    assert_eq!(logs.size(&[none]).await, Ok(0));
    assert_eq!(logs.size(&vec![long; 120]).await, Ok(120 * size));
    let kept = page.events[0].prev;
    assert!(
        !logs
            .read(&names.log("long"), kept, None, 1000)
            .await
            .unwrap()
            .trimmed
    );
    let back = logs
        .read_back(&names.log("long"), None, 1000)
        .await
        .unwrap();
    assert!(back.trimmed && back.events.len() == page.events.len());
    assert!(
        logs.read_back(&names.log("long"), Some(kept), 10)
            .await
            .unwrap()
            .trimmed
    );
}

/// Messages whose response is lost are sent again; `lose_responses` lets the next one be lost.
pub(in crate::bus) async fn a_message_that_is_sent_twice_is_in_the_log_once(
    member: &mut Member,
    lose_responses: impl FnOnce(),
) {
    let names = Names(Sender::new().number);
    member.up().await;
    member.subscribe(&["log:twice"]).await;
    let logs = member.link.logs().unwrap();
    let mut sender = Sender::new();
    let targets: LogTargets = smallvec![names.target(0, "twice", 10)];
    let mut message = |text: &str| sender.message("log:twice", text, &targets);
    member.link.publish(vec![message("1")]);
    assert_eq!(next(member, 1).await.0, "1");
    lose_responses();
    member.link.publish(vec![message("2"), message("3")]);
    member.link.publish(vec![message("4")]);
    for text in ["2", "3", "4"] {
        assert_eq!(next(member, 1).await.0, text);
    }
    let page = logs.read(&names.log("twice"), 0, None, 10).await.unwrap();
    assert_eq!(page.events.len(), 4);
}

/// While a slot moves, a server can reject a message and append the next one of the same batch: the first one arrives with a
/// lower sequence number than the last.
pub(in crate::bus) async fn a_message_that_was_rejected_at_first_is_appended(member: &mut Member) {
    let names = Names(Sender::new().number);
    member.subscribe(&["log:late"]).await;
    let logs = member.link.logs().unwrap();
    let mut sender = Sender::new();
    let targets: LogTargets = smallvec![names.target(0, "late", 10)];
    let messages = ["1", "2", "3"].map(|text| sender.message("log:late", text, &targets));
    let [first, second, third] = messages;
    for (message, text) in [(second, "2"), (first, "1"), (third, "3")] {
        member.link.publish(vec![message]);
        assert_eq!(next(member, 1).await.0, text);
    }
    let page = logs.read(&names.log("late"), 0, None, 10).await.unwrap();
    assert_eq!(page.events.len(), 3);
}
