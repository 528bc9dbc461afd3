//! The test suite for stores, run in memory and on a real Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use super::faulty::{Fault, FaultyServer};
use super::presence::{change, lost_responses, presence, request};
use super::server::RedisServer;
use super::{Member, TIMEOUT};
use crate::bus::redis::{RedisLink, RedisSettings, RedisStore};
use crate::model::random::OsRandom;
use crate::store::{LogEntry, MemoryStore, PresenceChangeKind, PresenceStore, Renewal, Store};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);
/// Longer than a machine stalls: what must happen before it is over does.
const LATER: Duration = Duration::from_secs(4);

async fn suite(store: &dyn Store) {
    leases(store).await;
    hashes(store).await;
    logs(store).await;
    presence(store).await;
    fences(store).await;
    shared_keys(store).await;
    shared_streams(store).await;
    assert_eq!(store.get("key").await, Ok(None));
    let value = Bytes::from_static(b"\0\xff");
    store.set("key", value.clone(), None).await.unwrap();
    assert_eq!(store.get("key").await, Ok(Some(value.clone())));
    assert_eq!(store.delete("key").await, Ok(true));
    assert_eq!(store.delete("key").await, Ok(false));
    store.set("key", value, Some(SHORT)).await.unwrap();
    gone(store, "key").await;
}

async fn leases(store: &dyn Store) {
    assert_eq!(store.renew("lease", "a", LONG).await, Ok(Renewal::Lost));
    assert_eq!(store.acquire_lease("lease", "a", LONG).await, Ok(true));
    assert_eq!(store.acquire_lease("lease", "a", LONG).await, Ok(true));
    assert_eq!(store.acquire_lease("lease", "b", LONG).await, Ok(false));
    assert_eq!(store.renew("lease", "b", LONG).await, Ok(Renewal::Taken));
    store.release("lease", "b").await.unwrap();
    assert_eq!(store.renew("lease", "a", SHORT).await, Ok(Renewal::Renewed));
    gone(store, "lease").await;
    assert_eq!(store.acquire_lease("lease", "b", LONG).await, Ok(true));
    store.release("lease", "b").await.unwrap();
    assert_eq!(store.get("lease").await, Ok(None));
}

async fn hashes(store: &dyn Store) {
    let field = |number: u32| (format!("f{number}"), Bytes::from(number.to_string()));
    assert_eq!(store.hash_get("hash", "f1").await, Ok(None));
    assert_eq!(store.hash_scan("hash").await, Ok(Vec::new()));
    // More than a single scan returns.
    let fields: Vec<_> = (0..3000).map(field).collect();
    store.hash_set("hash", fields.clone()).await.unwrap();
    store.hash_set("hash", Vec::new()).await.unwrap();
    let one = store.hash_get("hash", "f1").await;
    assert_eq!(one, Ok(Some(Bytes::from_static(b"1"))));
    let mut found = store.hash_scan("hash").await.unwrap();
    found.sort_by_key(|(name, _)| name[1..].parse::<u32>().unwrap());
    assert_eq!(found, fields);
    let claim = |value: &'static str| store.hash_claim("hash", "new", value.into());
    assert_eq!(claim("a").await, Ok(true));
    assert_eq!(claim("a").await, Ok(true), "repeated");
    assert_eq!(claim("b").await, Ok(false));
    let claimed = store.hash_get("hash", "new").await;
    assert_eq!(claimed, Ok(Some("a".into())));
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let gone = store.hash_delete("hash", names(&["f1", "f2", "none"]));
    assert_eq!(gone.await, Ok(2));
    assert_eq!(store.hash_delete("hash", Vec::new()).await, Ok(0));
    assert_eq!(store.hash_get("hash", "f1").await, Ok(None));
    let take = |receipt: &'static str| store.hash_take("hash", "new", receipt);
    assert_eq!(take("receipt 1").await, Ok(true));
    assert_eq!(take("receipt 1").await, Ok(true), "repeated");
    assert_eq!(take("receipt 2").await, Ok(false));
    assert_eq!(store.hash_get("hash", "new").await, Ok(None));
    let gone = store.hash_delete("hash", names(&["receipt 1", "receipt 2"]));
    assert_eq!(gone.await, Ok(1));
    store.hash_set("hash", fields.clone()).await.unwrap();
    store.publish("no subscribers", Bytes::new()).await.unwrap();
    assert_eq!(store.delete("hash").await, Ok(true));
}

