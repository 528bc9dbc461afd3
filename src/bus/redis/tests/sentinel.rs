//! A master resolved by Sentinels, and its failovers.

use super::*;
use crate::bus::link_tests::server::SentinelSetup;
use crate::bus::redis::Topology;
use crate::tls::ClientTlsFiles;

fn watched(by: &SentinelSetup, service: &str) -> RedisSettings {
    let topology = Topology::Sentinel {
        sentinels: by.addresses(),
        service: service.to_owned(),
        user: None,
        password: None,
    };
    let mut settings =
        RedisSettings::new("redis://main", &topology, &ClientTlsFiles::default()).unwrap();
    settings.ping_interval = Duration::from_millis(500);
    // A failover takes several seconds, and messages published meanwhile must not expire.
    settings.spool.age = TIMEOUT;
    settings
}

#[tokio::test]
async fn the_suite_by_sentinel() {
    let Some(servers) = SentinelSetup::start() else {
        return;
    };
    suite(|| join(watched(&servers, "main"))).await;
    let reason = RedisStore::new(watched(&servers, "mian"))
        .get("key")
        .await
        .unwrap_err();
    let reason = reason.to_string();
    assert!(
        reason.contains("`mian`") && reason.contains("bus.sentinel_service"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_link_follows_the_failover_of_a_killed_master() {
    let Some(mut servers) = SentinelSetup::start() else {
        return;
    };
    let (mut publisher, mut subscriber) = (
        join(watched(&servers, "main")),
        join(watched(&servers, "main")),
    );
    publisher.up().await;
    subscriber.up().await;
    subscriber.subscribe(&["room"]).await;
    let store = RedisStore::new(watched(&servers, "main"));
    assert_eq!(store.acquire_lease("lease", "a", TIMEOUT).await, Ok(true));
    servers.servers[0].stop();
    publisher.down().await;
    subscriber.down().await;
    publisher.publish("room", "kept meanwhile");
    subscriber.up().await;
    publisher.up().await;
    assert!(servers.servers[1].has_info("role:master"));
    assert_eq!(subscriber.message().await.1, "kept meanwhile");
    assert!(store.acquire_lease("lease", "a", TIMEOUT).await.is_ok());
}

#[tokio::test]
async fn the_link_leaves_a_demoted_master() {
    let Some(servers) = SentinelSetup::start() else {
        return;
    };
    let (mut publisher, mut subscriber) = (
        join(watched(&servers, "main")),
        join(watched(&servers, "main")),
    );
    publisher.up().await;
    subscriber.up().await;
    subscriber.subscribe(&["room"]).await;
    let () = servers.sentinels[0].query(&["SENTINEL", "FAILOVER", "main"]);
    let new_master = &servers.servers[1];
    // Both connections of both members lead to the new master.
    until(
        new_master,
        &["PUBSUB", "NUMSUB", "room"],
        |counts: Vec<(String, u64)>| counts == [("room".to_owned(), 1)],
    )
    .await;
    let both = |names: Vec<String>| names.len() == 2;
    until(new_master, &["PUBSUB", "CHANNELS", "roomwire:ping:*"], both).await;
    let begun = std::time::Instant::now();
    while publisher
        .link
        .publish_counted(message("room", "moved"))
        .await
        != Ok(1)
    {
        assert!(begun.elapsed() < TIMEOUT, "the publisher did not move");
        sleep(Duration::from_millis(50)).await;
    }
    loop {
        if subscriber.message().await.1 == "moved" {
            break;
        }
    }
}

/// The old master keeps running with open connections, but is no longer the master.
#[tokio::test]
async fn the_watch_notices_a_move_without_a_broken_connection() {
    let Some(servers) = SentinelSetup::start() else {
        return;
    };
    let mut member = join(watched(&servers, "main"));
    member.up().await;
    member.subscribe(&["room"]).await;
    let other = RedisServer::start(&[]).unwrap();
    // All Sentinels now report a third server as the master; the old one keeps running.
    for sentinel in &servers.sentinels {
        let () = sentinel.query(&["SENTINEL", "REMOVE", "main"]);
        let port = other.port.to_string();
        let () = sentinel.query(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "2"]);
    }
    let moved = |counts: Vec<(String, u64)>| counts == [("room".to_owned(), 1)];
    until(&other, &["PUBSUB", "NUMSUB", "room"], moved).await;
    member.up().await;
    member.publish("room", "there");
    assert_eq!(member.message().await.1, "there");
}
