//! Streams in the place of channels.

use super::*;
use crate::bus::entry;
use crate::bus::redis::StreamSettings;

fn streams(server: &RedisServer) -> RedisSettings {
    let mut settings = settings(server);
    settings.streams = StreamSettings {
        names: vec!["log".to_owned()],
        length: 1000,
        read_count: 3,
    };
    settings
}

fn fields(value: &str) -> Bytes {
    entry::encode([b"name", value.as_bytes()])
}

/// The value of the next entry.
async fn value(member: &mut Member) -> String {
    let (channel, payload) = member.message().await;
    assert_eq!(channel, "log");
    let entry = entry::decode(&payload).unwrap();
    assert!(entry.id.is_some());
    let (name, value) = entry.fields[0].clone();
    assert_eq!(name, "name");
    String::from_utf8(value.to_vec()).unwrap()
}

async fn add(server: &RedisServer, values: &[&str]) {
    for value in values {
        let _: String = query(server, &["XADD", "log", "*", "name", value]).await;
    }
}

#[tokio::test]
async fn entries_are_read_in_order_from_the_subscription_on_and_after_an_outage_from_the_last_one()
{
    let Some(mut server) = RedisServer::start(&["--appendonly", "yes"]) else {
        return;
    };
    add(&server, &["before"]).await;
    let mut member = join(streams(&server));
    member.up().await;
    member.subscribe(&["log", "plain"]).await;
    let messages = (0..20).map(|number| message("log", fields(&number.to_string())));
    member.link.publish(messages.collect());
    for number in 0..20 {
        assert_eq!(value(&mut member).await, number.to_string());
    }
    let length: u64 = query(&server, &["XLEN", "log"]).await;
    assert_eq!(length, 21);
    member.publish("plain", "as before");
    assert_eq!(member.message().await.1, "as before");
    server.stop();
    member.down().await;
    server.run();
    member.up().await;
    add(&server, &["after"]).await;
    assert_eq!(value(&mut member).await, "after");
}

#[tokio::test]
async fn entries_that_were_removed_before_they_were_read_are_counted() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut member = join(streams(&server));
    member.up().await;
    member.subscribe(&["log"]).await;
    add(&server, &["read"]).await;
    assert_eq!(value(&mut member).await, "read");
    let script =
        "for _, value in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'name', value) end
        return redis.call('XTRIM', KEYS[1], 'MAXLEN', 1)";
    let _: u64 = query(&server, &["EVAL", script, "1", "log", "a", "b", "c"]).await;
    assert_eq!(value(&mut member).await, "c");
    let lost = member
        .wait(|event| matches!(event, LinkEvent::EntriesLost { .. }))
        .await;
    assert_eq!(lost, LinkEvent::EntriesLost { entries: 2 });
    // Redis has lost all of its data.
    let _: String = query(&server, &["FLUSHALL"]).await;
    let _: String = query(&server, &["XADD", "log", "1-1", "name", "unseen"]).await;
    let lost = member
        .wait(|event| matches!(event, LinkEvent::EntriesLost { .. }))
        .await;
    assert_eq!(lost, LinkEvent::EntriesLost { entries: 1 });
    let _: String = query(&server, &["XADD", "log", "1-2", "name", "seen"]).await;
    assert_eq!(value(&mut member).await, "seen");
}

/// The entries in the stream after some were published, the next attempt to add entries failed, and others were published.
async fn entries_around(fault: Fault) -> Option<Vec<String>> {
    let server = RedisServer::start(&[])?;
    let faulty = FaultyServer::start(&server, "XADD", fault).await;
    let mut settings = faulty.settings();
    settings.streams = streams(&server).streams;
    let mut member = join(settings);
    member.up().await;
    member.subscribe(&["log"]).await;
    let publish = |values: &[&'static str]| {
        let messages = values.iter().map(|value| message("log", fields(value)));
        member.link.publish(messages.collect());
    };
    publish(&["before"]);
    until(&server, &["XLEN", "log"], |length: u64| length == 1).await;
    faulty.fail_next();
    let (failing, length) = match fault {
        Fault::LostResponse => (&["a", "b"][..], 5),
        // A pipeline with one command receives one rejection.
        Fault::Rejection => (&["a"][..], 2),
    };
    publish(failing);
    until(&server, &["XLEN", "log"], |entries: u64| entries == length).await;
    assert!(faulty.has_failed());
    publish(&["after"]);
    until(&server, &["XLEN", "log"], |entries: u64| {
        entries == length + 1
    })
    .await;
    type Entries = Vec<(String, Vec<String>)>;
    let entries: Entries = query(&server, &["XRANGE", "log", "-", "+"]).await;
    let entries = entries.into_iter().map(|(_, fields)| fields.join(" "));
    Some(entries.collect())
}

#[tokio::test]
async fn entries_that_may_have_been_added_before_a_connection_broke_are_marked() {
    let Some(entries) = entries_around(Fault::LostResponse).await else {
        return;
    };
    let expected = [
        "name before",
        "name a",
        "name b",
        "name a again 1",
        "name b again 1",
        "name after",
    ];
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn entries_that_redis_rejected_are_not_marked() {
    let Some(entries) = entries_around(Fault::Rejection).await else {
        return;
    };
    assert_eq!(entries, ["name before", "name a", "name after"]);
}