async fn logs(store: &dyn Store) {
    let values = |entries: &[LogEntry]| -> Vec<Bytes> {
        entries.iter().map(|entry| entry.value.clone()).collect()
    };
    assert_eq!(store.log_read("log", None, 10).await, Ok(Vec::new()));
    assert_eq!(store.log_length("log").await, Ok(0));
    for value in ["oldest", "\0", "second", "third"] {
        store.log_append("log", value.into(), 3).await.unwrap();
    }
    assert_eq!(store.log_length("log").await, Ok(3));
    let all = store.log_read("log", None, 10).await.unwrap();
    assert_eq!(values(&all), ["\0", "second", "third"]);
    let first = store.log_read("log", None, 2).await.unwrap();
    assert_eq!(first, all[..2]);
    let rest = store.log_read("log", Some(&first[1].id), 2).await;
    assert_eq!(rest, Ok(vec![all[2].clone()]));
    assert_eq!(store.log_remove("log", &all[1].id).await, Ok(true));
    assert_eq!(store.log_remove("log", &all[1].id).await, Ok(false));
    let left = store.log_read("log", None, 10).await.unwrap();
    assert_eq!(left, [all[0].clone(), all[2].clone()]);
    assert_eq!(store.delete("log").await, Ok(true));
    assert_eq!(store.log_length("log").await, Ok(0));
}

async fn fences(store: &dyn Store) {
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(store.claim_fenced("fenced", LONG).await, Ok(None));
    let set = |generation, text| store.set_fenced("fenced", generation, value(text), LONG);
    assert_eq!(set(1, "\0first").await, Ok(true));
    assert_eq!(set(1, "again").await, Ok(true));
    let claimed = store.claim_fenced("fenced", LONG).await;
    assert_eq!(claimed, Ok(Some((2, value("again")))));
    // The former holder can no longer change it.
    assert_eq!(set(1, "late").await, Ok(false));
    assert_eq!(set(2, "second").await, Ok(true));
    let claimed = store.claim_fenced("fenced", SHORT).await;
    assert_eq!(claimed, Ok(Some((3, value("second")))));
    sleep(2 * SHORT).await;
    assert_eq!(store.claim_fenced("fenced", LONG).await, Ok(None));
    assert_eq!(set(1, "new").await, Ok(true));
    assert_eq!(store.delete("fenced").await, Ok(true));
}

pub(in crate::bus) async fn shared_keys(store: &dyn Store) {
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    let set = |generation, text| store.shared_set("shared", generation, value(text), LONG);
    let claim = |held, text| store.shared_claim("shared", value(held), value(text), LONG);
    assert_eq!(claim("a", "b").await, Ok(None), "there is none");
    for text in ["a", "a", "\0b"] {
        assert_eq!(set(1, text).await, Ok(true), "{text}");
    }
    assert_eq!(store.get("shared").await, Ok(Some(value("\0b"))));
    assert_eq!(claim("a", "c").await, Ok(None), "it has another value");
    let second = claim("\0b", "c").await.unwrap().unwrap();
    assert!(second > 1);
    assert_eq!(claim("\0b", "c").await, Ok(Some(second)), "repeated");
    assert_eq!(set(1, "late").await, Ok(false), "the former holder");
    assert_eq!(set(second, "d").await, Ok(true));
    // A server takes it and sets it, each time without looking.
    assert_eq!(store.delete("shared").await, Ok(true));
    assert_eq!(set(second, "e").await, Ok(false), "taken");
    assert_eq!(claim("d", "e").await, Ok(None));
    store
        .set("shared", value("node"), Some(LONG))
        .await
        .unwrap();
    assert_eq!(set(second, "e").await, Ok(false), "replaced");
    let third = claim("node", "f").await.unwrap().unwrap();
    assert!(third > second);
    assert_eq!(set(second, "e").await, Ok(false));
    store.shared_remove("shared", second, LONG).await.unwrap();
    assert_eq!(
        store.get("shared").await,
        Ok(Some(value("f"))),
        "not its own"
    );
    store.shared_remove("shared", third, LATER).await.unwrap();
    assert_eq!(store.get("shared").await, Ok(None));
    assert_eq!(set(third, "g").await, Ok(false), "removed");
    sleep(LATER + SHORT).await;
    // As on a server that has lost its data.
    assert_eq!(set(1, "h").await, Ok(true));
    store
        .set("shared", value("node"), Some(LATER))
        .await
        .unwrap();
    let of_node = store.shared_claim("shared", value("node"), value("i"), LATER);
    assert!(of_node.await.unwrap().unwrap() > third);
    gone(store, "shared").await;
    assert_eq!(set(third, "j").await, Ok(true), "expired together");
    store.shared_remove("shared", third, SHORT).await.unwrap();
}

