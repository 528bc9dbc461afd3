//! Consumer groups on a real Redis.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use tokio::time::sleep;

use super::TIMEOUT;
use super::server::RedisServer;
use crate::bus::redis::{RedisSettings, RedisStreamGroup};
use crate::store::{GroupState, StreamEntry, StreamGroup};

const IDLE: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(50);

fn consumer(server: &RedisServer, name: &str) -> RedisStreamGroup {
    let settings = RedisSettings::parse(&server.url()).unwrap();
    RedisStreamGroup::new(&settings, ["outbox", "group", name], WAIT)
}

async fn connection(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.unwrap()
}

async fn command(connection: &mut MultiplexedConnection, words: &[&[u8]]) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    let _: Value = command.query_async(connection).await.unwrap();
}

fn bodies(entries: &[StreamEntry]) -> Vec<&[u8]> {
    entries.iter().map(|entry| &entry.fields[0].1[..]).collect()
}

fn ids(entries: &[StreamEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}

async fn state(group: &RedisStreamGroup) -> GroupState {
    group.state().await.unwrap()
}

#[tokio::test]
async fn consumers_share_a_stream_and_take_over_what_others_leave() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut redis = connection(&server).await;
    let add = async |redis: &mut MultiplexedConnection, body: &[u8]| {
        command(redis, &[b"XADD", b"outbox", b"*", b"body", body]).await;
    };
    // Before the group exists: a backend may start first.
    add(&mut redis, b"first").await;
    let (a, b) = (consumer(&server, "a"), consumer(&server, "b"));
    a.create().await.unwrap();
    b.create().await.unwrap();
    add(&mut redis, b"\xff\0").await;
    let lag = Some(2);
    assert_eq!(state(&a).await, GroupState { pending: 0, lag });
    let first = a.read_new(1, WAIT).await.unwrap();
    assert_eq!(bodies(&first), [b"first"]);
    assert_eq!(first[0].fields[0].0, Bytes::from("body"));
    let second = b.read_new(10, WAIT).await.unwrap();
    assert_eq!(bodies(&second), [b"\xff\0"]);
    assert_eq!(b.read_new(10, WAIT).await, Ok(Vec::new()));
    let lag = Some(0);
    assert_eq!(state(&a).await, GroupState { pending: 2, lag });
    assert_eq!(a.read_own("0", 10).await, Ok(first.clone()));
    assert_eq!(a.read_own(&first[0].id, 10).await, Ok(Vec::new()));

    // An entry that was just delivered is not taken over, and one that was acknowledged never.
    assert_eq!(b.claim(Duration::from_secs(60), 10).await, Ok(Vec::new()));
    b.acknowledge(ids(&second)).await.unwrap();
    let begun = Instant::now();
    let mut claimed = Vec::new();
    while claimed.is_empty() && begun.elapsed() < TIMEOUT {
        claimed = b.claim(IDLE, 10).await.unwrap();
    }
    assert_eq!(bodies(&claimed), [b"first"]);
    // Once new, and once as one of its own.
    assert_eq!(claimed[0].earlier, 2);
    assert_eq!(a.read_own("0", 10).await, Ok(Vec::new()));
    sleep(2 * IDLE).await;
    let again = a.claim(IDLE, 10).await.unwrap();
    assert_eq!(again[0].earlier, 3);
    a.acknowledge(ids(&again)).await.unwrap();
    assert_eq!(state(&a).await, GroupState { pending: 0, lag });
}

#[tokio::test]
async fn deleted_entries_are_not_delivered_and_idle_consumers_are_removed() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut redis = connection(&server).await;
    let (a, b) = (consumer(&server, "a"), consumer(&server, "b"));
    a.create().await.unwrap();
    command(&mut redis, &[b"XADD", b"outbox", b"1-1", b"body", b"x"]).await;
    assert_eq!(a.read_new(10, WAIT).await.unwrap().len(), 1);
    command(&mut redis, &[b"XDEL", b"outbox", b"1-1"]).await;
    assert!(
        a.read_own("0", 10)
            .await
            .unwrap()
            .iter()
            .all(|entry| entry.fields.is_empty())
    );
    sleep(2 * IDLE).await;
    assert_eq!(b.claim(IDLE, 10).await, Ok(Vec::new()));

    command(&mut redis, &[b"XADD", b"outbox", b"2-1", b"body", b"y"]).await;
    assert_eq!(a.read_new(10, WAIT).await.unwrap().len(), 1);
    b.read_new(10, WAIT).await.unwrap();
    sleep(2 * IDLE).await;
    b.remove_idle_consumers(IDLE).await.unwrap();
    let consumers = redis::cmd("XINFO")
        .arg("CONSUMERS")
        .arg("outbox")
        .arg("group")
        .clone();
    let left: Vec<Value> = consumers.query_async(&mut redis).await.unwrap();
    assert_eq!(left.len(), 1, "the one that owes an entry: {left:?}");
}

#[tokio::test]
async fn a_group_that_was_removed_is_an_error_until_it_is_created_again() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let a = consumer(&server, "a");
    a.create().await.unwrap();
    command(&mut connection(&server).await, &[b"FLUSHALL"]).await;
    let error = a.read_new(10, WAIT).await.unwrap_err();
    assert!(error.0.contains("NOGROUP"), "{error}");
    a.create().await.unwrap();
    assert_eq!(a.read_new(10, WAIT).await, Ok(Vec::new()));
}
