//! Rooms with a log: one order for every member, and the log has the same.

use roomwire::config::Config;
use roomwire::history::{LogName, LogPage};
use roomwire::model::{Namespace, Room};

use crate::support::server::config_with_file;
use crate::support::{TestServer, WebsocketClient, within_deadline};

/// Rooms `log:…` and all sockets of the main namespace have a log.
fn logged() -> Config {
    config_with_file(
        &[],
        Some("[[history.rooms]]\nrooms = \"log:*\"\nbroadcasts = true\nsockets = true"),
    )
}

/// Everything in the log of a room after a number.
async fn log(node: &TestServer, room: &str, after: u64) -> LogPage {
    let ingress = node.server.ingress();
    let name = LogName::of_room(Namespace::main(), Room::from(room));
    let logs = ingress.history().unwrap().logs();
    let page = logs.read(&name, after, None, 10_000);
    within_deadline("the log", page).await.unwrap()
}

/// The payloads of a page.
fn payloads(page: &LogPage) -> Vec<String> {
    let events = page.events.iter();
    events
        .map(|event| event.emit.payload.json().to_string())
        .collect()
}

/// The next `count` events of a client.
async fn events(client: &mut WebsocketClient, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    for _ in 0..count {
        let event = client.text().await;
        received.push(event.strip_prefix("42").unwrap().to_owned());
    }
    received
}

#[actix_rt::test]
async fn members_on_all_workers_receive_the_events_of_two_publishers_in_the_order_of_the_log() {
    const EVENTS: usize = 200;
    let node = TestServer::configured(logged(), None).await;
    let mut members = Vec::new();
    for _ in 0..4 {
        let mut member = node.member().await;
        member.join("log:a").await;
        members.push(member);
    }
    let (mut a, mut b) = (node.member().await, node.member().await);
    assert_ne!(a.socket[4..5], b.socket[4..5], "they are on two workers");
    for number in 0..EVENTS {
        a.emit("log:a", &format!(r#""a",{number}"#)).await;
        b.emit("log:a", &format!(r#""b",{number}"#)).await;
    }
    let first = events(&mut members[0], 2 * EVENTS).await;
    for member in &mut members[1..] {
        assert_eq!(events(member, 2 * EVENTS).await, first);
        member.quiet().await;
    }
    for publisher in ["a", "b"] {
        let own = first.iter().filter(|event| event.contains(publisher));
        let expected = (0..EVENTS).map(|number| format!(r#"["{publisher}",{number}]"#));
        assert!(own.eq(expected.collect::<Vec<_>>().iter()), "its own order");
    }
    let page = log(&node, "log:a", 0).await;
    assert_eq!(payloads(&page), first);
    assert!(!page.trimmed && page.tail == page.events.last().unwrap().n);
    assert!(page.events.windows(2).all(|pair| pair[1].prev == pair[0].n));
    let rest = log(&node, "log:a", page.events[99].n).await;
    assert_eq!(payloads(&rest), first[100..]);
    let entries = &node.metrics().room_log_entries_total;
    assert_eq!(entries.get(), 2 * EVENTS as u64);
}

#[actix_rt::test]
async fn the_publisher_receives_its_own_event_only_as_a_member_and_acks_are_not_logged() {
    let node = TestServer::configured(logged(), None).await;
    let (mut a, mut b) = (node.member().await, node.member().await);
    a.join("log:a").await;
    b.join("log:a").await;
    a.emit("log:a", r#""x",1"#).await;
    b.expect(r#"42["x",1]"#).await;
    a.quiet().await;
    a.send(r#"427["roomwire:ask","log:a","question"]"#).await;
    let question = b.text().await;
    assert!(question.ends_with(r#"["question"]"#), "{question}");
    assert_eq!(payloads(&log(&node, "log:a", 0).await), [r#"["x",1]"#]);
    b.emit("other", r#""x",2"#).await;
    b.quiet().await;
    assert!(log(&node, "other", 0).await.events.is_empty());
}