pub(in crate::bus) async fn shared_streams(store: &dyn Store) {
    let end = store.stream_end("stream").await.unwrap();
    assert_eq!(store.stream_end("stream").await, Ok(end.clone()));
    let read = |from: &str, until: &str| store.stream_read("stream", from, until, 10);
    let entries = read(&end, &end).await.unwrap();
    let [entry] = &*entries else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.id, end);
    let fields = [(Bytes::from_static(b"roomwire"), Bytes::new())];
    assert_eq!(entry.fields, fields);
    let (milliseconds, _) = end.split_once('-').unwrap();
    let next = format!("{milliseconds}-1");
    assert_eq!(read(&next, "9999999999999-0").await, Ok(Vec::new()));
    assert_eq!(
        store.stream_read("stream", "0-1", &end, 1).await,
        Ok(entries)
    );
    store.delete("stream").await.unwrap();
}

async fn gone(store: &dyn Store, key: &str) {
    let begun = Instant::now();
    while store.get(key).await.unwrap().is_some() {
        assert!(begun.elapsed() < TIMEOUT, "{key} does not expire");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_suite_in_memory() {
    suite(&MemoryStore::default()).await;
}

#[tokio::test]
async fn the_suite_on_redis() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let store = RedisStore::new(RedisSettings::parse(&server.url()).unwrap());
    suite(&store).await;
    server.stop();
    assert!(store.get("key").await.is_err());
    server.run();
    assert_eq!(store.get("key").await, Ok(None));
}

#[tokio::test]
async fn ten_thousand_users_enter_a_room_on_redis_in_time() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let store = RedisStore::new(RedisSettings::parse(&server.url()).unwrap());
    let start = Instant::now();
    let users: Vec<String> = (0..10_000).map(|number| format!("user-{number}")).collect();
    for batch in users.chunks(256) {
        let enter = |user: &String| change(user, PresenceChangeKind::Enter { data: None });
        let changes = batch.iter().map(enter).collect();
        let outcomes = store.presence_apply("{p}", &request("aaaa"), changes);
        let outcomes = outcomes.await.unwrap();
        assert_eq!(outcomes.unwrap().len(), batch.len());
    }
    let page = store.presence_page("{p}", "/,a:b", None, 0).await.unwrap();
    assert_eq!(page.count, 10_000);
    let elapsed = start.elapsed();
    assert!(elapsed < TIMEOUT, "{elapsed:?}");
}

#[tokio::test]
async fn a_message_is_never_published_twice() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let faulty = FaultyServer::start(&server, "PUBLISH", Fault::LostResponse).await;
    let store = RedisStore::new(faulty.settings());
    let settings = RedisSettings::parse(&server.url()).unwrap();
    let (link, events) = RedisLink::start(settings, Arc::new(OsRandom));
    let mut subscriber = Member { link, events };
    subscriber.subscribe(&["c"]).await;
    store.publish("c", "first".into()).await.unwrap();
    faulty.fail_next();
    let lost = store.publish("c", "second".into()).await;
    assert!(lost.is_err(), "whether it was published is unknown");
    store.publish("c", "third".into()).await.unwrap();
    for expected in ["first", "second", "third"] {
        assert_eq!(subscriber.message().await.1, expected);
    }
}

#[tokio::test]
async fn a_claim_and_a_removal_that_run_twice_have_the_result_of_the_first_time() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let faulty = FaultyServer::start(&server, "EVAL", Fault::LostResponse).await;
    let store = RedisStore::new(faulty.settings());
    let claim = |value: &'static str| store.hash_claim("hash", "field", value.into());
    let take = |receipt: &'static str| store.hash_take("hash", "field", receipt);
    faulty.fail_next();
    assert_eq!(claim("a").await, Ok(true));
    assert!(faulty.has_failed(), "the response was lost");
    assert_eq!(claim("b").await, Ok(false));
    faulty.fail_next();
    assert_eq!(take("receipt 1").await, Ok(true));
    assert!(faulty.has_failed(), "the response was lost");
    assert_eq!(take("receipt 2").await, Ok(false));
    assert_eq!(claim("b").await, Ok(true));
}

#[tokio::test]
async fn joins_and_leaves_that_run_twice_have_the_events_of_the_first_time() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let faulty = FaultyServer::start(&server, "EVAL", Fault::LostResponse).await;
    let store = RedisStore::new(faulty.settings());
    lost_responses(&store, || {
        assert!(faulty.has_failed(), "the last response was lost");
        faulty.fail_next();
    })
    .await;
    assert!(faulty.has_failed(), "the response to the sweep was lost");
}
